"""long1k: reasoning data to an exact length, training on it, and measuring what the length bought."""

__version__ = "0.1.0"

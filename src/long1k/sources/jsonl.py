"""The name under which one JSON Lines file was read first; ``files`` reads it and more."""

from long1k.sources.files import FilesConfig as JsonlConfig
from long1k.sources.files import FilesSource as JsonlSource

__all__ = ["JsonlConfig", "JsonlSource"]

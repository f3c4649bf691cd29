"""collect: sources -> one clean trace pool.

Every raw row is either a Trace of the output or a row of ``rejected`` with its reason.

Three passes, so that neither the size of the corpus nor the number of workers matters:

    part.py    each part on its own: read, split, lint, decontaminate, verify, count, sketch
    across.py  what only all parts together can tell, from a few bytes a row: duplicates, limits, difficulty
    stage.py   the order of it all; writes each part as it is to stay
"""

from long1k.stages.collect.stage import collect

__all__ = ["collect"]

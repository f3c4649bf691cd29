"""analyze: scores of all arms -> findings."""

from long1k.stages.analyze.cells import ArmInfo, Cell
from long1k.stages.analyze.stage import FINDINGS, analyze

__all__ = ["FINDINGS", "ArmInfo", "Cell", "analyze"]

"""Two tables of scores of the same predictions, side by side: agreement, kappa, and every disagreement."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.rows import Prediction, Score
from long1k.stages import rates as _rates  # the same table of predictions is found the same way
from long1k.statistics.agreement import kappa
from long1k.tables import iter_columns, read_manifest

"""GSM8K: grade-school word problems; the answer's field is a worked solution that ends with ``#### 18``."""

from __future__ import annotations

from dataclasses import replace

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Asked, LeftOut, Row, StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig


class Gsm8kConfig(StoredConfig):
    """The 1,319 problems of the test split."""

    default_repo = "openai/gsm8k"
    default_config = "main"


class Gsm8kBenchmark(StoredBenchmark):
    """GSM8K with the math grader."""

    Config = Gsm8kConfig

    def gold(self, row: Row, where: str) -> str | None:
        """What stands behind the last ``####``; an answer of one line without any is the gold itself."""
        text = golds.plain(self.field(row, "answer"))
        if text is None or "####" in text:
            return None if text is None else golds.after_hashes(text)
        return text if "\n" not in text and len(text) <= 40 else None

    def read(self, row: Row, where: str) -> Asked | LeftOut:
        """As of any row; the answer's field is the worked solution, too."""
        asked = super().read(row, where)
        text = golds.plain(self.field(row, "answer"))
        if isinstance(asked, Asked) and asked.solution is None and text is not None and "####" in text:
            return replace(asked, solution=text)
        return asked

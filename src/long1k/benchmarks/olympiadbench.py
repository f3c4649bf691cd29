"""OlympiadBench: open questions in text alone; what cannot be asked or graded so is left out, and counted."""

from __future__ import annotations

import re
from typing import Any

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Asked, LeftOut, Row, StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig

_IMAGE = re.compile(r"<image_?\d*>|!\[[^\]]*\]\(")


class OlympiadBenchConfig(StoredConfig):
    """The 674 English text-only competition problems of mathematics, unless ``config`` says others."""

    default_repo = "Hothan/OlympiadBench"
    default_config = "OE_TO_maths_en_COMP"
    default_split = "train"


class OlympiadBenchBenchmark(StoredBenchmark):
    """OlympiadBench with the math grader; ``unit`` is asked for in the prompt, ``context`` stands before."""

    Config = OlympiadBenchConfig
    names = {  # noqa: RUF012
        **StoredBenchmark.names,
        "answer": ("final_answer", "answer"),
        "subject": ("subfield", "subject"),
        "level": ("difficulty", "level"),
    }

    def gold(self, row: Row, where: str) -> str | None:
        """``final_answer``: one answer or several, without dollar signs."""
        return golds.listed(self.field(row, "answer"))

    def read(self, row: Row, where: str) -> Asked | LeftOut:
        """Open questions without images whose answer can be compared; others are left out."""
        question = self.question_of(row, where)
        context, unit = golds.plain(row.get("context")), golds.plain(row.get("unit"))
        kinds = f"{row.get('question_type') or ''} {row.get('modality') or ''}".lower()
        if "proof" in kinds or "theorem" in kinds:
            return LeftOut("a proof is asked for")
        images = any(row.get(name) not in (None, "", [], {}) for name in row if str(name).startswith("image"))
        if images or "multi" in kinds or _IMAGE.search(f"{context or ''} {question}"):
            return LeftOut("an image belongs to it")
        if "human" in str(row.get("answer_type") or "").lower():
            return LeftOut("only a person can grade it")
        tolerance = golds.plain(row.get("error"))
        if tolerance is not None and any(character in "123456789" for character in tolerance):
            return LeftOut("graded with a tolerance")
        gold = self.gold(row, where)
        if gold is None:
            self.fail(row, where, "answer")
        body = f"{context}\n\n{question}" if context else question
        if unit:
            body = f"{body}\nGive the answer in the unit {unit}."
        return Asked(
            question, gold, None if body == question else body, _joined(self.field(row, "solution")),
            golds.plain(self.field(row, "subject")), golds.plain(self.field(row, "level")),
        )  # fmt: skip


def _joined(value: Any) -> str | None:
    """Solutions are lists; the first one is a whole solution."""
    return golds.plain(value[0] if isinstance(value, list) and value else value)

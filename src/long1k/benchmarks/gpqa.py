"""GPQA Diamond: four options in an order decided by a hash, a letter as the gold answer.

Its authors ask that questions are not shown in public: nothing here keeps, prints or copies one.
"""

from __future__ import annotations

import hashlib
import re

from pydantic import Field

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Asked, LeftOut, Row, StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig
from long1k.errors import DataError

LETTERS = "ABCD"
CHOICE_INSTRUCTION = "Please reason step by step, and put the letter of your answer, A, B, C or D, within \\boxed{}."
_RIGHT = "Correct Answer"
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_BLANKS = re.compile(r"[ \t\r\f\v]*\n\s*")


class GpqaConfig(StoredConfig):
    """As for jsonl; the fields of the options are those of the published file."""

    default_repo = "Idavidrein/gpqa"
    default_config = "gpqa_diamond"
    default_split = "train"

    instruction: str = Field(
        default=CHOICE_INSTRUCTION, description="put after the question and its options, on a line of its own"
    )
    seed: int = Field(default=0, description="another seed, another order of the options")


class GpqaBenchmark(StoredBenchmark):
    """GPQA with the choice grader."""

    Config = GpqaConfig
    own_grader = "choice"
    withheld = True
    names = {  # noqa: RUF012
        "question": ("Question", "question"),
        "answer": (_RIGHT,),
        "solution": (),
        "subject": ("High-level domain", "Subdomain"),
        "level": ("Writer's Difficulty Estimate",),
    }

    def read(self, row: Row, where: str) -> Asked | LeftOut:
        """The question with its options; a row whose options cannot be told apart is left out."""
        question = self.question_of(row, where)
        right_name = self.config.answer or _RIGHT
        absent = [name for name in (right_name, *_WRONG) if name not in row]
        if absent:
            raise DataError(
                f"{where}: no field '{absent[0]}' (it has {', '.join(map(str, row))[:300]})",
                "give the published file, or rename its fields",
            )
        found = [golds.plain(row[name]) for name in (right_name, *_WRONG)]
        options = [_BLANKS.sub("\n", text) for text in found if text is not None]
        if len(options) < len(LETTERS):
            return LeftOut("an option is missing")
        if len({" ".join(option.split()) for option in options}) < len(LETTERS):
            return LeftOut("two options are equal")
        order = shuffled(question, options, self.config.seed)
        listed = "\n".join(f"{letter}) {options[at]}" for letter, at in zip(LETTERS, order, strict=True))
        return Asked(
            question, LETTERS[order.index(0)], f"{question}\n\n{listed}\n",
            subject=golds.plain(self.field(row, "subject")), level=golds.plain(self.field(row, "level")),
            letters=LETTERS,
        )  # fmt: skip


def shuffled(question: str, options: list[str], seed: int) -> list[int]:
    """The order in which options stand: by a hash of seed, question and option.

    So it depends neither on the order of the questions nor on that of the options in their row: which one is
    right has no part in it.
    """

    def place(at: int) -> bytes:
        return hashlib.sha256("\x1f".join((str(seed), question, options[at])).encode("utf-8", "replace")).digest()

    return sorted(range(len(options)), key=place)

"""Do gold answers score 100 %, and wrong ones what chance gives?  The way of an output, without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binom

from long1k.benchmarks.base import Item
from long1k.chat import Chat
from long1k.grading import GRADERS
from long1k.grading.base import Case, cases_of, grade_with, load_grader
from long1k.grading.extract import Extracted
from long1k.grading.normalize import normalize
from long1k.labels import labelled
from long1k.progress import progress
from long1k.rows import derive_seed
from long1k.stages.doctor.check import Check, Status, plural, short
from long1k.stages.doctor.choices import SURE
from long1k.stages.doctor.rows import called

_THINKING = "Let me think."
_MOST_SHUFFLED = 1000  # golds that take part in the shuffled mock
_EQUAL_VALUES = 0.005  # share of pairs of golds that are one value in two texts, at most


@dataclass(frozen=True, slots=True)
class Graded:
    """One problem of one written answer."""

    item: Item
    part: int
    gold: str
    found: Extracted | None
    status: str
    note: str


def boxed(answers: Sequence[str]) -> str:
    """A closing text that gives these answers as a prompt asks for them."""
    return labelled([f"The answer is $\\boxed{{{answer}}}$." for answer in answers])


class Mock:
    """Grades texts as if a model had written them: rendered, tokenized and decoded, split, extracted, graded.

    Args:
        tokenized: whether the tokenizer takes part (a text must come back from its tokens unchanged).
    """

    def __init__(self, chat: Chat, grader: str, *, tokenized: bool, num_workers: int) -> None:
        self.chat, self.grader, self.tokenized, self.num_workers = chat, grader, tokenized, num_workers

    def grade(self, items: Sequence[Item], texts: Sequence[str], title: str) -> list[Graded]:
        """Every part of every text against its item's gold answers."""
        outputs = [self.chat.write_answer(_THINKING, text) + self.chat.end_token for text in texts]
        if self.tokenized:
            encode, decode = self.chat.tokenizer.encode, self.chat.tokenizer.decode
            outputs = [decode(encode(output)) for output in outputs]
        cases: list[tuple[Item, Case]] = []
        for number, (item, output) in enumerate(zip(items, outputs, strict=True)):
            row = {
                "prediction_id": str(number), "question": item.question, "answers": item.answers, "text": output,
                "answer_text": self.chat.split_answer(output).answer, "finish_reason": "stop",
            }  # fmt: skip
            cases += [(item, case) for case in cases_of(row)]
        factory = load_grader(self.grader, GRADERS)
        grader = factory(num_workers=self.num_workers)
        try:
            with progress(title, len(cases)) as step:
                grades = grade_with(grader, [case for _, case in cases])
                step(len(cases))
        finally:
            grader.close()
        return [
            Graded(item, case.part, case.gold, case.answer, grade.status, grade.note)
            for (item, case), grade in zip(cases, grades, strict=True)
        ]


def gold_checks(items: Sequence[Item], mock: Mock, tolerate: float = 0.0) -> list[Check]:
    """All that can be said of the gold answers alone.

    Args:
        tolerate: share of golds, and of worked solutions, that may fail.
    """
    checks = [_boxed_golds(items, mock, tolerate)]
    solved = [item for item in items if item.solution is not None]
    if solved:
        checks.append(_solutions(solved, mock, tolerate))
    golds = [gold for item in items for gold in item.answers]
    return [*checks, _shuffled(items, mock), _constant(golds, mock.grader == "choice")]


def _line(one: Graded, most: int = 40) -> str:
    found = "nothing" if one.found is None else f"'{short(one.found.value, most)}'"
    part = f" part {one.part + 1}" if len(one.item.answers) > 1 else ""
    return (
        f"{called(one.item, one.part)}{part}: gold '{short(one.gold, most)}', read {found}: {one.status} ({one.note})"
    )


def _figures(graded: Sequence[Graded]) -> dict[str, Any]:
    return {"count": len(graded), "statuses": dict(Counter(one.status for one in graded))}


def _boxed_golds(items: Sequence[Item], mock: Mock, tolerate: float) -> Check:
    graded = mock.grade(items, [boxed(item.answers) for item in items], "gold answers")
    bad = [one for one in graded if one.status != "correct"]
    right, share = len(graded) - len(bad), len(bad) / len(graded)
    failed = share > tolerate
    return Check(
        "gold answers", "fail" if failed else "warn" if bad else "ok",
        f"{right:,} of {plural(len(graded), 'gold answer')}, boxed, count as correct "
        f"({100 * right / len(graded):.2f} %)"
        + (f"; {sum(one.found is None for one in bad):,} of the others are not found in the text" if bad else ""),
        "no model can score on these: mend the golds, leave the rows out, or choose another grader" if bad else None,
        tuple(_line(one) for one in bad), _figures(graded),
    )  # fmt: skip


def _solutions(items: Sequence[Item], mock: Mock, tolerate: float) -> Check:
    graded = mock.grade(items, [item.solution or "" for item in items], "worked solutions")
    silent = [one for one in graded if one.found is None]
    bad = [one for one in graded if one.status != "correct" and one.found is not None]
    right = len(graded) - len(silent) - len(bad)
    status: Status = "ok"
    if bad or silent:
        status = "fail" if (len(bad) + len(silent)) / len(graded) > tolerate else "warn"
    return Check(
        "worked solutions", status,
        f"{right:,} of {plural(len(graded), 'worked solution')} count as correct ({100 * right / len(graded):.2f} %), "
        f"in {len(silent):,} no answer is found "
        f"({100 * len(silent) / len(graded):.1f} % unparsed), {len(bad):,} state another answer than the gold",
        "read these rows: gold and solution disagree, or the solution never states its answer; mend them, or allow a "
        "share with --tolerate 0.01",
        tuple(_line(one) for one in (*bad, *silent)), _figures(graded),
    )  # fmt: skip


def _shuffled(items: Sequence[Item], mock: Mock) -> Check:
    """Every problem answered with another one's gold: none that is another value may count as correct."""
    order = sorted(items, key=lambda item: derive_seed("doctor", item.item_id))
    taken: list[Item] = []
    for item in order:
        if sum(len(one.answers) for one in taken) < _MOST_SHUFFLED:
            taken.append(item)
    golds = [gold for item in taken for gold in item.answers]
    if len(golds) < 2:
        return Check("shuffled golds", "info", "one problem cannot be answered with another one's gold")
    step = 1 + derive_seed("doctor", len(golds)) % (len(golds) - 1)
    moved = [golds[(at + step) % len(golds)] for at in range(len(golds))]
    differ = [normalize(gold) != normalize(given) for gold, given in zip(golds, moved, strict=True)]
    equal = len(golds) - sum(differ)
    if equal == len(golds):
        return Check(
            "shuffled golds", "info", "every problem, answered with another one's gold, has its own: nothing to tell",
            figures={"count": 0, "equal": equal},
        )  # fmt: skip
    texts, at = [], 0
    for item in taken:
        texts.append(boxed(moved[at : at + len(item.answers)]))
        at += len(item.answers)
    graded = [
        one for one, other in zip(mock.grade(taken, texts, "shuffled golds"), differ, strict=True) if other
    ]  # a mock that is the gold tells nothing of the grader
    hits, count = sum(one.status == "correct" for one in graded), len(graded)
    # A grader of values sees some equal ones that two texts do not show; of two letters it sees none.
    most = 0 if mock.grader == "choice" else int(binom.ppf(1 - SURE / 2, count, _EQUAL_VALUES))
    lost = Counter(one.status for one in graded if one.status not in ("correct", "wrong"))
    return Check(
        "shuffled golds", "ok" if hits <= most else "fail",
        f"of {plural(count, 'problem')} answered with another one's gold, which is another text, {hits:,} "
        f"{'counts' if hits == 1 else 'count'} as correct; up to {most:,} may"
        + (f"; {equal:,} more got an equal gold" if equal else "")
        + (f"; not gradable: {', '.join(f'{name} {n:,}' for name, n in lost.items())}" if lost else ""),
        "read these: if the two are different values, a wrong answer counts as correct, so look at the grader; if they "
        "are one value, write it in one way",
        tuple(_line(one) for one in graded if one.status == "correct") if hits > most else (),
        {**_figures(graded), "equal": equal, "most": most},
    )  # fmt: skip


def _constant(golds: Sequence[str], letters: bool) -> Check:
    gold, count = Counter(normalize(gold) if not letters else gold for gold in golds).most_common(1)[0]
    share = count / len(golds)
    bad = share > 0.5 and len(golds) >= 10
    return Check(
        "constant answer", "warn" if bad else "ok",
        f"a model that always answers '{short(gold)}' scores {100 * share:.1f} %",
        "the benchmark says little about a model that guesses one value", figures={"gold": gold, "share": share},
    )  # fmt: skip

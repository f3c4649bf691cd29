"""Extraction, normalisation and verdicts, on small cases, on hostile texts and on real model outputs."""

from __future__ import annotations

import gzip
import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from long1k.grading import GRADERS
from long1k.grading.choice import ChoiceGrader, choice_letter
from long1k.grading.extract import Extracted, extract_answer, extract_parts
from long1k.grading.math import MathGrader, Verdict, decide, normalize
from realdata import real_data

BLANKS = " \t\r\n\f\v"


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    # Patient: these tests ask for verdicts, and the machine may be busy.
    with MathGrader(timeout_seconds=30.0) as math_grader:
        yield math_grader


def value(text: str) -> str | None:
    found = extract_answer(text)
    if found is not None:
        assert text[found.start : found.end] == found.value
    return found.value if found else None


# --- extraction -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{1} no, \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\fbox{ 7 }", "7"),
        (r"\boxed {7}", "7"),
        (r"\\boxed{004}", "004"),
        (r"x \\\boxed{5}", "5"),
        (r"$\boxed 5$ is it", "5"),
        (r"\boxed \frac{1}{2}.", r"\frac{1}{2}"),
        (r"\boxed{\{1\pm\sqrt{5},-2\}}", r"\{1\pm\sqrt{5},-2\}"),
        (r"\boxed{\left\{x : x > 1\right.}", r"\left\{x : x > 1\right."),
        (r"\boxed{x = \boxed{5}}", r"x = \boxed{5}"),
        (r"} stray \boxed{3} } {", "3"),
        (r"\boxed{3} then \boxed{4", "3"),
        (r"\boxed{3} and put it in \boxed{}", "3"),
        (r"Put the answer in \boxed and go on", None),
        (r"\boxed{5", None),
        ("The final answer is 34. I hope it is correct.", "34"),
        ("The answer is 3.5 cm long", "3.5"),
        ("The answer is $x^2+1$, as wanted", "x^2+1"),
        ("First the answer is 3. But no, the answer is \\(4\\).", "4"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("**Final Answer**\n\n\\[ 12 \\]", "12"),
        ("**Answer:** 42", "42"),
        ("## Final Answer\n42", "42"),
        ("work\n#### 1,234", "1,234"),
        ("#### Step 3\nwork", None),
        ("the answer is not 5", None),
        ("there is nothing here: 5", None),
        ("", None),
    ],
)
def test_extract_answer(text: str, expected: str | None) -> None:
    assert value(text) == expected


PLAIN = st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), max_size=12)
BALANCED = st.recursive(
    PLAIN | st.sampled_from([r"\{", r"\}", r"\frac", r"\\", r"\boxed{1}"]),
    lambda inner: st.lists(inner | inner.map(lambda s: "{" + s + "}"), max_size=4).map("".join),
    max_leaves=12,
)


@given(before=PLAIN, inner=BALANCED, after=PLAIN)
@settings(deadline=None, max_examples=200)
def test_a_balanced_box_comes_back_with_its_offsets(before: str, inner: str, after: str) -> None:
    assume(inner.strip() and not inner.endswith("\\"))
    text = f"{before} \\boxed{{{inner}}}{after}"
    found = extract_answer(text)
    assert found is not None
    assert found.value == inner.strip(BLANKS)
    assert text[found.start : found.end] == found.value
    assert text.index("\\boxed{") < found.start


@given(st.text(st.sampled_from("{}\\boxed fbr5$*#\nanswer is:."), max_size=80))
@settings(deadline=None, max_examples=300)
def test_extraction_never_fails_and_offsets_are_true(text: str) -> None:
    value(text)
    for part in extract_parts(text, 2):
        assert part is None or text[part.start : part.end] == part.value


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 1_000_000,
        "\\boxed{" * 700_000 + "5" + "}" * 700_000,
        "\\boxed{" + "{" * 5_000_000 + "}" * 5_000_000,
        "\\boxed{a" + "\\" * 5_000_001,
        "\\boxed" + " " * 5_000_000,
        "the answer is " * 300_000,
        "answer is not " * 300_000,
        " " * 5_000_000 + "Problem",
        "Problem 1: " * 300_000,
        "Problem 1:\n" * 300_000,
        "$" * 3_000_000 + "answer is",
    ],
    ids=lambda text: f"{text[:12]!r} of {len(text)}",
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    start = time.perf_counter()
    extract_answer(text)
    extract_parts(text, 2)
    assert time.perf_counter() - start < 20.0  # about a second on an idle machine; quadratic would be hours


def test_deeply_nested_boxes_give_the_outer_one() -> None:
    text = "\\boxed{" * 50_000 + "5" + "}" * 50_000
    assert extract_answer(text) == Extracted(text[7:-1], 7, len(text) - 1)


def test_parts_take_the_last_section_of_each_label() -> None:
    text = (
        "Problem 1: what is 1+1?\nProblem 2: what is 2+2?\n"
        "**Problem 1:** we get \\boxed{3}, no, \\boxed{2}.\n"
        "### Answer to Problem 2: \\boxed{4}\n"
        "Answer 3: $x^2$\n"
        "Problem 4: " + "long words without a box " * 20
    )
    parts = extract_parts(text, 5)
    assert [part.value if part else None for part in parts] == ["2", "4", "$x^2$", None, None]
    assert all(text[part.start : part.end] == part.value for part in parts if part)


def test_parts_without_labels() -> None:
    single = extract_parts("so \\boxed{9}", 1)
    assert single == [extract_answer("so \\boxed{9}")]
    assert extract_parts("so \\boxed{9}", 2) == [None, None]
    assert extract_parts("My answer to Problem 1: \\boxed{9}", 2) == [None, None]  # not at a line's beginning
    with pytest.raises(ValueError, match="at least 1"):
        extract_parts("", 0)


# --- normalisation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("016", "16"),
        ("-007", "-7"),
        ("+5.50", "5.5"),
        (".35625", "0.35625"),
        ("-0", "0"),
        ("10,\\!080", "10080"),
        ("11,\\! 111,\\! 111,\\! 100", "11111111100"),
        ("58{,}500", "58,500"),
        ("1\\,000", "1000"),
        (r"\dfrac{1}{2}", r"\frac12"),
        (r"\frac 34", "3/4"),
        (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}"),
        (r"11\sqrt2", r"11 \sqrt{2}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"90^\circ", "90"),
        (r"90^{\circ}", "90\u00b0"),
        (r"28\%", "28 percent"),
        (r"\$18.90", "18.9"),
        (r"\text{(C)}", r"\textbf{C}"),
        (r"\text{Evelyn}", "evelyn"),
        (r"15\mbox{ cm}^2", r"15 \text{ square cm}"),
        ("5 cm", r"5\,\mathrm{cm}"),
        (r"x \in [-2,7]", "[-2, 7]"),
        ("y = 2x + 3", "2x+3"),
        (r"\boxed{\boxed{5}}.", "$5$"),
        (r"\(\mathbf{5}\)", "**5**"),
        (r"12^{\text{th}} \text{ grade}", "12th"),
        (r"5 \text{ million}", "5,000,000"),
        (r"x\leq 3", r"x <= 3"),
        (r"4210_{5}", "4210_5"),
        ("\u22123\u03c0", r"-3\pi"),
    ],
)
def test_notations_of_one_answer(left: str, right: str) -> None:
    assert normalize(left) == normalize(right)
    assert decide(left, right) == Verdict("correct", "equal text")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1 4/5", "14/5"),
        ("3 5", "35"),
        ("1,2", "12"),
        ("32, 349", "32349"),
        (r"\pi r", r"\pir"),
        ("x^{23}", "x^23"),
        (r"5 \text{ million}", "5"),
        (r"6 \text{ or } 8", "6"),
        (r"2\text{e}", "2"),
        (r"4 \text{ east}", "4"),
        (r"x^2", "x2"),
        ("x\u00b2", "x2"),
        ("X", "x"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \ 2 \end{pmatrix}"),
        ("2x - y = 0", "0"),
        ("3", "-3"),
    ],
)
def test_different_answers_stay_different(left: str, right: str) -> None:
    assert normalize(left) != normalize(right)
    verdict = decide(left, right)
    assert verdict is None or verdict.status == "wrong"


@given(st.integers(-(10**30), 10**30), st.integers(0, 5))
def test_integers_keep_their_value(number: int, num_zeros: int) -> None:
    padded = ("-" if number < 0 else "") + "0" * num_zeros + str(abs(number))
    assert normalize(padded) == str(number)
    assert normalize(f"${number:,}$") == str(number)
    assert decide(str(number), str(number + 1)) == Verdict("wrong", "different numbers")


@given(st.fractions(max_denominator=999), st.integers(1, 20))
def test_fractions_are_compared_exactly(fraction: Fraction, factor: int) -> None:
    def latex(top: int, bottom: int) -> str:
        return f"\\frac{{{top}}}{{{bottom}}}"

    top, bottom = fraction.numerator, fraction.denominator
    verdict = decide(latex(top, bottom), latex(top * factor, bottom * factor))
    assert verdict is not None
    assert verdict.status == "correct"
    verdict = decide(latex(top, bottom), latex(top + 1, bottom))
    assert verdict is not None
    assert verdict.status == "wrong"


@given(st.text(max_size=60) | st.text(st.sampled_from("\\{}$^_ 0123x.,%()/fractexlhiEAB=-"), max_size=40))
@settings(deadline=None, max_examples=500)
def test_normalising_never_fails_and_an_answer_equals_itself(answer: str) -> None:
    verdict = decide(answer, answer)
    assert verdict is not None
    if normalize(answer):
        assert verdict == Verdict("correct", "equal text")
    else:
        assert verdict == Verdict("error", "the gold answer is empty")


@pytest.mark.parametrize(
    "unit",
    [
        "\\frac",
        "{",
        "\\text{",
        "1 ",
        "\\, ",
        "( ",
        "\\left\\{",
        "a\\text{ b ",
        "$",
        "\\boxed{",
        "1,000,",
        "5",
        "5 ",
        "5.",
        "-5",
    ],
)
def test_hostile_answers_are_normalised_quickly(unit: str) -> None:
    for tail in ("", "5", "}", " cm"):
        answer = (unit * 10_000)[: 10_000 - len(tail)] + tail
        start = time.perf_counter()
        decide("5", answer)
        assert time.perf_counter() - start < 2.0


# --- verdicts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("1204_9", "1204", "correct"),
        ("1204_9", "1204_{9}", "correct"),
        ("1204_9", "1204_8", "wrong"),
        ("1204_9", "895", "wrong"),
        (r"\text{Evelyn}", r"\text{Briana}", "wrong"),
        (r"\text{Evelyn}", "Evelyn", "correct"),
        ("(2,3)", "[2,3]", "wrong"),
        (r"(-\infty, 0]", r"(-\infty, 0)", "wrong"),
        (r"(3,4]", r"3 < \lambda \le 4", "correct"),
        (r"x \in [-2,7]", r"-2\le x\le 7", "correct"),
        ("(1,-16,-4,43)", "(1, -16, -4, 43)", "correct"),
        ("(1,2,3)", "(3,2,1)", "wrong"),
        ("3,5,7", "7, 5, 3", "correct"),
        (r"3 \pm 2\sqrt2", r"3+2\sqrt{2}, 3-2\sqrt{2}", "correct"),
        (
            r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}",
            r"\begin{bmatrix}-\frac13\\\frac23\end{bmatrix}",
            "correct",
        ),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", "wrong"),
        (r"1\frac{4}{5}", "1.8", "correct"),
        (r"\frac{1}{3}", "0.333333", "correct"),
        (r"\frac{1}{3}", "0.33", "wrong"),
        ("x=5", "5", "correct"),
        ("x=2", "y=2", "wrong"),
        ("y = -2x", "f(x) = -2x", "correct"),
        ("5x-7y+11z+4=0", "-5x+7y-11z-4=0", "correct"),
        ("p - q", "-q+p", "correct"),
        ("(a+5)(b+2)", "ab+2a+5b+10", "correct"),
        (r"11 \sqrt{5} + 11", r"11(1+\sqrt 5)", "correct"),
        ("0.28", r"28\%", "correct"),
        (r"5\text{ cm}", r"5\text{ m}", "wrong"),
        (r"3\text{ feet}", "36 inches", "correct"),
        (r"10 \text{ AM}", r"10 \text{ PM}", "wrong"),
        (r"\$5", "5 cents", "wrong"),
        (r"\text{(B)}", r"\textbf{(B)}\ 3(1 + r/10)^x = 7", "correct"),
        (r"\text{(B)}", r"\textbf{(E)}\ 3(1 + 1/r)^x = 7", "wrong"),
        (r"1 - \frac{1}{\mathrm{e}}", r"\frac{e-1}{e}", "correct"),
        ("5", "no solution", "wrong"),
        ("5", r"\frac{1}{0}", "wrong"),
        ("5", "", "wrong"),
        ("", "5", "error"),
        ("5", r"\sqrt{", "error"),
        ("x \\ne", "5", "error"),
        ("5", "9" * 10_001, "error"),
        (r"2003^{2002^{2001}}", r"2003^{2002^{2001}}", "correct"),
    ],
)
def test_verdicts(grader: MathGrader, gold: str, answer: str, status: str) -> None:
    assert grader.grade_many([(gold, answer)])[0].status == status


def test_verdicts_keep_order_and_repeats(grader: MathGrader) -> None:
    pairs = [("p-q", "-q+p"), ("1", "2"), ("p-q", "-q+p"), ("1", "1"), ("p-q", "q-p")]
    statuses = [verdict.status for verdict in grader.grade_many(pairs)]
    assert statuses == ["correct", "wrong", "correct", "correct", "wrong"]
    assert grader.grade_many([]) == []


def test_a_remembered_pair_needs_no_process() -> None:
    math_grader = MathGrader(timeout_seconds=30.0)
    first = math_grader.grade_many([("p-q", "-q+p")])
    math_grader._pool._stop_workers()
    assert math_grader.grade_many([("p-q", "-q+p")]) == first
    assert math_grader._pool._workers == []
    math_grader.close()


def test_a_tower_of_powers_does_not_hang() -> None:
    with MathGrader(timeout_seconds=2.0, memory_mib=1024) as math_grader:
        start = time.perf_counter()
        verdicts = math_grader.grade_many([("4", r"2003^{2002^{2001}}"), ("p-q", "-q+p")])
        assert time.perf_counter() - start < 30.0
    assert verdicts[0].status in ("timeout", "error", "wrong")
    assert verdicts[1].status == "correct"


def test_grading_loads_no_algebra_in_this_process() -> None:
    code = (
        "import sys; import long1k.grading.math, long1k.grading.choice;"
        "long1k.grading.math.MathGrader().grade_many([('1', '1')]);"
        "sys.exit(any(name in sys.modules for name in ('sympy', 'math_verify', 'torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("entry", GRADERS.items(), ids=lambda entry: entry[0])
def test_listed_graders_exist(entry: tuple[str, str]) -> None:
    module, _, attribute = entry[1].partition(":")
    listed = getattr(importlib.import_module(module), attribute)
    assert listed.name == entry[0]
    assert listed.version


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        (r"\boxed{\text{E}}", "E"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**C**", "C"),
        ("c", "C"),
        ("$D$", "D"),
        ("(A) 42", "A"),
        ("B) the cat", "B"),
        ("D: yes", "D"),
        (r"\textbf{(B)}\ 3(1 + r/10)^x = 7", "B"),
        ("The answer is C", "C"),
        ("Option J", "J"),
        ("A cat", None),
        ("BC", None),
        ("42", None),
        ("", None),
        ("(" * 20_000, None),
    ],
)
def test_choice_letter(answer: str, letter: str | None) -> None:
    assert choice_letter(answer) == letter


def test_choice_grader() -> None:
    with ChoiceGrader() as choice:
        verdicts = choice.grade_many([("B", "(B)"), ("B", "C"), ("B", "maybe"), ("42", "B")])
    assert [verdict.status for verdict in verdicts] == ["correct", "wrong", "wrong", "error"]


AGREEMENT = Path(__file__).resolve().parents[1] / "docs" / "grader-agreement.md"


# --- real data --------------------------------------------------------------------------------------------


def rows_of(*parts: str) -> list[dict[str, Any]]:
    path = real_data(*parts)
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def test_agreement_with_2800_labelled_outputs(grader: MathGrader) -> None:
    rows = rows_of("predictions", "math500_aime24_runs.jsonl.gz")
    assert len(rows) == 2800
    extracted = [extract_answer(row["response"]) for row in rows]
    answered = [index for index, found in enumerate(extracted) if found is not None]
    pairs = [(rows[index]["answer"], found.value) for index, found in enumerate(extracted) if found is not None]
    statuses = dict(zip(answered, (verdict.status for verdict in grader.grade_many(pairs)), strict=True))
    ungraded = [i for i, status in statuses.items() if status == "error"]  # damaged golds, and -\\mathbf{I}
    agreed = {i: (statuses.get(i) == "correct") == r["is_correct"] for i, r in enumerate(rows) if i not in ungraded}
    print(f"agreement {sum(agreed.values())} of {len(agreed)}; disagreements {[i for i, a in agreed.items() if not a]}")
    # docs/grader-agreement.md lists all disagreements and who is right.
    assert 100 * sum(agreed.values()) >= 99 * len(agreed)
    assert ungraded == [397, 584, 897, 1048, 1084, 2548]
    assert "timeout" not in statuses.values()


def test_math500_golds_are_correct_against_themselves(grader: MathGrader) -> None:
    rows = rows_of("benchmarks", "math500.jsonl")
    assert len(rows) == 500
    golds = [row["answer"] for row in rows]
    assert {verdict.status for verdict in grader.grade_many(list(zip(golds, golds, strict=True)))} == {"correct"}
    extracted = [extract_answer(row["solution"]) for row in rows]
    values = [found.value if found else "" for found in extracted]
    pairs = list(zip(golds, values, strict=True))
    failed = [p for p, v in zip(pairs, grader.grade_many(pairs), strict=True) if v.status != "correct"]
    assert failed == []


def test_math500_golds_are_wrong_against_each_other(grader: MathGrader) -> None:
    golds = [row["answer"] for row in rows_of("benchmarks", "math500.jsonl")]
    pairs = [(a, b) for a, b in zip(golds, golds[1:] + golds[:1], strict=True) if normalize(a) != normalize(b)]
    verdicts = grader.grade_many(pairs)
    assert len(pairs) > 490
    assert [p for p, v in zip(pairs, verdicts, strict=True) if v.status != "wrong"] == []


def test_math_verify_cases(grader: MathGrader) -> None:
    rows = rows_of("answer_checking", "math_verify_test_cases.jsonl")
    assert len(rows) == 268

    def read(text: str) -> str:
        found = extract_answer(text)
        return found.value if found else text

    verdicts = grader.grade_many([(read(row["gold"]), read(row["pred"])) for row in rows])
    expected = [bool(row.get("expected", row.get("result"))) for row in rows]
    correct = [verdict.status == "correct" for verdict in verdicts]
    differences = [i for i, (c, e) in enumerate(zip(correct, expected, strict=True)) if c != e]
    print(f"agreement {len(rows) - len(differences)} of {len(rows)}; differences {differences}")
    # The page lists every one with its reason, and no other.
    section = AGREEMENT.read_text("utf-8").partition("## Math-Verify's own cases")[2]
    listed = [span for line in re.findall(r"^\| ([\d, -]+) \|", section, re.MULTILINE) for span in line.split(",")]
    bounds = [(int(span.split("-")[0]), int(span.split("-")[-1])) for span in listed]
    assert differences == sorted(i for first, last in bounds for i in range(first, last + 1))
    assert f"{len(rows) - len(differences)} come out as its authors expect" in section
    assert sum(correct[i] for i in differences) <= 2


def test_the_page_of_agreement_lists_every_disagreement(grader: MathGrader) -> None:
    rows = rows_of("predictions", "math500_aime24_runs.jsonl.gz")
    table = re.findall(r"^\| (\d+) \| \S+ \| .* \| (correct|wrong|error|no_answer) \| (correct|not correct) \| \w+: .+ \|$",
                       AGREEMENT.read_text("utf-8"), re.MULTILINE)  # fmt: skip
    listed = {int(number): (ours, label == "correct") for number, ours, label in table}
    extracted = [extract_answer(row["response"]) for row in rows]
    answered = [(index, found) for index, found in enumerate(extracted) if found is not None]
    verdicts = grader.grade_many([(rows[index]["answer"], found.value) for index, found in answered])
    statuses = {index: verdict.status for (index, _), verdict in zip(answered, verdicts, strict=True)}
    differing = {
        index: (statuses.get(index, "no_answer"), bool(row["is_correct"]))
        for index, row in enumerate(rows)
        if (statuses.get(index) == "correct") != row["is_correct"]
    }
    assert differing == listed


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("\\dfrac{2469}{20,\\!000}", "\\frac{2469}{20000}"), ("29,\\!322,\\!216", "29322216"), ("20,\\! 000", "20{,}000")],
)
def test_thousands_as_math_writes_them(gold: str, answer: str) -> None:
    verdict = decide(gold, answer)
    assert verdict is not None
    assert verdict.status == "correct"
    assert normalize("(1,\\!2)") != normalize("12")  # a pair is no number


def test_a_frame_is_a_box() -> None:
    found = extract_answer("So $m = 10^2 + n$ and the answer is \\framebox{399}.")
    assert found is not None
    assert found.value == "399"

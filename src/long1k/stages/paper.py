"""paper: what the published figures themselves say, with the intervals that they were printed without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log2
from typing import Any

from long1k.paper import Experiment, Point, experiment, load_paper, published_points
from long1k.statistics.forms import LINE
from long1k.statistics.paired import holm
from long1k.statistics.proportions import Difference, clopper_pearson, difference, possible_runs, wilson
from long1k.statistics.published import TwoWay, find_turn, fit_points, fit_two, points_words
from long1k.statistics.shapes import told_apart

CONFIDENCE = 0.95
_OURS = "Long1K-32B"
_LEVEL = 0.05

Finding = dict[str, Any]
"""``lines`` to print, and under other keys the figures they hold."""


def findings_of(name: str) -> Finding:
    """The analysis of one experiment: its title, where its figures come from, lines, and figures for JSON.

    Raises:
        RecipeError: there is no such experiment.
    """
    found = experiment(name)
    made = _ANALYSES.get(name, _claims)(name, found)
    reading = "" if not found.error_points else f", read to ±{found.error_points:g} points"
    head = [f"{name}. {found.title[:1].upper()}{found.title[1:]} ({load_paper().source}, {found.origin}{reading})"]
    if found.caveat is not None:
        head.append(f"note: {' '.join(found.caveat.split())}")
    return {"experiment": name, **made, "lines": head + made["lines"]}


def later_findings() -> list[str]:
    """What others found since, by the side it takes."""
    return [f"[{one.side}] {one.source}: {' '.join(one.finding.split())}" for one in load_paper().later]


def _ladder(name: str, found: Experiment) -> Finding:
    """Points over known lengths: the line, the other shapes, the steps from rung to rung."""
    lines, laws = [], {}
    for benchmark in found.benchmarks:
        figures = published_points(name, benchmark)
        lengths = [float(figure.tokens or 0) for figure in figures]
        law = fit_points(
            lengths, [figure.accuracy for figure in figures], figures[0].num_questions,
            error=found.error_points / 100, confidence=CONFIDENCE,
        )  # fmt: skip
        laws[benchmark] = law.as_dict()
        lines += ["", f"{benchmark}: {points_words(law, CONFIDENCE)}"]
        lines.append(
            f"  weighted by the sampling of {figures[0].num_questions} questions: {100 * law.slope_weighted:+.2f} "
            f"(R² {law.r2_weighted:.3f})"
            + (f"; misread figures could move it by {100 * law.reading:.2f}" if law.reading else "")
        )
        lines.append(f"  {'tokens':>8} {'accuracy':>9}  {'interval (Wilson)':<18} line")
        line_at = {one.name: one for one in law.shapes}[LINE]
        for figure, length in zip(figures, lengths, strict=True):
            fitted = _nearest(line_at.curve, length)
            lines.append(f"  {length:>8,.0f} {100 * figure.accuracy:>9.1f}  {_wilson(figure):<18} {100 * fitted:.1f}")
        lines.append(f"  {'shape':<24} {'parameters':>10} {'R²':>6} {'AICc':>7} {'left out, points':>17}")
        for one in law.shapes:
            aicc = "–" if one.aicc is None else f"{one.aicc:.1f}"
            left = "–" if one.left_out_points is None else f"{one.left_out_points:.2f}"
            lines.append(f"  {one.name:<24} {one.num_parameters:>10} {one.r2:>6.3f} {aicc:>7} {left:>17}")
        lines += [f"  {line}" for line in told_apart(law.shapes, len(lengths), CONFIDENCE)]
        lines.append(f"  {_turn_line(figures, [log2(length) for length in lengths], 'a doubling', 'tokens')}")
        lines += _steps_up(figures)
    return {"lines": lines, "laws": laws}


def _nearest(curve: Sequence[tuple[float, float | None, float, float | None]], length: float) -> float:
    """The fitted value of a line in log2(length): between two places of its curve."""
    (a, _, low, _), (b, _, high, _) = curve[0], curve[-1]
    return low + (high - low) * (log2(length) - log2(a)) / (log2(b) - log2(a))


def _steps_up(figures: Sequence[Point]) -> list[str]:
    """Which steps from one rung to the next hold; the first against the last too."""
    lines = []
    for one, two in [*pairwise(figures), (figures[0], figures[-1])]:
        d = difference(two.accuracy, one.accuracy, one.num_questions, CONFIDENCE)
        lines.append(f"  {one.arm} → {two.arm}: {_difference(d)}")
    return lines


def _turn_line(figures: Sequence[Point], x: Sequence[float], unit: str, what: str) -> str:
    """Whether a parabola through the points turns."""
    turn = find_turn(x, [figure.accuracy for figure in figures], figures[0].num_questions, CONFIDENCE)
    first, last = (
        f"{100 * e:+.1f} {_span(low, high, signed=True)}" for e, low, high in (turn.slope_first, turn.slope_last)
    )
    if turn.top is None:
        where = "no top"
    elif what == "tokens":
        where = f"top at {2**turn.top:,.0f} tokens" if turn.top < 40 else "top beyond any length"
    else:
        where = f"top at {what} {turn.top:.1f}"
    return (
        f"a parabola through the points has {where}; its slope is {first} points {unit} at the first, {last} at the "
        f"last: {turn.finding}"
    )


def _levels(name: str, found: Experiment) -> Finding:
    """Points over levels whose lengths are not known: only steps can be judged."""
    lines = []
    for benchmark in found.benchmarks:
        lines += ["", f"{benchmark}"]
        note = found.benchmark_notes.get(benchmark)
        lines += [] if note is None else [f"  note: {note}"]
        figures = published_points(name, benchmark)
        lines += [f"  {f.arm}: {100 * f.accuracy:.2f} {_wilson(f)}" for f in figures]
        lines += _steps_up(figures)
        lines.append(f"  {_turn_line(figures, [float(f.level or 0) for f in figures], 'a level', 'level')}")
        best = max(figures, key=lambda figure: figure.accuracy)
        if best is not figures[-1]:
            d = difference(figures[-1].accuracy, best.accuracy, best.num_questions, CONFIDENCE)
            lines.append(f"  the fall from {best.arm} to {figures[-1].arm}: {_difference(d)}")
    return {"lines": lines}


def _steps(name: str, found: Experiment) -> Finding:
    """Two lengths at equal steps: the gap, and whether tokens trained on would explain it as well."""
    benchmark = found.benchmarks[0]
    figures = published_points(name, benchmark)
    lines = ["", f"{benchmark}: {'steps':>5} {'1.5k':>6} {'12k':>6}  12k − 1.5k"]
    short = {figure.steps: figure for figure in figures if figure.tokens == 1500}
    long = {figure.steps: figure for figure in figures if figure.tokens == 12000}
    gaps = []
    for steps in short:
        d = difference(long[steps].accuracy, short[steps].accuracy, short[steps].num_questions, CONFIDENCE)
        gaps.append(d.estimate)
        lines.append(
            f"  {steps:>12} {100 * short[steps].accuracy:>6.1f} {100 * long[steps].accuracy:>6.1f}  {_difference(d)}"
        )
    lines.append(
        f"  mean gap {100 * sum(gaps) / len(gaps):+.2f} points over three doublings; its five values come from the "
        "same two runs and the same questions, so they are not five studies"
    )
    both = fit_two(
        [float(f.tokens or 0) for f in figures], [float(f.steps or 0) for f in figures], [f.accuracy for f in figures]
    )
    lines += _two_lines(both)
    least = min(steps or 0 for steps in long) * 12000 / (max(steps or 0 for steps in short) * 1500)
    lines.append(
        f"  no two of these runs saw the same number of tokens: the shortest at 12k saw {least:.1f} times as many as "
        "the longest at 1.5k (samples a step taken to be equal). Equal steps do not answer the question of tokens."
    )
    return {"lines": lines, "fit": {key: getattr(both, key) for key in TwoWay.__slots__}}


def _two_lines(both: TwoWay) -> list[str]:
    def gain(value: tuple[float, float, float]) -> str:
        return f"{100 * value[0]:+.2f} points a doubling [{100 * value[1]:+.2f}, {100 * value[2]:+.2f}]"

    verdict = (
        "nothing tells length from tokens trained on here" if both.p_equal > _LEVEL
        else "length and steps are not worth the same"
    )  # fmt: skip
    return [
        f"  in one fit: length {gain(both.first)}, steps {gain(both.second)} (R² {both.r2:.3f}; intervals from the "
        "scatter)",
        f"  tokens trained on alone (length × steps): {gain(both.product)} (R² {both.r2_product:.3f})",
        f"  test that a doubling of either is worth the same: p = {both.p_equal:.2f}: {verdict}",
    ]


def _pairs(name: str, found: Experiment) -> Finding:
    """Easy against hard at one length: is there a difference, and how large could it be?"""
    lines: list[str] = []
    for benchmark in found.benchmarks:
        figures = published_points(name, benchmark)
        for model in dict.fromkeys(figure.model for figure in figures):
            easy, hard = (figure for figure in figures if figure.model == model)
            d = difference(easy.accuracy, hard.accuracy, easy.num_questions, CONFIDENCE)
            lines.append(f"  {benchmark}, {model}: {easy.arm} − {hard.arm} {_difference(d)}")
    lines.append(
        "  that no difference is found does not make difficulty equal: with one run an arm these intervals hold "
        "differences of this size in either direction"
    )
    return {"lines": ["", *lines]}


def _table(name: str, found: Experiment) -> Finding:
    """The table of models: intervals of every rate, and which differences from ours hold."""
    lines: list[str] = []
    cells: list[tuple[str, Point, Difference]] = []
    for benchmark in found.benchmarks:
        figures = published_points(name, benchmark)
        ours = next(figure for figure in figures if figure.arm == _OURS)
        heads = ("model", "%", "Wilson", "exact", "Long1K − it", "it holds")
        lines += ["", f"{benchmark}, {ours.num_questions} questions"]
        lines.append("  {:<28} {:>5}  {:<12}  {:<12}  {:<20}  {}".format(*heads))
        for figure in figures:
            low, high = clopper_pearson(figure.accuracy, figure.num_questions, CONFIDENCE)
            row = f"  {figure.arm:<28} {100 * figure.accuracy:>5.1f}  {_wilson(figure):<12}  {_span(low, high):<12}"
            if figure is not ours:
                d = difference(ours.accuracy, figure.accuracy, ours.num_questions, CONFIDENCE)
                cells.append((benchmark, figure, d))
                row += f" {100 * d.estimate:+6.1f} {_span(*d.independent, signed=True):<14}  {_SHORT[d.holds]}"
            lines.append(row.rstrip())
    corrected = list(holm({f"{b} {f.arm}": d.p_independent for b, f, d in cells}).values())
    lines += [
        "",
        "Long1K − it: its interval is for independent answers. It holds: always, however the answers of the two models "
        "agree; if they are independent (if indep.); only if both are mostly right on the same questions (if paired); "
        "never.",
        "",
        "Which differences hold",
    ]
    for kind, words in _HOLDS.items():
        named = [f"{b} {f.arm} {100 * d.estimate:+.1f}" for b, f, d in cells if d.holds == kind]
        lines.append(f"  {words} ({len(named)} of {len(cells)}): {'; '.join(named) or 'none'}")
    named = [f"{b} {f.arm} (p = {p:.3f})" for (b, f, _), p in zip(cells, corrected, strict=True) if p <= _LEVEL]
    lines.append(f"  independent answers, Holm over all {len(cells)}: {'; '.join(named) or 'none'}")
    lines += ["", *_runs(found)]
    rows = [
        {"benchmark": b, "model": f.arm, "difference": d.estimate, "independent": d.independent, "closest": d.closest,
         "widest": d.widest, "p_independent": d.p_independent, "p_holm": p, "p_closest": d.p_closest, "holds": d.holds}
        for (b, f, d), p in zip(cells, corrected, strict=True)
    ]  # fmt: skip
    return {"lines": lines, "differences": rows}


_SHORT = {"always": "always", "if independent": "if indep.", "if paired closely": "if paired", "never": "never"}
_SAID = {
    "always": "holds", "if independent": "holds if independent", "if paired closely": "holds only if paired closely",
    "never": "does not hold",
}  # fmt: skip
_HOLDS = {
    "always": "hold however the answers agree",
    "if independent": "hold if the answers are independent, not if they agree as little as can be",
    "if paired closely": "hold only if the two models are mostly right on the same questions",
    "never": "hold under no pairing",
}


def _runs(found: Experiment) -> list[str]:
    """Of how many runs a printed figure can be the mean."""
    lines = ["Numbers of runs, up to 16, whose mean can be printed so (one run: any figure on a whole count)"]
    benchmarks = load_paper().benchmarks
    for arm in found.arms:
        parts = []
        shared: set[int] | None = None
        for benchmark, percent in arm.accuracy.items():
            runs = possible_runs(percent, benchmarks[benchmark].questions)
            if arm.spread:
                shared = set(runs) if shared is None else shared & set(runs)
            if 1 not in runs:
                parts.append(f"{benchmark} {percent:g}: {', '.join(map(str, runs)) or 'none'}")
        said = "; ".join(parts) if parts else "every figure can be a single run"
        if shared:
            said += f"; all its figures alike: {', '.join(map(str, sorted(shared)))}"
        lines.append(f"  {arm.arm}: {said}")
    return lines


def _writing(_: str, found: Experiment) -> Finding:
    """Words and lengths by outcome."""
    lines = [""]
    for one in found.writing:
        words = ", ".join(f"{word} {share:.2f}" for word, share in one.words_percent.items())
        lines.append(
            f"  trained at {one.arm}, {one.outcome}: {one.mean_output_tokens:,.0f} tokens; {words} (% of words)"
        )
    by = {(one.arm, one.outcome): one.mean_output_tokens for one in found.writing}
    for arm in dict.fromkeys(one.arm for one in found.writing):
        ratio = by[arm, "wrong"] / by[arm, "correct"]
        lines.append(f"  trained at {arm}: a wrong output is {ratio:.1f} times as long as a correct one")
    lines.append("  no counts are published, so no interval can be given")
    return {"lines": lines}


def _claims(_: str, found: Experiment) -> Finding:
    return {"lines": ["", *(f"  {claim}" for claim in found.claims), "  no figure is published: nothing to recompute"]}


def _difference(d: Difference) -> str:
    return (
        f"{100 * d.estimate:+.1f} points; independent {_span(*d.independent, signed=True)}, paired closely "
        f"{_span(*d.closest, signed=True)}, widest {_span(*d.widest, signed=True)}: {_SAID[d.holds]}"
    )


def _wilson(figure: Point) -> str:
    return _span(*wilson(figure.accuracy, figure.num_questions, CONFIDENCE))


def _span(low: float, high: float, signed: bool = False) -> str:
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]" if signed else f"[{100 * low:.1f}, {100 * high:.1f}]"


_ANALYSES: dict[str, Callable[[str, Experiment], Finding]] = {
    "A": _ladder, "B-a": _pairs, "B-b": _pairs, "C": _ladder, "D-levels": _levels, "D-steps": _steps, "E": _writing,
    "F": _table, "G": _claims,
}  # fmt: skip

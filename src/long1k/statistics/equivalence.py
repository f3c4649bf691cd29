"""Whether two arms are the same for practical purposes: two one-sided tests (TOST; Schuirmann, 1987).

"No difference was found" says little: a small study finds none.  Equivalence needs a margin that was
set before the run, and an interval that lies inside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from long1k.statistics.rates import Array, Interval, interval_of
from long1k.statistics.variance import Parts, parts_of

Finding = Literal["equivalent", "different", "different, but within the margin", "undecided"]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The finding, with the interval of the two one-sided tests (confidence 1 - 2 · alpha) and the two-sided one."""

    finding: Finding
    margin: float
    one_sided: Interval
    two_sided: Interval


def tost(difference_SQ: Array, margin: float, alpha: float = 0.05) -> Equivalence:
    """Test whether a mean difference lies within ±margin.

    Args:
        difference_SQ: shape (seeds, questions): arm b less arm a, question by question.
        margin: positive, in the units of the difference; set before the run.

    Raises:
        ValueError: the margin is not positive, or the array is empty or holds NaN.
    """
    return tost_of(parts_of([difference_SQ], [1.0]), margin, alpha)


def tost_of(parts: Parts, margin: float, alpha: float = 0.05) -> Equivalence:
    """The same from the parts of a difference's variance.

    Raises:
        ValueError: the margin is not positive.
    """
    return judge(interval_of(parts, 1 - 2 * alpha), interval_of(parts, 1 - alpha), margin)


def judge(one_sided: Interval, two_sided: Interval, margin: float) -> Equivalence:
    """The finding from both intervals, where they come from elsewhere.

    Raises:
        ValueError: the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"a margin is positive, got {margin}")
    inside = (
        one_sided.low is not None and one_sided.high is not None and -margin < one_sided.low and one_sided.high < margin
    )
    apart = two_sided.excludes(0.0)
    finding: Finding = "undecided"
    if inside:
        finding = "different, but within the margin" if apart else "equivalent"
    elif apart:
        finding = "different"
    return Equivalence(finding, margin, one_sided, two_sided)

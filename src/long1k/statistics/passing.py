"""pass@k and maj@n of one question from its graded samples."""

from __future__ import annotations

from collections.abc import Sequence


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float | None:
    """The chance that one of k samples is right, estimated from n of which c are: 1 - C(n-c, k) / C(n, k).

    Unbiased (Chen et al. 2021, arXiv 2107.03374, eq. 1); None where k > n: fewer samples cannot say it.

    Raises:
        ValueError: k is below 1, or more are correct than there are.
    """
    if k < 1 or not 0 <= num_correct <= num_samples:
        raise ValueError(f"pass@{k} of {num_correct} correct in {num_samples} samples")
    if k > num_samples:
        return None
    failing = 1.0
    for place in range(k):  # C(n-c, k) / C(n, k) as a product, which never overflows
        failing *= max(0, num_samples - num_correct - place) / (num_samples - place)
    return 1.0 - failing


def majority(groups: Sequence[tuple[int, bool]]) -> float:
    """Whether the most frequent answer is right: (votes, right) of each group of equal answers.

    Of several groups that are most frequent each wins equally often, so that a tie of one right and one wrong
    answer is worth 0.5. Nobody's vote is 0.
    """
    most = max((votes for votes, _ in groups), default=0)
    if most == 0:
        return 0.0
    tied = [right for votes, right in groups if votes == most]
    return sum(tied) / len(tied)

"""The next token of each row: transformers' own processors, then arg max or a draw that the row's seed decides.

A draw takes the first token at which the summed probabilities exceed a number between 0 and 1 that is a hash of
(seed of the sample, place in its output).  So a sample is the same in any batch, and in one piece or several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from long1k.generation.base import Sampling
from long1k.plugins import need

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014), on arrays of any shape."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniforms(seeds: Sequence[int], positions: Sequence[int]) -> NDArray[np.float64]:
    """One number in [0, 1) for each (seed, position), 52 bits of a hash: so its product with a sum is less than it."""
    seeded = _mix(np.array([seed % 2**64 for seed in seeds], dtype=np.uint64) + _GOLDEN)
    mixed = _mix(seeded + np.array(positions, dtype=np.uint64) * _GOLDEN)
    return (mixed >> np.uint64(12)).astype(np.float64) * 2.0**-52


class Chooser:
    """Chooses tokens as ``Sampling`` says, in the order of ``generate``: penalty, temperature, top-k, top-p, min-p."""

    def __init__(self, sampling: Sampling) -> None:
        self._torch = need("torch")
        process = need("transformers.generation.logits_process")
        self.greedy = sampling.temperature == 0
        self.penalty = (
            process.RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty))
            if sampling.repetition_penalty != 1
            else None
        )
        self._warpers: list[Any] = []
        if not self.greedy:
            if sampling.temperature != 1:
                self._warpers.append(process.TemperatureLogitsWarper(float(sampling.temperature)))
            if sampling.top_k > 0:
                self._warpers.append(process.TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._warpers.append(process.TopPLogitsWarper(sampling.top_p))
            if sampling.min_p > 0:
                self._warpers.append(process.MinPLogitsWarper(sampling.min_p))

    def scores(self, logits_BV: Any, history_BT: Any) -> Any:
        """Logits after all processors, in fp32; what can not be drawn is -inf."""
        scores = logits_BV.float()
        if self.penalty is not None:
            scores = self.penalty(history_BT, scores)
        for warper in self._warpers:
            scores = warper(history_BT, scores)
        return scores

    def __call__(self, logits_BV: Any, history_BT: Any, seeds: Sequence[int], positions: Sequence[int]) -> list[int]:
        """A token for each row.

        Args:
            history_BT: all ids of each row so far, padded with ids that stand in the row; read by the penalty only.
            positions: of the token in its whole output, from 0.
        """
        scores = self.scores(logits_BV, history_BT)
        if self.greedy:
            chosen: list[int] = scores.argmax(-1).tolist()
            return chosen
        torch = self._torch
        summed = scores.softmax(-1).double().cumsum(-1)
        wanted = torch.from_numpy(uniforms(seeds, positions)).to(summed.device)[:, None] * summed[:, -1:]
        found: list[int] = torch.searchsorted(summed, wanted, right=True)[:, 0].tolist()
        return found

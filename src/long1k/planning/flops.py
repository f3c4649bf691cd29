"""Operations of training and of generation: multiplications and additions counted as two.

A token passes each weight of a matrix once: 2 operations forward, 4 backward (Kaplan et al., 2020, arXiv 2001.08361,
section 2.1).  Attention between T tokens adds two products of T × T × width a layer; a causal mask leaves half of each
(Dao, 2023, arXiv 2307.08691, section 4.1).  Recomputing activations repeats the forward pass; it is work of the
hardware, none of the model (Chowdhery et al., 2022, arXiv 2204.02311, appendix B): MFU leaves it out, HFU counts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from long1k.planning.shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations of some samples: forward, backward, and what is computed a second time."""

    forward: float
    backward: float
    recompute: float = 0.0

    @property
    def model(self) -> float:
        """What the model asks for: the numerator of MFU."""
        return self.forward + self.backward

    @property
    def hardware(self) -> float:
        """What the hardware does: the numerator of HFU."""
        return self.model + self.recompute

    def times(self, factor: float) -> Operations:
        """So many times as much."""
        return Operations(self.forward * factor, self.backward * factor, self.recompute * factor)

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.forward + other.forward, self.backward + other.backward, self.recompute + other.recompute
        )


def matrix_flops(shape: ModelShape, tokens: int) -> float:
    """Forward operations of all matrices, the output head with them."""
    return 2.0 * tokens * (shape.layers * shape.matrix_parameters_a_layer + shape.embedding_parameters)


def attention_flops(shape: ModelShape, tokens: int, causal: bool = True) -> float:
    """Forward operations of attention among the tokens of one sample, over all layers."""
    whole = 4.0 * tokens * tokens * shape.query_width * shape.layers
    return whole / 2 if causal else whole


def forward_flops(shape: ModelShape, tokens: int, causal: bool = True) -> float:
    """Forward operations of one sample."""
    return matrix_flops(shape, tokens) + attention_flops(shape, tokens, causal)


def training_flops(
    shape: ModelShape, lengths: Iterable[int], *, recompute: bool = False, causal: bool = True, frozen: bool = False
) -> Operations:
    """Operations of training once on samples of these lengths.

    Args:
        lengths: tokens of each sample; samples do not see each other.
        recompute: the layers are computed again in the backward pass, but for their last product, whose result
            nobody needs (and the output head).
        causal: count only the half of attention that a causal mask leaves.
        frozen: weights get no gradient (adapters): the backward pass then costs one product, not two.
    """
    total = Operations(0.0, 0.0)
    for tokens in lengths:
        matrices, attention = matrix_flops(shape, tokens), attention_flops(shape, tokens, causal)
        again = shape.layers * (shape.matrix_parameters_a_layer - shape.hidden * shape.intermediate)
        layers = 2.0 * tokens * again + attention
        backward = (matrices if frozen else 2 * matrices) + 2 * attention
        total += Operations(matrices + attention, backward, layers if recompute else 0.0)
    return total

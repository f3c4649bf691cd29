"""The lengths of an arm's samples: measured where they are made already, else planned from targets and windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from long1k.arms import Arm
from long1k.errors import RecipeError
from long1k.joining.spec import JoinSpec
from long1k.recipe_model import Recipe
from long1k.tables import MANIFEST, read_manifest


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of an arm's samples: (tokens, how many samples), the longest there can be, and how it is known."""

    counts: tuple[tuple[int, int], ...]
    longest: int
    known_by: str

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(number for _, number in self.counts)

    @property
    def tokens(self) -> int:
        """Tokens of all samples."""
        return sum(tokens * number for tokens, number in self.counts)

    @property
    def mean(self) -> float:
        """Mean tokens of a sample."""
        return self.tokens / max(1, self.samples)


def lengths_of(
    recipe: Recipe,
    arm: Arm,
    known: Mapping[str, Lengths],
    runs: Path,
    tokens: int | None,
    limit: int,
    notes: list[str],
) -> Lengths:
    """The lengths of one arm's samples.

    Args:
        known: of the arms before it, whose lengths it may take over.
        runs: folder of runs, where samples may lie already.
        tokens: every sample's length, instead of what targets or samples say.
        limit: tokens of the longest sample that the model can be trained on.
        notes: is told what was assumed.
    """
    if tokens is not None:
        return Lengths(((tokens, arm.planned_samples),), tokens, "--tokens")
    folder = runs / (recipe.arms_of or recipe.name) / "arms" / arm.data_arm / f"seed-{recipe.seeds[0]}" / "synthesize"
    if (folder / MANIFEST).is_file():
        return measured_lengths(folder)
    counts: list[tuple[int, int]] = []
    longest = 0
    for spec in arm.specs:
        part, most, note = _planned(spec, known, limit)
        counts += part
        longest = max(longest, most)
        if note is not None:
            notes.append(f"{arm.name}: {note}")
    return Lengths(tuple(counts), longest, "targets")


def measured_lengths(folder: Path) -> Lengths:
    """Lengths of the samples in a table that is there."""
    manifest = read_manifest(folder)
    found: list[int] = []
    for name in manifest.files:
        if name.startswith("part-") and name.endswith(".parquet"):
            found += pq.read_table(folder / name, columns=["num_tokens"]).column("num_tokens").to_pylist()
    if not found:
        raise RecipeError(f"{folder} holds no samples", "synthesize them again, or give --tokens")
    return Lengths(tuple((one, 1) for one in found), max(found), "samples")


def _planned(spec: JoinSpec, known: Mapping[str, Lengths], limit: int) -> tuple[list[tuple[int, int]], int, str | None]:
    """(tokens and numbers, longest, what was assumed) of a group of samples that is not made yet."""
    if spec.target is not None:
        return [(spec.target, spec.samples)], spec.target + spec.tolerance_tokens, None
    if spec.window is not None:
        low, high = spec.window
        return [((low + high) // 2, spec.samples)], high, f"its window's middle, {(low + high) // 2:,} tokens, assumed"
    for name in (spec.like, spec.extends):
        if name is not None and name in known:
            return [(round(known[name].mean), spec.samples)], known[name].longest, None
    if spec.problems_of is not None and spec.problems_of in known:
        whole = known[spec.problems_of]
        mean = round(whole.tokens / spec.samples)
        return [(mean, spec.samples)], whole.longest, f"as many tokens as {spec.problems_of}, {mean:,} each, assumed"
    bounds = spec.where.thinking_tokens
    most = limit if bounds is None or bounds[1] is None else min(limit, bounds[1])
    return [(most, spec.samples)], most, f"lengths are known once the data is made; {most:,} tokens assumed (--tokens)"

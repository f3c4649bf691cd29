"""One group of samples: what is wanted, from which rows of the pool, block by block.

Traces are ranked by a seeded hash of their id.  Block b draws its share of the samples from the next
so many traces of the ranking; what it cannot make, later blocks try with later ranks until the pool
is used up.  A pool that fits into one working set is one block, taken in the pool's order.  Nothing
depends on how the pool's rows lie in files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from long1k.chat import Chat
from long1k.errors import DataError, InfeasibleError
from long1k.joining.build import Builder, measured_places
from long1k.joining.columns import Columns, Ints, eligible, hash_ids, load_traces, quantile_rows
from long1k.joining.coverage import usable
from long1k.joining.draw import Wish, able, draw
from long1k.joining.lengths import Part
from long1k.joining.spec import JoinSpec
from long1k.rows import Example, derive_seed

WORKING_SET = 20_000  # traces whose texts are held at a time, at least
SPREAD = 16  # traces to choose from for each one that a sample takes
BLOCK_SAMPLES = 1024  # samples of one block, unless the pool has too few blocks
_SHORT_TEXTS = ("dependent", "shuffled_steps", "same_problem")  # modes that some texts do not allow
_ANY_LENGTH = 2**62


@dataclass(frozen=True)
class Related:
    """The samples of another arm, as far as this one follows them: their lengths and their traces."""

    name: str
    num_tokens: list[int]
    trace_ids: list[tuple[str, ...]]

    def apart(self) -> Related:
        """Its different traces, each as a sample of its own; of lengths that nothing follows."""
        names = dict.fromkeys(trace_id for own in self.trace_ids for trace_id in own)
        alone: list[tuple[str, ...]] = [(name,) for name in names]
        return Related(self.name, [0] * len(alone), alone)


@dataclass(frozen=True)
class Sample:
    """What a finished sample says to its group; read back from its part after a restart."""

    num_tokens: int
    target_tokens: int | None
    trace_ids: tuple[str, ...]


def parts_of(columns: Columns, rows: Ints) -> list[Part]:
    """The rows as parts: index, length in tokens, problem."""
    tokens = columns.tokens[rows].tolist()
    names = columns.problem_ids[columns.problem[rows]].tolist()
    return [Part(row, n, name.decode()) for row, n, name in zip(rows.tolist(), tokens, names, strict=True)]


class Group:
    """Draws the samples of one specification, block by block.

    Args:
        where: names the arm in errors.
        related: the arm that the specification follows (``like``), extends or takes apart (``problems_of``), by name.

    Raises:
        InfeasibleError: a related arm has fewer samples than are wanted.
        DataError: a related arm was made of traces that this pool does not hold.
    """

    def __init__(
        self, arm: str, spec: JoinSpec, columns: Columns, seed: int, chat: Chat, related: dict[str, Related]
    ) -> None:
        base = related[spec.extends] if spec.extends is not None else None
        if spec.problems_of is not None:  # as many samples as there are traces, whatever was asked for at most
            base = related[spec.problems_of].apart()
            spec = spec.model_copy(update={"samples": min(spec.samples, len(base.trace_ids))})
        self.arm, self.spec, self.columns, self.seed = arm, spec, columns, seed
        self.builder = Builder(arm, spec, chat, {})
        self.samples: list[Sample] = []
        self.blocks_done = 0
        kept = eligible(columns, spec)
        fixed = self._fixed(base, kept) if base is not None else [()] * spec.samples
        self.pending = _wishes(spec, arm, related[spec.like] if spec.like is not None else None, fixed)
        self.wishes = list(self.pending)
        self.rows: Ints = np.flatnonzero(kept)
        self._measure(chat)
        self.usable = self._usable()
        self.blocks = self._blocks()

    def _fixed(self, base: Related, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[Part, ...]]:
        """The parts that each sample takes over; the arm's traces are no longer free."""
        if len(base.trace_ids) < self.spec.samples and self.spec.shortfall == "error":
            raise InfeasibleError(
                f"arm {self.arm} extends {base.name}, which has {len(base.trace_ids):,} samples, "
                f"not {self.spec.samples:,}", "ask for as many samples at most",
            )  # fmt: skip
        if (
            self.spec.parts[0] > 1
            and self.spec.mode == "shuffled_parts"
            and any(len(own) < 2 for own in base.trace_ids)
        ):
            raise InfeasibleError(
                f"arm {self.arm}: {base.name} has samples of a single trace, which have no other order",
                "extend an arm whose samples have two traces or more",
            )
        alone = self.spec.target is None and self.spec.window is None and self.spec.like is None
        if self.spec.mode == "masked_pair" and alone and any(len(own) != 2 for own in base.trace_ids):
            raise InfeasibleError(
                f"arm {self.arm}: {base.name} has samples that are not of two traces, which make no pair",
                "extend an arm whose samples have two traces each",
            )
        rows = self.columns.rows_of([trace_id for own in base.trace_ids for trace_id in own])
        if (rows < 0).any():
            raise DataError(
                f"arm {self.arm} extends {base.name}, whose traces are not in this pool", "make both of one pool"
            )
        kept[rows] = False
        parts = iter(parts_of(self.columns, rows))
        fixed = [tuple(next(parts) for _ in own) for own in base.trace_ids]
        return fixed[: self.spec.samples]

    def _measure(self, chat: Chat) -> None:
        """Learn what a sample has beyond its parts, from some of the shorter traces.

        Modes that not every text allows measure again in each block, on texts that they have read.
        """
        tokens = self.columns.tokens[self.rows]
        measured = self.rows[np.argsort(tokens, kind="stable")[measured_places(tokens.size)]]
        plain = self.builder
        if self.spec.mode in _SHORT_TEXTS:
            plain = Builder(self.arm, self.spec.model_copy(update={"mode": "independent"}), chat, {})
        plain.traces = load_traces(self.columns, measured)
        plain.measure(parts_of(self.columns, measured))
        self.overhead = plain.overhead

    def bounds(self) -> tuple[int, int]:
        """The least and most tokens that any sample of the group may have."""
        return min(wish.low for wish in self.wishes), max(wish.high for wish in self.wishes)

    def _usable(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
        """Which rows could stand in some sample by length alone; None where no length decides."""
        spec, (low, high) = self.spec, self.bounds()
        tokens = self.columns.tokens[self.rows]
        if high >= _ANY_LENGTH:
            if spec.length_set is None:
                return None
            problems = self.columns.problem[self.rows]
            enough = np.bincount(problems, minlength=1) >= spec.length_set[1]
            return np.asarray(enough[problems], dtype=bool)
        if spec.mode == "truncated":
            return np.asarray(tokens + self.overhead(1) > low, dtype=bool)
        if spec.mode == "same_problem":
            fits = self.columns.thinking_tokens[self.rows] < high
            problems = self.columns.problem[self.rows]
            enough = np.bincount(problems, weights=fits, minlength=1) >= spec.parts[0]
            return np.asarray(fits & enough[problems], dtype=bool)
        taken = [(sum(part.length for part in wish.fixed), len(wish.fixed)) for wish in self.wishes]
        least, most = spec.parts
        if spec.tolerance == 0 and spec.window is None:  # linking words make up for a few tokens
            low, high = low - self.builder.reach(most), high + self.builder.reach(most)
        fewest, largest = min(n for _, n in taken), max(n for _, n in taken)
        return usable(
            tokens, low - max(t for t, _ in taken), high - min(t for t, _ in taken),
            max(1, least - largest), most - fewest, lambda n: self.overhead(n + fewest),
        )  # fmt: skip

    @property
    def coverage(self) -> float | None:
        """Share of the group's eligible traces that could stand in some sample, by length alone (0..1)."""
        if self.usable is None:
            return None
        return round(float(self.usable.mean()), 4) if self.usable.size else 0.0

    # --- blocks

    def _blocks(self) -> list[Ints]:
        """The rows of each block, in the order in which they are offered."""
        spec, rows = self.spec, self.rows
        if spec.length_set is not None:
            chosen = quantile_rows(self.columns, rows, *spec.length_set, self.seed)[: spec.samples]
            return [chosen[at : at + BLOCK_SAMPLES] for at in range(0, chosen.size, BLOCK_SAMPLES)]
        if self.usable is None:  # nothing is drawn: only wishes are divided
            return [rows[:0]] * -(-len(self.pending) // BLOCK_SAMPLES)
        size = max(WORKING_SET, SPREAD * min(spec.samples, BLOCK_SAMPLES) * spec.parts[1])
        if rows.size > size:
            rows = rows[self.usable]
        if rows.size <= size:
            return [rows] if rows.size or spec.extends is not None else []
        ranks = hash_ids(self.columns.trace_ids[rows], self.seed)
        if spec.mode != "same_problem":
            order = np.argsort(ranks, kind="stable")
            return [np.sort(rows[order[at : at + size]]) for at in range(0, rows.size, size)]
        # The traces of one problem stay together: a block is a run of whole problems.
        problems = hash_ids(self.columns.problem_ids, self.seed)[self.columns.problem[rows]]
        order = np.lexsort((ranks, problems))
        starts = np.flatnonzero(np.diff(problems[order], prepend=problems[order][0] + np.uint64(1)))
        borders = [int(starts[np.searchsorted(starts, at)]) for at in range(0, int(starts[-1]) + 1, size)]
        edges = [*sorted(set(borders)), rows.size]
        return [np.sort(rows[order[a:b]]) for a, b in pairwise(edges)]

    @property
    def finished(self) -> bool:
        """Whether all samples are made or all blocks are used up."""
        return not self.pending or self.blocks_done >= len(self.blocks)

    def draw_block(self) -> list[Example]:
        """The samples of the next block; tell the group of them with ``settle``."""
        number, spec = self.blocks_done, self.spec
        rows = self.blocks[number]
        wishes = self._share()
        traces = load_traces(self.columns, np.concatenate([rows, _fixed_rows(wishes)]))
        self.builder.traces = traces
        parts = parts_of(self.columns, rows)
        if spec.mode in _SHORT_TEXTS:
            parts = [part for part in parts if able(spec, traces[part.index])]
            if spec.mode != "same_problem":
                self.builder.measure(parts)

        def seeds(at: int) -> int:
            place = (at,) if number == 0 else (number, at)
            return derive_seed(self.seed, "sample", *place)

        made = draw(parts, spec, wishes, self.builder, seeds)
        self.builder.traces = {}
        return [example for example, _ in made]

    def _share(self) -> list[Wish]:
        left = len(self.blocks) - self.blocks_done
        share = max(BLOCK_SAMPLES, -(-len(self.pending) // left)) if len(self.blocks) > 1 else len(self.pending)
        if self.spec.length_set is not None:
            share = int(self.blocks[self.blocks_done].size)
        return self.pending[:share]

    def settle(self, samples: Sequence[Sample]) -> None:
        """Take note of a block's samples, fresh or read back; what they fulfil is no longer wanted."""
        self.blocks_done += 1
        self.samples += samples
        if self.spec.extends is not None:
            begun = {sample.trace_ids[0] for sample in samples}
            self.pending = [wish for wish in self.pending if self._first_id(wish) not in begun]
        elif self.spec.like is not None:
            for sample in samples:
                at = next(i for i, wish in enumerate(self.pending) if wish.target == sample.target_tokens)
                del self.pending[at]
        else:
            self.pending = self.pending[len(samples) :]

    def _first_id(self, wish: Wish) -> str:
        return str(self.columns.trace_ids[wish.fixed[0].index].decode())


def _fixed_rows(wishes: Sequence[Wish]) -> Ints:
    return np.array([part.index for wish in wishes for part in wish.fixed], dtype=np.int64)


def _wishes(spec: JoinSpec, arm: str, like: Related | None, fixed: Sequence[tuple[Part, ...]]) -> list[Wish]:
    """One wish a sample."""
    if like is not None:
        if len(like.num_tokens) < spec.samples and spec.shortfall == "error":
            raise InfeasibleError(
                f"arm {arm} is made like {like.name}, which has {len(like.num_tokens):,} samples, not {spec.samples:,}",
                "ask for as many samples at most",
            )
        targets: list[int | None] = list(like.num_tokens[: spec.samples])
    else:
        targets = [spec.target] * len(fixed)
    low, high = spec.window or (0, _ANY_LENGTH)
    wishes = []
    for target, parts in zip(targets, fixed, strict=False):  # an arm that is followed may have fewer samples
        tolerance = 0 if target is None else spec.tolerance_of(target)
        bounds = (low, high) if target is None else (target - tolerance, target + tolerance)
        wishes.append(Wish(target, *bounds, parts))
    return wishes

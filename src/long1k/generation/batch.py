"""One batch of outputs, drawn token by token: rows that have ended leave it, rows that go on stay where they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from long1k.generation.base import Done, Job, Output
from long1k.generation.cache import BatchCache
from long1k.generation.draw import Chooser
from long1k.plugins import need

_FEED = 64  # ids put in by a budget that are fed one a step; more of them are read at once, in a later round
_PREFILL_TOKENS = 16384  # read at once
_SPARSE = 8  # a batch is cut down when one of so many rows has ended


@dataclass(slots=True)
class _Row:
    """One output under way.

    ``ids`` is all that stands before the next token; the last of it was not read yet.  ``waiting`` are ids that a
    budget put in, and that come before the next one drawn.
    """

    job: Job
    ids: list[int]
    drawn: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def position(self) -> int:
        """Of the next token in the whole output."""
        return self.job.drawn + len(self.drawn)

    def go_on(self, job: Job) -> bool:
        """Take up what a budget makes of this output, if the cache holds its beginning and little is to be read.

        The last token was chosen but not read, so it can still be another.
        """
        read = len(self.ids) - 1
        rest = job.prompt_ids[read:]
        if not 0 < len(rest) <= _FEED or job.prompt_ids[:read] != self.ids[:read]:
            return False
        self.job, self.drawn, self.waiting = job, [], rest[1:]
        self.ids[read:] = rest[:1]
        return True


class Batch:
    """Draws the jobs of one batch with a model.

    Args:
        takes: the names of the model's forward arguments.
    """

    def __init__(
        self, model: Any, jobs: Sequence[Job], chooser: Chooser, end_ids: Collection[int], takes: frozenset[str]
    ) -> None:
        self._torch = need("torch")
        self._model, self._chooser, self._end_ids, self._takes = model, chooser, frozenset(end_ids), takes
        self._rows = [_Row(job, list(job.prompt_ids)) for job in jobs]
        self._cache = BatchCache(model)
        self._width = 0  # columns that were read
        self._sdpa = getattr(model.config, "_attn_implementation", None) == "sdpa" and self._cache.plain

    def run(self, done: Done) -> list[Job]:
        """Draw until no row is left.

        Returns:
            The jobs that ``done`` gave and that could not go on in their row: for the next round of this batch.
        """
        again: list[Job] = []
        with self._torch.inference_mode():
            logits = self._read_prompts()
            while True:
                tokens = self._chooser(
                    logits, self._history, [row.job.seed for row in self._rows], [row.position for row in self._rows]
                )
                for row, token in zip(self._rows, tokens, strict=True):
                    if not row.ended:
                        self._put(row, token, done, again)
                self._drop_ended()
                if not self._rows:
                    return again
                logits = self._read([row.ids[-1] for row in self._rows])

    def _put(self, row: _Row, token: int, done: Done, again: list[Job]) -> None:
        if row.waiting:
            row.ids.append(row.waiting.pop(0))
            return
        row.ids.append(token)
        row.drawn.append(token)
        ended = token in self._end_ids
        if not ended and len(row.drawn) < row.job.max_new_tokens:
            return
        following = done(Output(row.job.key, row.drawn, "stop" if ended else "length"))
        if following is None or not row.go_on(following):
            row.ended = True
            if following is not None:
                again.append(following)

    def _read_prompts(self) -> Any:
        """Read all prompts, each different one once; the logits after their last tokens."""
        torch, rows, device = self._torch, self._rows, self._model.device
        different: dict[tuple[int, ...], int] = {}
        places = [different.setdefault(tuple(row.ids), len(different)) for row in rows]
        width = max(len(row.ids) for row in rows)
        # Padding is a row's own first id: a repetition penalty reads it, attention does not.
        ids = torch.tensor([[one[0]] * (width - len(one)) + list(one) for one in different], device=device)
        self._padding = [width - len(one) for one in different]
        self._pads = torch.tensor(self._padding, device=device)
        self._mask = torch.arange(width, device=device)[None] >= self._pads[:, None]
        self._history = ids
        step = max(1, _PREFILL_TOKENS // len(different))
        for start in range(0, width, step):
            logits = self._forward(ids[:, start : start + step], start)
        if len(different) < len(rows):
            self._keep(places)
            logits = logits[torch.tensor(places, device=device)]
        return logits

    def _read(self, tokens: list[int]) -> Any:
        """Read one more token of each row."""
        torch = self._torch
        ids = torch.tensor(tokens, device=self._model.device)[:, None]
        if self._chooser.penalty is not None:
            self._history = torch.cat([self._history, ids], dim=1)
        if self._width == self._mask.shape[1]:
            room = torch.ones((len(tokens), 64 + self._width // 4), dtype=torch.bool, device=ids.device)
            self._mask = torch.cat([self._mask, room], dim=1)
        return self._forward(ids, self._width)

    def _forward(self, ids: Any, start: int) -> Any:
        """Logits (rows, vocabulary) after columns ``start`` to ``start + ids.shape[1]``."""
        torch = self._torch
        end = start + ids.shape[1]
        mask = self._mask[:, :end]
        given: dict[str, Any] = {"input_ids": ids, "past_key_values": self._cache.cache, "use_cache": True}
        if any(self._padding):
            # One token sees all that is no padding: the mask is ready, in the shape that attention takes.
            given["attention_mask"] = mask[:, None, None] if self._sdpa and ids.shape[1] == 1 else mask.long()
        if "position_ids" in self._takes:
            columns = torch.arange(start, end, device=ids.device)[None] - self._pads[:, None]
            given["position_ids"] = columns.clamp(min=0)
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        self._width = end
        return self._model(**given).logits[:, -1]

    def _drop_ended(self) -> None:
        alive = [at for at, row in enumerate(self._rows) if not row.ended]
        if len(self._rows) - len(alive) < max(1, len(self._rows) // _SPARSE):
            return
        self._rows = [self._rows[at] for at in alive]
        if alive:
            self._keep(alive)

    def _keep(self, rows: list[int]) -> None:
        """Only these rows, without columns that are padding in all of them."""
        index = self._torch.tensor(rows, device=self._model.device)
        self._padding = [self._padding[row] for row in rows]
        first = min(self._padding) if self._cache.plain else 0
        self._cache.keep(index, first)
        self._padding = [padding - first for padding in self._padding]
        self._width -= first
        self._pads = self._pads[index] - first
        self._mask, self._history = self._mask[index, first:], self._history[index, first:]

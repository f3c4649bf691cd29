"""One sample's way from the prompt to its end, in one piece or several: the same for every engine.

Budget forcing (Muennighoff et al. 2025, arXiv 2501.19393).  An output is drawn up to the next place where something
may have to be done: the thinking budget, or the next look for loops.  Ids that were drawn are never written anew;
what is put in between is encoded for itself.

Only thinking that was opened is held to a budget, by the output or by the prompt.  A model that answers at once is
left alone, and its output is what it would be without a budget.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from long1k.chat import Chat
from long1k.errors import RecipeError
from long1k.generation.base import Budget, Job, Output, Sampling
from long1k.generation.tags import ends_in_loop, find_tag


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished output.

    ``budget_flag`` is natural (the model ended by itself), forced (it did after we closed the thinking, or made it go
    on), loop (its thinking was closed, or its tokens ran out, in an endless repetition) or exhausted (its tokens ran
    out otherwise).  ``forced`` holds pairs (start, end) of places in ``token_ids`` that were put there by us.
    """

    key: str
    token_ids: list[int]
    finish_reason: str
    budget_flag: str | None
    forced: list[tuple[int, int]]
    text: str | None = None
    error: str | None = None


@dataclass(slots=True)
class _State:
    """An output under way.

    ``opened`` is the place behind the opening tag, ``begins`` whether it may still come, ``closing`` the closing tag
    (first token, token behind), ``seen`` how many tokens were looked at, ``end`` where an answer must end.
    """

    prompt_ids: list[int]
    seed: int
    end: int
    opened: int | None
    begins: bool
    ids: list[int] = field(default_factory=list)
    forced: list[tuple[int, int]] = field(default_factory=list)
    closing: tuple[int, int] | None = None
    pieces: int = 0
    seen: int = 0
    waits: int = 0
    closed_by_us: bool = False
    looped: bool = False

    @property
    def thinks(self) -> bool:
        return self.opened is not None and self.closing is None


class Course:
    """Answers an engine's outputs with what is drawn next, until a sample is finished.

    Args:
        end_ids: what ends an output, beside the template's end token.

    Raises:
        RecipeError: the budget has no room for what is put in.
    """

    def __init__(self, chat: Chat, sampling: Sampling, end_ids: Collection[int] = ()) -> None:
        self.chat, self.sampling, self.budget = chat, sampling, sampling.budget
        self._end_ids = frozenset((*end_ids, chat.end_id))
        encode = chat.tokenizer.encode
        self._close_ids = encode(chat.style.close + self.budget.answer_prefix)
        self._wait_ids = encode(self.budget.wait_text)
        self._plain = self.budget == Budget()
        self._states: dict[str, _State] = {}
        self._check_room()

    def _check_room(self) -> None:
        budget, most = self.budget, self.sampling.max_new_tokens
        put_in = {"the closing tag with answer_prefix": self._close_ids if budget.closes else []}
        put_in["wait_text"] = self._wait_ids if budget.min_thinking_tokens else []
        for what, token_ids in put_in.items():
            if self.chat.tokenizer.unk_id is not None and self.chat.tokenizer.unk_id in token_ids:
                raise RecipeError(
                    f"budget: the tokenizer in {self.chat.tokenizer.folder} has no tokens for {what}",
                    "set a text that this tokenizer can write",
                )
        if budget.max_thinking_tokens is not None:
            needed = budget.max_thinking_tokens + len(self._close_ids) + (budget.max_answer_tokens or 1)
            if needed > most:
                raise RecipeError(
                    f"budget: max_thinking_tokens ({budget.max_thinking_tokens:,}), the {len(self._close_ids)} tokens "
                    f"that close the thinking, and {budget.max_answer_tokens or 1:,} of answer are {needed:,}, more "
                    f"than max_new_tokens ({most:,})",
                    f"set sampling.max_new_tokens to at least {needed:,}",
                )
        if budget.min_thinking_tokens:
            needed = budget.min_thinking_tokens + len(self._wait_ids)
            allowed = most - 1 if budget.max_thinking_tokens is None else budget.max_thinking_tokens
            if needed > allowed:
                raise RecipeError(
                    f"budget: min_thinking_tokens and the {len(self._wait_ids)} tokens of wait_text are {needed:,}, "
                    f"but only {allowed:,} may be thought",
                    "lower budget.min_thinking_tokens, or give more room",
                )

    def first(self, key: str, prompt_ids: list[int], seed: int) -> Job:
        """The job a sample begins with."""
        opened = 0 if not self._plain and self.chat.opens_thinking(prompt_ids) else None
        state = _State(prompt_ids, seed, self.sampling.max_new_tokens, opened, opened is None)
        self._states[key] = state
        return self._job(key, state)

    def after(self, output: Output) -> Job | Sample:
        """What follows an output: the sample, or the job that goes on with it."""
        state = self._states[output.key]
        state.ids = [*state.ids, *output.token_ids]
        state.pieces += 1
        if output.error is not None:
            del self._states[output.key]
            return Sample(output.key, state.ids, output.finish_reason, None, state.forced, output.text, output.error)
        if not self._plain and self._goes_on(state, output):
            return self._job(output.key, state)
        del self._states[output.key]
        return self._sample(state, output)

    def _goes_on(self, state: _State, output: Output) -> bool:
        """Whether more is to be drawn; what has to be put in or cut off is so in ``state`` then."""
        self._look(state)
        stopped = output.finish_reason == "stop"
        if self._too_short(state, stopped):
            return True
        if stopped or not output.token_ids or len(state.ids) >= state.end:
            return False
        if not state.thinks:
            return True
        started = state.opened or 0
        state.looped = self.budget.close_loops and ends_in_loop(state.ids[started:])
        most = self.budget.max_thinking_tokens
        if not state.looped and (most is None or len(state.ids) < most):
            return True
        return self._close(state)

    def _look(self, state: _State) -> None:
        """Find the tags in what is new."""
        style, tokenizer = self.chat.style, self.chat.tokenizer
        if state.begins:  # thinking is opened in the first piece or not at all, but that may hold half a tag only
            found = find_tag(tokenizer, state.ids, style.opening)
            state.opened = None if found is None else found[1]
            state.begins = found is None and style.opening.startswith(tokenizer.decode(state.ids).strip())
        if state.thinks:
            start = max(state.opened or 0, state.seen - len(style.closing.encode()))
            state.closing = find_tag(tokenizer, state.ids, style.closing, start)
        state.seen = len(state.ids)

    def _too_short(self, state: _State, stopped: bool) -> bool:
        """Make thinking that ended too early go on: what follows it is cut off, and "Wait" put there."""
        if state.opened is None or state.closed_by_us or state.waits >= self.budget.waits:
            return False
        if state.closing is not None:
            cut = state.closing[0]
        elif stopped:
            cut = len(state.ids) - (bool(state.ids) and state.ids[-1] in self._end_ids)
        else:
            return False
        if cut >= self.budget.min_thinking_tokens:
            return False
        state.ids = state.ids[:cut]
        self._put(state, self._wait_ids)
        state.closing, state.seen = None, len(state.ids)
        state.waits += 1
        return True

    def _close(self, state: _State) -> bool:
        """Close the thinking, if a token of answer has room behind."""
        if len(state.ids) + len(self._close_ids) >= state.end:
            return False
        self._put(state, self._close_ids)
        state.closing, state.closed_by_us = state.forced[-1], True
        if self.budget.max_answer_tokens is not None:
            state.end = min(state.end, len(state.ids) + self.budget.max_answer_tokens)
        return True

    @staticmethod
    def _put(state: _State, token_ids: list[int]) -> None:
        state.forced.append((len(state.ids), len(state.ids) + len(token_ids)))
        state.ids = [*state.ids, *token_ids]

    def _job(self, key: str, state: _State) -> Job:
        end, drawn = state.end, len(state.ids)
        if self._plain:
            pass
        elif state.pieces == 0 or state.thinks:
            if self.budget.max_thinking_tokens is not None:
                end = min(end, self.budget.max_thinking_tokens)
            if self.budget.close_loops:
                end = min(end, (drawn // self.budget.check_tokens + 1) * self.budget.check_tokens)
        elif state.begins:
            end = drawn + 1
        return Job(key, [*state.prompt_ids, *state.ids], state.seed, end - drawn, drawn)

    def _sample(self, state: _State, output: Output) -> Sample:
        if output.finish_reason == "stop":
            flag = "loop" if state.looped else "forced" if state.forced else "natural"
        else:
            flag = "loop" if state.looped or ends_in_loop(state.ids) else "exhausted"
        text = output.text if state.pieces == 1 else None  # of several pieces, what all ids decode to
        return Sample(output.key, state.ids, output.finish_reason, flag, state.forced, text)

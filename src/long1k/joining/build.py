"""Makes samples of chosen traces in the wanted mode, counts them whole, and finds linking words to an exact length."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from statistics import median_low

from long1k.chat import Chat
from long1k.joining.arrange import Arrangement, arrange, options_of
from long1k.joining.exact import choose_sum, middle
from long1k.joining.lengths import Part
from long1k.joining.linkers import bank_named, choose
from long1k.joining.render import Joined, join, join_tries
from long1k.joining.spec import JoinSpec
from long1k.rows import Example, Trace, content_id

_ADJUSTMENTS = 6
_LONGEST_WALK = 64  # characters on either side of a cut in which the exact length is sought

MEASURED = 9  # traces that the tokens beyond the parts are measured on

Made = tuple[Example, int]


def measured_places(count: int) -> list[int]:
    """Which of so many traces, in order of length, are measured: some from the shortest to the median.

    The very shortest alone are often of another kind, and the longest cost more to read than they tell.
    """
    last = max(0, (count - 1) // 2) if count > MEASURED else max(0, count - 1)
    return sorted({round(at * last / (MEASURED - 1)) for at in range(MEASURED)}) if count else []


class Builder:
    """The maker of one group's samples (see ``fitter.Maker``).

    Args:
        traces: the trace of each part's index.
    """

    def __init__(self, arm: str, spec: JoinSpec, chat: Chat, traces: Mapping[int, Trace]) -> None:
        self.arm, self.spec, self.chat, self.traces = arm, spec, chat, traces
        self.target: int | None = spec.target  # what samples say of the length that was aimed at
        self._step: Callable[[int], int] = lambda num_parts: 0
        self._middles: dict[int, tuple[int, int]] = {}
        separator = bank_named(spec.bank).separator

        def tokens(text: str) -> int:
            return chat.tokenizer.count([text + separator])[0] if text else 0

        self._tokens = lru_cache(maxsize=4096)(tokens)

    # --- the four things that a fitter asks for

    def build(self, parts: Sequence[Part], rng: random.Random) -> Made | None:
        """(sample, tokens) of the parts, linking words drawn by chance; None if they cannot be joined."""
        plan = arrange(self.spec, [self.traces[part.index] for part in parts], rng)
        return None if plan is None else self._render(plan, choose(plan.options, rng))

    def adjust(self, parts: Sequence[Part], rng: random.Random, tokens: int) -> Made | None:
        """The sample that ``build`` makes of the same arguments, with linking words that bring it to ``tokens``."""
        plan = arrange(self.spec, [self.traces[part.index] for part in parts], rng)
        if plan is None:
            return None
        lengths = [[self._tokens(text) for text in place] for place in plan.options]
        linkers = choose(plan.options, rng)
        made = self._render(plan, linkers)
        if made is None:
            return None
        wanted = sum(self._tokens(text) for text in linkers) + tokens - made[1]
        for _ in range(_ADJUSTMENTS):
            chosen = choose_sum(lengths, wanted, rng)
            if chosen is None:
                return None
            made = self._render(plan, tuple(texts[at] for texts, at in zip(plan.options, chosen, strict=True)))
            if made is None or made[1] == tokens:
                return made
            wanted += tokens - made[1]  # a seam counted differently: aim off by as much
        return None

    def overhead(self, num_parts: int) -> int:
        """Tokens that a sample of so many parts has beyond its parts, as measured by ``measure``."""
        return self._step(num_parts)

    def reach(self, num_parts: int) -> int:
        """How many tokens longer or shorter the choice of linking words can make a sample."""
        return self._middle(num_parts)[1] if num_parts > 1 else 0

    # --- estimates

    def _middle(self, num_parts: int) -> tuple[int, int]:
        """(middle, reach) of the tokens that the linking words of so many parts can have."""
        if num_parts not in self._middles:
            options = options_of(self.spec, range(num_parts))
            self._middles[num_parts] = middle([[self._tokens(text) for text in place] for place in options])
        return self._middles[num_parts]

    def extra(self, parts: Sequence[Part]) -> int | None:
        """Tokens of a real sample beyond its parts; None if they cannot be joined.

        Where the exact length is demanded, with linking words in the middle of what they can reach.
        """
        rng = random.Random(0)
        members = [self.traces[part.index] for part in parts]
        plan = arrange(self.spec, members, rng)
        if plan is None and self.spec.mode == "dependent" and self.spec.linkers == "micro":
            # Few pairs of symbols fit together; to estimate a length any two will do.
            order = tuple(range(len(members)))
            plan = Arrangement(tuple(members), options_of(self.spec, order), order)
        linkers = choose(plan.options, rng) if plan is not None else ()
        made = self._render(plan, linkers) if plan is not None else None
        if made is None:
            return None
        tokens = made[1] - sum(part.length for part in parts)
        if self.spec.tolerance == 0 and self.spec.window is None and self.reach(len(parts)):
            tokens += self._middle(len(parts))[0] - sum(self._tokens(text) for text in linkers)
        return tokens

    def measure(self, parts: Sequence[Part]) -> None:
        """Learn the tokens beyond the parts, from real samples of one, two and a few of some of the traces.

        The step from one trace to two is its own: a single trace has no labels and no linking words.
        What is usual counts: a solution whose answer must be boxed first is a dozen tokens off.
        """
        ordered = sorted(parts, key=lambda part: (part.length, part.index))
        measured = [ordered[at] for at in measured_places(len(ordered))]

        def extra(count: int) -> int | None:
            tries = (self.extra(measured[at : at + count]) for at in range(len(measured) - count + 1))
            found = [one for one in tries if one is not None]
            return median_low(found) if found else None

        least, most = self.spec.parts
        two = extra(2) if most > 1 else None
        one = (extra(1) if least == 1 or two is None else None) or 0
        if two is None:
            self._step = lambda count: one
            return
        few = min(most, len(measured))
        more = extra(few) if few > 2 else None
        step = float(two - one) if more is None else (more - two) / (few - 2)
        base = two
        self._step = lambda count: one if count < 2 else round(base + step * (count - 2))

    def _render(self, plan: Arrangement, linkers: Sequence[str]) -> Made | None:
        """The sample of a plan and its linking words, counted whole."""
        spec, members, style = self.spec, plan.members, self.chat.style
        by_part = [""] * len(members)
        for part, linker in zip(plan.order, linkers, strict=True):
            by_part[part] = linker
        joined: Joined | None
        if spec.mode == "same_problem":
            joined = join_tries(members, by_part, spec.bank, style)
        else:
            layout = "turns" if spec.mode == "masked_pair" else spec.layout
            joined = join(
                members, by_part, spec.bank, style, layout,
                thinkings=plan.thinkings, questions=plan.questions, order=plan.order,
            )  # fmt: skip
        if joined is None:
            return None
        return self._example(members, by_part, joined)

    def _example(self, members: Sequence[Trace], linkers: Sequence[str], joined: Joined) -> Made:
        spec, num = self.spec, len(members)
        mode = "single" if num == 1 and spec.mode in ("independent", "no_linker") else spec.mode
        total, supervised = self.chat.count_documents_of(mode, joined.prompt, joined.completion)
        texts = [text for m in (*joined.prompt, *joined.completion) for text in (m.role, m.content)]
        return Example(
            example_id=content_id("e", self.arm, *texts),
            arm=self.arm,
            prompt=joined.prompt,
            completion=joined.completion,
            answers=joined.answers,
            trace_ids=tuple(trace.trace_id for trace in members),
            problem_ids=tuple(trace.problem_id for trace in members),
            sources=tuple(f"{trace.source}#{trace.source_row}" for trace in members),
            licenses=tuple(trace.license or "unknown" for trace in members),
            linkers=tuple(linkers) if num > 1 else (),
            spans=joined.spans,
            mode=mode,
            target_tokens=self.target,
            num_tokens=total,
            num_supervised_tokens=supervised,
            num_problems=len(joined.answers),
        ), total

    # --- one trace

    def cut(self, trace: Trace, target: int, low: int, high: int) -> Made | None:
        """The trace with its thinking cut at the end so that the whole has the target length.

        Its solution stays whole.  None if the trace is no longer than the target, or nothing of its
        thinking would be left, or no cut reaches the bounds.
        """

        def made(chars: int) -> Made | None:
            plan = Arrangement((trace,), (("",),), (0,), thinkings=(trace.thinking[:chars],))
            return self._render(plan, ("",))

        def tokens(chars: int) -> int:
            one = made(chars)
            assert one is not None
            return one[1]

        first, last = 1, len(trace.thinking)
        if last < 2 or tokens(last) <= target or tokens(first) > high:
            return None
        while first < last:  # the most characters that stay within the target
            middle_chars = (first + last + 1) // 2
            first, last = (middle_chars, last) if tokens(middle_chars) <= target else (first, middle_chars - 1)
        best: Made | None = None
        # Tokens do not quite grow with every character: the exact count may lie a little to either side.
        for distance in range(_LONGEST_WALK):
            for chars in {first - distance, first + distance}:
                if 1 <= chars < len(trace.thinking):
                    one = made(chars)
                    if one is None or not low <= one[1] <= high:
                        continue
                    if one[1] == target:
                        return one
                    if best is None or abs(one[1] - target) < abs(best[1] - target):
                        best = one
            if best is not None and low < high and distance >= 8:
                break
        return best

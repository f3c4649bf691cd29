"""How joined traces are laid out as one conversation, and where each piece stands in it.

blocks: one user turn with the problems labelled, one thinking block in which linking words
        join the traces, one solution block with every answer labelled (the paper's idea).
turns:  each problem is a user turn of its own and each trace the assistant turn after it;
        linking words open the thinking of every turn but the first.
A sample of a single trace looks the same in both: no label, no linking word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from long1k.grading.extract import extract_answer, extract_parts
from long1k.joining.linkers import bank_named
from long1k.labels import APART, part_label
from long1k.rows import Message, Span, Trace
from long1k.thinking import ThinkingStyle

Pieces = tuple[tuple[str, str], ...]  # a question taken apart: (kind of span, text), in order


@dataclass(frozen=True, slots=True)
class Joined:
    """A joined sample before it is counted."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    spans: tuple[Span, ...]
    answers: tuple[str, ...]


class _Text:
    """A message under construction that remembers its spans."""

    def __init__(self, message: int) -> None:
        self.message, self.pieces, self.length = message, list[str](), 0
        self.spans: list[Span] = []

    def add(self, text: str, kind: str | None = None, part: int = 0) -> None:
        if kind is not None and text:
            self.spans.append(Span(kind, part, self.message, self.length, self.length + len(text)))
        self.pieces.append(text)
        self.length += len(text)

    def __str__(self) -> str:
        return "".join(self.pieces)


def solution_text(trace: Trace) -> str:
    """The trace's solution; its answer is boxed at the end if it was not boxed already."""
    found = extract_answer(trace.solution)
    if found is not None and "boxed" in trace.solution:
        return trace.solution
    answer = found.value if found is not None else trace.answer  # what the trace says, right or wrong
    return f"{trace.solution}\n\nThe answer is $\\boxed{{{answer}}}$."


def stated_answer(trace: Trace) -> str:
    """The answer that the trace itself arrives at, as its solution will state it."""
    found = extract_answer(solution_text(trace))
    return found.value if found else trace.answer


def join(
    traces: Sequence[Trace],
    linkers: Sequence[str],
    bank: str,
    style: ThinkingStyle,
    layout: str = "blocks",
    *,
    thinkings: Sequence[str] | None = None,
    questions: Sequence[Pieces] | None = None,
    order: Sequence[int] | None = None,
) -> Joined | None:
    """One sample of the traces, in their order; None if labels could not be told from their text.

    Args:
        linkers: one phrase a trace (unused for a single trace): what introduces its thinking.
        bank: the bank they came from; it knows the separator.
        layout: ``blocks`` or ``turns``.
        thinkings: what stands in place of the traces' thinkings.
        questions: what stands in place of their questions.
        order: in which order the thinkings stand (blocks only); problems and solutions keep theirs.
    """
    separator = bank_named(bank).separator
    texts = [trace.thinking for trace in traces] if thinkings is None else list(thinkings)
    if len(traces) == 1 or layout == "turns":
        return _turns(traces, texts, linkers, separator, style)
    user, assistant = _Text(0), _Text(1)
    for part, trace in enumerate(traces):
        user.add(APART if part else "")
        user.add(part_label(part), "label", part)
        for kind, text in questions[part] if questions is not None else (("question", trace.question),):
            user.add(text, kind, part)
    assistant.add(style.open)
    for at, part in enumerate(order if order is not None else range(len(traces))):
        assistant.add("\n\n" if at else "")
        assistant.add(linkers[part], "linker", part)
        assistant.add(separator if linkers[part] else "")
        assistant.add(texts[part], "thinking", part)
    assistant.add(style.close)
    solutions_at = assistant.length
    answers = []
    for part, trace in enumerate(traces):
        assistant.add(APART if part else "")
        assistant.add(part_label(part), "label", part)
        assistant.add(solution_text(trace), "solution", part)
        answers.append(stated_answer(trace))
    read = extract_parts(str(assistant)[solutions_at:], len(traces))
    if [None if r is None else r.value for r in read] != answers:
        return None
    assistant.add(style.end)
    return Joined(
        (Message("user", str(user)),), (Message("assistant", str(assistant)),),
        (*user.spans, *assistant.spans), tuple(answers),
    )  # fmt: skip


def join_tries(traces: Sequence[Trace], linkers: Sequence[str], bank: str, style: ThinkingStyle) -> Joined:
    """Several traces of one problem as one: the question once, one try after another, the last one's solution."""
    separator = bank_named(bank).separator
    user, assistant = _Text(0), _Text(1)
    user.add(traces[0].question, "question", 0)
    assistant.add(style.open)
    for part, (trace, linker) in enumerate(zip(traces, linkers, strict=True)):
        assistant.add("\n\n" if part else "")
        assistant.add(linker, "linker", part)
        assistant.add(separator if linker else "")
        assistant.add(trace.thinking, "thinking", part)
    assistant.add(style.close)
    assistant.add(solution_text(traces[-1]), "solution", len(traces) - 1)
    assistant.add(style.end)
    return Joined(
        (Message("user", str(user)),), (Message("assistant", str(assistant)),),
        (*user.spans, *assistant.spans), (stated_answer(traces[-1]),),
    )  # fmt: skip


def _turns(
    traces: Sequence[Trace], thinkings: Sequence[str], linkers: Sequence[str], separator: str, style: ThinkingStyle
) -> Joined:
    messages: list[Message] = []
    spans: list[Span] = []
    for part, (trace, thinking) in enumerate(zip(traces, thinkings, strict=True)):
        user, assistant = _Text(len(messages)), _Text(len(messages) + 1)
        user.add(trace.question, "question", part)
        assistant.add(style.open)
        if part and linkers[part]:
            assistant.add(linkers[part], "linker", part)
            assistant.add(separator)
        assistant.add(thinking, "thinking", part)
        assistant.add(style.close)
        assistant.add(solution_text(trace), "solution", part)
        assistant.add(style.end)
        messages += [Message("user", str(user)), Message("assistant", str(assistant))]
        spans += user.spans + assistant.spans
    answers = tuple(stated_answer(trace) for trace in traces)
    return Joined(tuple(messages[:1]), tuple(messages[1:]), tuple(spans), answers)

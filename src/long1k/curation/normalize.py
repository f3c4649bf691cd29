"""One convention for thinking and solution, whatever tags the source used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from long1k.grading.extract import extract_answer

# (opening, closing) of a thought, then optional tags around the solution.
_THOUGHT_TAGS = (
    ("<think>", "</think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|im_start|>think", "<|im_start|>answer"),  # how the s1 models write: roles of a chat
)
_SOLUTION_TAGS = ("<|begin_of_solution|>", "<|end_of_solution|>")
_ALL_TAGS = tuple(tag for pair in _THOUGHT_TAGS for tag in pair) + _SOLUTION_TAGS
# What a chat template or an engine leaves around an output; within it they stay, and are a fault.
_CHAT_OPENINGS = ("<|im_start|>assistant\n", "<|im_start|>assistant")
_CHAT_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<｜end▁of▁sentence｜>")
_FINAL = re.compile(r"\n[ \t]*(?:#+[ \t]*)?\**Final Answer:?\**:?[ \t]*:?[ \t]*\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parts:
    """Thinking and solution, and how they were told apart: tags, final_answer or given."""

    thinking: str
    solution: str
    split: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text cannot be a trace."""

    reason: str
    evidence: str


def strip_chat_tags(text: str) -> str:
    """A model's output without the role that opens it and the end tokens that close it, both of a chat template."""
    text = text.strip()
    opening = next((tag for tag in _CHAT_OPENINGS if text.startswith(tag)), "")
    text = text.removeprefix(opening)
    while ending := next((tag for tag in _CHAT_ENDS if text.endswith(tag)), ""):
        text = text.removesuffix(ending).rstrip()
    return text


def split_response(text: str, tags: str = "auto") -> Parts | Fault:
    """Thinking and solution of a whole response.

    Args:
        text: the teacher's output; its thinking may have been opened by the prompt.
        tags: ``required`` rejects a text whose thinking no tag closes; ``auto`` splits it at
            its final answer (the closing statement, else the paragraph of the last box).

    What ``strip_chat_tags`` takes off is taken off first.  Special tokens that are thinking tags are
    gone afterwards: lint the parts, not the response.
    """
    text = strip_chat_tags(text)
    present = [(o, c) for o, c in _THOUGHT_TAGS if o in text or c in text]
    if len(present) > 1:
        return Fault("orphan_tag", "two kinds of thinking tags in one response")
    if not present:
        stray = [tag for tag in _SOLUTION_TAGS if tag in text]
        if stray:
            return Fault("orphan_tag", f"{stray[0]} without a thought")
        if tags == "required":
            return Fault("unclosed_thinking", f"no closing tag in {len(text):,} characters; ends {text[-60:]!r}")
        return _split_at_answer(text)
    opening, closing = present[0]
    if text.count(opening) > 1 or text.count(closing) > 1:
        return Fault("orphan_tag", f"{text.count(opening)} × {opening}, {text.count(closing)} × {closing}")
    if closing not in text:
        return Fault("unclosed_thinking", f"{opening} is never closed; ends {text[-60:]!r}")
    before, _, after = text.partition(closing)
    if opening in after:
        return Fault("orphan_tag", f"{closing} stands before {opening}")
    if opening in before:
        lead, _, before = before.partition(opening)
        if lead.strip():
            return Fault("orphan_tag", f"text before {opening}: {lead.strip()[:60]!r}")
    for tag in _SOLUTION_TAGS:
        if tag in before or after.count(tag) > 1:
            return Fault("orphan_tag", f"{tag} is misplaced or doubled")
    if (_SOLUTION_TAGS[0] in after) != (_SOLUTION_TAGS[1] in after):
        return Fault("orphan_tag", "the solution tags are not a pair")
    for tag in _SOLUTION_TAGS:
        after = after.replace(tag, "")
    return check_parts(Parts(before.strip(), after.strip(), "tags"))


def _split_at_answer(text: str) -> Parts | Fault:
    """A text without tags: the final answer is the solution, all before it the thinking."""
    marks = list(_FINAL.finditer(text))
    if marks and extract_answer(text[marks[-1].start() :]) is not None:
        at = marks[-1].start()
    else:
        found = extract_answer(text)
        if found is None:
            return Fault("no_final_answer", f"no box and no closing statement; ends {text[-60:]!r}")
        # The paragraph that states the answer; of a single paragraph its line, or its last sentence.
        at = next((i for mark in ("\n\n", "\n", ". ") if (i := text.rfind(mark, 0, found.start) + 1) > 0), 0)
        lead = text.rfind("\n", 0, at - 1) + 1
        if text[lead:at].rstrip().endswith(":") and lead > 0:  # "The final answer is:" belongs to what it announces
            at = lead
    return check_parts(Parts(text[:at].strip(), text[at:].strip(), "final_answer"))


def check_parts(parts: Parts) -> Parts | Fault:
    """Both parts must be there and hold no thinking tags of their own."""
    if not parts.thinking:
        return Fault("empty_thinking", f"solution begins {parts.solution[:60]!r}")
    if not parts.solution:
        return Fault("empty_solution", f"thinking ends {parts.thinking[-60:]!r}")
    for tag in _ALL_TAGS:
        if tag in parts.thinking or tag in parts.solution:
            return Fault("orphan_tag", f"{tag} inside the text")
    return parts

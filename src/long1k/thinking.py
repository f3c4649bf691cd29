"""How a text holds its thinking: the styles of tags, and a model's output taken apart at them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThinkingStyle:
    """How an assistant turn holds its thinking and its solution, as plain text."""

    name: str
    open: str
    close: str
    end: str

    @property
    def opening(self) -> str:
        """The tag before the thinking, without white space."""
        return self.open.strip()

    @property
    def closing(self) -> str:
        """The tag after the thinking; what opens the solution is none of it."""
        return self.close.split("\n\n<|begin")[0].strip()


STYLES = {
    style.name: style
    for style in (
        ThinkingStyle("think", "<think>\n", "\n</think>\n\n", ""),
        # The tags of OpenThoughts-114k, which the paper keeps.
        ThinkingStyle(
            "openthoughts",
            "<|begin_of_thought|>\n\n",
            "\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n",
            "\n\n<|end_of_solution|>",
        ),
        # Muennighoff et al. 2025, arXiv 2501.19393.
        ThinkingStyle("s1", "<|im_start|>think\n", "\n<|im_start|>answer\n", ""),
    )
}


@dataclass(frozen=True, slots=True)
class SplitAnswer:
    """A model's output, taken apart.

    ``thinking`` is None if there was none; ``answer`` is None if the thinking was never
    closed, so that nothing in it can be graded as an answer.
    """

    thinking: str | None
    answer: str | None


def split_thinking(text: str, style: ThinkingStyle | None = None, opened: bool = False) -> SplitAnswer:
    """A text without control tokens taken apart at its thinking tags; tolerant about white space around them.

    Args:
        style: which tags; None takes those that stand in the text (OpenThoughts' if any of them does).
        opened: the prompt opened the thinking already, so that a text without any tag is unclosed thinking.
    """
    if style is None:
        tagged = any(tag in text for tag in ("<|begin_of_thought|>", "<|end_of_thought|>"))
        style = STYLES["openthoughts" if tagged else "think"]
    opening, closing = style.opening, style.closing
    close_at = text.rfind(closing)
    if close_at >= 0 and opening in text[close_at:]:  # opened again, and never closed
        return SplitAnswer(text, None)
    open_at = text.find(opening)
    if close_at < 0:
        if open_at < 0:
            return SplitAnswer(text.strip("\n"), None) if opened else SplitAnswer(None, text)
        return SplitAnswer(text[open_at + len(opening) :].strip("\n"), None)
    thinking = text[:close_at]
    if 0 <= open_at < close_at:
        thinking = text[open_at + len(opening) : close_at]
    answer = text[close_at + len(closing) :].lstrip("\n")
    for tag in ("<|begin_of_solution|>", "<|end_of_solution|>"):
        answer = answer.replace(tag, "") if style.name == "openthoughts" else answer
    return SplitAnswer(thinking.strip("\n"), answer.strip("\n"))

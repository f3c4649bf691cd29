"""The only renderer: chat template, thinking tags, loss mask.

Training and prediction both call this module, so the tokens before a trained completion
are, token by token, the prompt that prediction sends.  That holds by construction: a
conversation is cut into segments at every point where a model would start or stop to
generate, and each segment is tokenized on its own, exactly as generation does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from long1k.errors import DataError, RecipeError
from long1k.rows import Example, Message
from long1k.templates import NAMES, check_end, read_template
from long1k.thinking import STYLES, SplitAnswer, split_thinking
from long1k.tokens import Tokenizer


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a whole sample and, for each, whether it carries loss (shapes: T, T)."""

    ids: list[int]
    trained: list[bool]


Document = tuple[tuple[Message, ...], tuple[Message, ...]]  # (prompt, completion) of one conversation
MASKED_PAIR = "masked_pair"


def documents_of(mode: str, prompt: Sequence[Message], completion: Sequence[Message]) -> list[Document]:
    """The conversations that a sample consists of, as (prompt, completion) pairs.

    A masked pair lies in one row but is two conversations, each rendered for itself, of which neither
    sees the other; every other sample is one.  A system message at the beginning holds for both.
    """
    turns = [*prompt, *completion]
    starts = [at for at, turn in enumerate(turns) if turn.role == "user"]
    if mode != MASKED_PAIR or not starts:
        return [(tuple(prompt), tuple(completion))]
    head = turns[: starts[0]]
    return [
        ((*head, turns[start]), tuple(turns[start + 1 : end]))
        for start, end in zip(starts, [*starts[1:], len(turns)], strict=True)
    ]


def documents(example: Example) -> list[Document]:
    """The conversations of a sample (see ``documents_of``)."""
    return documents_of(example.mode, example.prompt, example.completion)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    # The same settings and helpers that transformers gives a chat template.
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    env.globals["raise_exception"] = _raise
    env.globals["strftime_now"] = lambda fmt: datetime.now().strftime(fmt)
    return env


class Chat:
    """A tokenizer's chat template with a thinking style.

    Args:
        tokenizer: its folder must hold a chat template.
        thinking: a key of STYLES.
        system: system message put before every conversation; None leaves it to the template.
        template: in place of the tokenizer's own: a name of ``TEMPLATES``, a file, or the text itself.

    Raises:
        DataError: no template, one without an end token, or one that rewrites earlier turns.
        RecipeError: unknown thinking style.
    """

    def __init__(
        self, tokenizer: Tokenizer, thinking: str = "think", system: str | None = None, template: str | None = None
    ) -> None:
        if template is not None:
            check_end(template, tokenizer.special_tokens, tokenizer.named_token("eos_token"), tokenizer.folder)
            tokenizer = tokenizer.with_template(read_template(template))
        if tokenizer.template is None:
            raise DataError(
                f"the tokenizer in {tokenizer.folder} has no chat template",
                "base models have none: add chat_template.jinja, or give --template (chat.template): "
                f"a file, or {NAMES}",
            )
        if thinking not in STYLES:
            raise RecipeError(f"unknown thinking style '{thinking}'", f"known: {', '.join(STYLES)}")
        self.tokenizer, self.style, self.system = tokenizer, STYLES[thinking], system
        try:
            self._template = _environment().from_string(tokenizer.template)
        except jinja2.TemplateSyntaxError as error:
            raise DataError(
                f"the chat template of {tokenizer.folder} is broken: {error}", "mend the template"
            ) from None
        self._specials: dict[str, Any] = {
            name: tokenizer.named_token(name) or "" for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        }
        self.end_token = self._find_end_token()
        end_id = tokenizer.token_id(self.end_token)
        assert end_id is not None
        self.end_id: int = end_id

    def describe(self) -> dict[str, Any]:
        """What decides how this renderer writes tokens; part of every manifest.

        A template that is not the tokenizer's own stands there whole, so that later stages need not be told.
        """
        given = {"template_text": self.tokenizer.template} if self.tokenizer.template_given else {}
        return given | {
            "tokenizer": self.tokenizer.digest,
            "template": self.tokenizer.template_digest,
            "thinking": self.style.name,
            "system": self.system,
        }

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        listed = [{"role": m.role, "content": m.content} for m in messages]
        if self.system is not None and not (listed and listed[0]["role"] == "system"):
            listed.insert(0, {"role": "system", "content": self.system})
        try:
            return self._template.render(
                messages=listed, add_generation_prompt=generation_prompt, tools=None, **self._specials
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise DataError(
                f"the chat template of {self.tokenizer.folder} failed: {error}", "mend the template"
            ) from None

    def _find_end_token(self) -> str:
        """The special token that the template writes right after an assistant turn."""
        probe = "long1k-probe-answer"
        turns = (Message("user", "q"), Message("assistant", probe))
        text = self._render(turns, False)
        after = text[text.rfind(probe) + len(probe) :]
        for token in sorted(self.tokenizer.special_tokens, key=len, reverse=True):
            if token and after.startswith(token):
                return token
        raise DataError(
            f"the chat template of {self.tokenizer.folder} writes no special token after an assistant turn, "
            "so a model trained with it would never learn to stop",
            "use a template whose assistant turn ends with a special token such as <|im_end|>",
        )

    def segments(self, messages: Sequence[Message], generation_prompt: bool = False) -> list[tuple[str, bool]]:
        """A conversation as (text, trained) pieces; trained pieces end with the end token."""
        pieces: list[tuple[str, bool]] = []
        done = ""
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._render(messages[:index], True)
            whole = self._render(messages[: index + 1], False)
            end = whole.rfind(self.end_token)
            if not (before.startswith(done) and whole.startswith(before) and end >= len(before)):
                raise DataError(
                    f"the chat template of {self.tokenizer.folder} does not keep turns as they were written, so the "
                    "training prefix would differ from the inference prompt",
                    "use one user turn a sample (layout: blocks), or a template that keeps every turn",
                )
            end += len(self.end_token)
            pieces += [(before[len(done) :], False), (whole[len(before) : end], True)]
            done = whole[:end]
        if generation_prompt or not pieces:
            text = self._render(messages, generation_prompt)
            if not text.startswith(done):
                raise DataError("the chat template rewrites earlier turns", "use layout: blocks")
            pieces.append((text[len(done) :], False))
        return pieces

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids that generation starts from (earlier assistant turns may stand in it)."""
        return [i for text, _ in self.segments(messages, True) for i in self.tokenizer.encode(text)]

    def encode_example(self, prompt: Sequence[Message], completion: Sequence[Message]) -> Encoded:
        """A training sample: ids and loss mask.  Only assistant turns of the completion are trained."""
        first_trained = sum(1 for m in prompt if m.role == "assistant")
        ids: list[int] = []
        trained: list[bool] = []
        turn = 0
        for text, is_assistant in self.segments([*prompt, *completion]):
            piece = self.tokenizer.encode(text)
            supervised = is_assistant and turn >= first_trained
            turn += is_assistant
            ids += piece
            trained += [supervised] * len(piece)
        return Encoded(ids, trained)

    def encode_documents(self, example: Example) -> list[Encoded]:
        """Ids and loss mask of each conversation of a sample: one, or the two of a masked pair."""
        return self.encode_documents_of(example.mode, example.prompt, example.completion)

    def encode_documents_of(self, mode: str, prompt: Sequence[Message], completion: Sequence[Message]) -> list[Encoded]:
        """As ``encode_documents``, of messages that are no sample yet."""
        return [self.encode_example(*document) for document in documents_of(mode, prompt, completion)]

    def count_documents_of(
        self, mode: str, prompt: Sequence[Message], completion: Sequence[Message]
    ) -> tuple[int, int]:
        """(tokens, tokens that carry loss) of all conversations of a sample together."""
        counts = [self.count_example(*document) for document in documents_of(mode, prompt, completion)]
        return sum(total for total, _ in counts), sum(supervised for _, supervised in counts)

    def count_example(self, prompt: Sequence[Message], completion: Sequence[Message]) -> tuple[int, int]:
        """(tokens of the whole sample, tokens that carry loss); the same as encode_example's."""
        pieces = self.segments([*prompt, *completion])
        counts = self.tokenizer.count([text for text, _ in pieces])
        first_trained = sum(1 for m in prompt if m.role == "assistant")
        supervised, turn = 0, 0
        for (_, is_assistant), count in zip(pieces, counts, strict=True):
            if is_assistant:
                supervised += count if turn >= first_trained else 0
                turn += 1
        return sum(counts), supervised

    def write_answer(self, thinking: str, solution: str) -> str:
        """An assistant turn's content from its thinking and its solution."""
        return f"{self.style.open}{thinking}{self.style.close}{solution}{self.style.end}"

    def opens_thinking(self, prompt_ids: Sequence[int]) -> bool:
        """Whether a prompt ends with the opening tag, so that the model begins to think at once."""
        tail = self.tokenizer.decode(prompt_ids[-4 * len(self.style.opening) :])
        return tail.rstrip().endswith(self.style.opening)

    def split_answer(self, text: str, opened: bool = False) -> SplitAnswer:
        """A generated text taken apart; tolerant about white space around the tags.

        Unclosed thinking means no answer.  A generation prompt that already opened the
        thinking (``opened``) leaves a text with only the closing tag: it counts as thought from the start.
        """
        body = text
        at_end = body.rfind(self.end_token)
        if at_end >= 0:
            body = body[:at_end]
        return split_thinking(body, self.style, opened)

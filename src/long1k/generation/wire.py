"""What is sent to an OpenAI-compatible server, and how its answers are read: pure functions, no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from long1k.chat import Chat
from long1k.generation.base import Job, Output, Sampling
from long1k.generation.flow import piece_seed
from long1k.rows import Message

Prompts = Literal["ids", "text", "chat"]
Server = Literal["vllm", "sglang", "llama.cpp", "plain"]

OURS = frozenset(
    ("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "n",
     "best_of", "stream", "echo", "suffix")
)  # fmt: skip
_CONTEXT_WORDS = (
    "context length", "context_length", "context size", "context window", "max_model_len", "maximum context",
    "maximum model length", "exceed_context", "too many tokens", "prompt is too long",
)  # fmt: skip


class BadAnswer(Exception):
    """An answer that cannot be taken.

    Args:
        retry: whether asking again may help.
        fatal: the server as a whole is not what was expected; no other request would fare better.
    """

    def __init__(self, reason: str, *, retry: bool = False, fatal: bool = False) -> None:
        super().__init__(reason)
        self.retry, self.fatal = retry, fatal


def guess_server(listed: dict[str, Any]) -> Server:
    """Which server this is, from an entry of its list of models."""
    owner = str(listed.get("owned_by", "")).lower()
    for name, server in (("vllm", "vllm"), ("sglang", "sglang"), ("llamacpp", "llama.cpp"), ("llama.cpp", "llama.cpp")):
        if name in owner:
            return server  # type: ignore[return-value]
    return "plain"


def positions_of(listed: dict[str, Any]) -> int | None:
    """How many tokens a served model takes, prompt and output together, if its entry says so."""
    meta = listed.get("meta")
    places = (listed, meta if isinstance(meta, dict) else {})
    names = ("max_model_len", "n_ctx", "context_length", "context_window", "n_ctx_train")
    for name in names:
        for place in places:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def unknown_to_plain(sampling: Sampling) -> list[str]:
    """Settings of the sampling that only some servers know, and that are set."""
    neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    return [name for name, value in neutral.items() if getattr(sampling, name) != value]


def request_body(
    job: Job, sampling: Sampling, chat: Chat, end_ids: Sequence[int], *, model: str, prompts: Prompts, server: Server,
    max_tokens_name: str, extra: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The body of one request.

    Every setting is sent, also where it changes nothing: servers fill gaps from the model's generation_config.json.

    Raises:
        BadAnswer: the prompt cannot be sent in this form.
    """
    body: dict[str, Any] = {
        "model": model, max_tokens_name: job.max_new_tokens, "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # 31 bits: every server's integer holds that (llama.cpp keeps 32, JSON numbers of some proxies 53).
        "seed": piece_seed(job) % 2**31,
    }  # fmt: skip
    if prompts == "chat":
        body["messages"] = _messages(job, chat)
    else:
        body["prompt"] = job.prompt_ids if prompts == "ids" else _prompt_text(job, chat)
    if server in ("vllm", "sglang"):
        body |= {
            "top_k": sampling.top_k or -1, "min_p": sampling.min_p, "repetition_penalty": sampling.repetition_penalty,
            # The same end tokens as in the engine on transformers.
            "ignore_eos": True, "stop_token_ids": list(end_ids), "skip_special_tokens": False,
        }  # fmt: skip
    if server == "vllm":
        body["return_token_ids"] = True
        if prompts == "text":
            body["add_special_tokens"] = False
    if server == "llama.cpp":
        body |= {"top_k": sampling.top_k, "min_p": sampling.min_p, "repeat_penalty": sampling.repetition_penalty,
                 "return_tokens": True}  # fmt: skip
    return body | extra


def _messages(job: Job, chat: Chat) -> list[dict[str, str]]:
    if job.messages is None:
        raise BadAnswer("prompts: chat needs the messages of every prompt", fatal=True)
    messages: Sequence[Message] = job.messages
    if chat.system is not None and not (messages and messages[0].role == "system"):
        messages = (Message("system", chat.system), *messages)
    return [{"role": message.role, "content": message.content} for message in messages]


def _prompt_text(job: Job, chat: Chat) -> str:
    """The text of a prompt; that of a further piece may be cut into other tokens where the pieces meet."""
    text = chat.tokenizer.decode(job.prompt_ids)
    if job.drawn or chat.tokenizer.encode(text) == job.prompt_ids:
        return text
    if job.messages is not None:
        text = "".join(piece for piece, _ in chat.segments(job.messages, True))
        if chat.tokenizer.encode(text) == job.prompt_ids:
            return text
    raise BadAnswer("this prompt cannot be written as a text that encodes to the same tokens; set prompts: ids")


def sent_ids(job: Job, body: dict[str, Any], chat: Chat) -> list[int]:
    """The tokens that a server should find in a request's prompt."""
    prompt = body.get("prompt")
    return chat.tokenizer.encode(prompt) if isinstance(prompt, str) and job.drawn else job.prompt_ids


def read_json(data: bytes, content_type: str) -> dict[str, Any]:
    """The object in an answer's bytes.

    Raises:
        BadAnswer: it is none (half a JSON, a page of HTML, …), with its first characters; asking again may help.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        start = data[:80].decode("utf-8", "replace").replace("\n", " ")
        raise BadAnswer(
            f"the server's answer is no JSON ({len(data):,} bytes of {content_type or 'unnamed type'}: {start!r})",
            retry=True,
        ) from None
    if not isinstance(values, dict):
        raise BadAnswer(f"the server's answer is no JSON object ({str(values)[:80]!r})", retry=True)
    return values


def error_text(data: bytes) -> str:
    """What an error answer says, in one line of at most 300 characters."""
    try:
        values: Any = json.loads(data)
        for name in ("error", "message", "detail"):
            if isinstance(values, dict) and name in values:
                values = values[name]
        text = values if isinstance(values, str) else json.dumps(values)
    except (ValueError, RecursionError):
        text = data[:2000].decode("utf-8", "replace")
    return " ".join(text.split())[:300]


def says_too_long(text: str) -> bool:
    """Whether an error speaks of a prompt that does not fit the context."""
    return any(words in text.lower() for words in _CONTEXT_WORDS)


def read_answer(
    values: dict[str, Any], job: Job, chat: Chat, prompt_ids: list[int] | None, end_ids: Sequence[int] = ()
) -> Output:
    """The output in an answer.

    Args:
        prompt_ids: what the server should have found in the prompt: their number, and the ids where it sends them
            back, are compared; None: the server's tokenizer is another one, so that its ids are not kept either.
        end_ids: tokens that end an output, beside the template's.

    Raises:
        BadAnswer: an empty, incomplete or contradictory answer.
    """
    choices = values.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadAnswer("the server's answer holds no choice", retry=True)
    choice, usage = choices[0], values.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    if prompt_ids is not None:
        _check_prompt(values, choice, usage, prompt_ids)
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise BadAnswer(
            f"finish_reason is {str(reason)[:40]!r}, so that a finished output cannot be told from one that was cut",
            retry=reason == "abort",
        )
    drawn = _int(usage.get("completion_tokens"))
    if drawn is not None and drawn > job.max_new_tokens:
        raise BadAnswer(f"the server drew {drawn:,} tokens where at most {job.max_new_tokens:,} were asked for")
    text = _text(choice, chat)
    ends = (chat.end_id, *end_ids)
    # vLLM and SGLang say which of the tokens it was; from others one end is like another.
    said = _int(choice.get("stop_reason", choice.get("matched_stop")))
    end_id = said if said in ends else chat.end_id
    written = {one: chat.end_token if one == chat.end_id else chat.tokenizer.decode([one]) for one in ends}
    ids = None if prompt_ids is None else _token_ids(values, choice, chat)
    if ids is not None:
        if len(ids) > job.max_new_tokens:
            raise BadAnswer(f"the server drew {len(ids):,} tokens where at most {job.max_new_tokens:,} were asked for")
        if reason == "stop" and (not ids or ids[-1] not in ends):
            ids.append(end_id)  # some servers keep it to themselves
        return Output(job.key, ids, reason)
    if text is None:
        raise BadAnswer("the answer's text is missing or null", retry=True)
    if reason == "stop" and not text.endswith(tuple(written.values())):
        text += written[end_id]
    encoded = _encode(text, chat)
    if drawn is None and len(encoded) > 2 * job.max_new_tokens + 16:
        raise BadAnswer(
            f"the answer's text has {len(encoded):,} tokens where at most {job.max_new_tokens:,} were asked for"
        )
    # Cut by the server at what was asked for; our encoding of its text may be some tokens longer.
    return Output(job.key, encoded[: job.max_new_tokens] if reason == "length" else encoded, reason, text)


def _check_prompt(values: dict[str, Any], choice: dict[str, Any], usage: dict[str, Any], ours: list[int]) -> None:
    echoed = _ids(choice.get("prompt_token_ids") or values.get("prompt_token_ids"))
    count = len(echoed) if echoed is not None else _int(usage.get("prompt_tokens"))
    if count is not None and count != len(ours):
        raise BadAnswer(
            f"the server counts {count:,} tokens in a prompt that has {len(ours):,} here: its chat template "
            "or its tokenizer is another one",
            fatal=True,
        )
    if echoed is not None and echoed != ours:
        at = next(i for i, (theirs, own) in enumerate(zip(echoed, ours, strict=True)) if theirs != own)
        raise BadAnswer(
            f"token {at:,} of a prompt is {echoed[at]} to the server and {ours[at]} here: its chat template "
            "or its tokenizer is another one",
            fatal=True,
        )


def _text(choice: dict[str, Any], chat: Chat) -> str | None:
    """The text of a choice; thinking that the server took out of the content is put back between the tags."""
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        return text if isinstance(text, str) else None
    content = message.get("content")
    thinking = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thinking, str) and thinking:
        if not isinstance(content, str):
            return chat.style.open + thinking
        return chat.style.open + thinking + chat.style.close + content.lstrip("\n") + chat.style.end
    return content if isinstance(content, str) else None


def _token_ids(values: dict[str, Any], choice: dict[str, Any], chat: Chat) -> list[int] | None:
    """The ids that were drawn, under the names that servers give them; None where they are not told."""
    verbose = values.get("__verbose")
    places = [choice, values, *([verbose] if isinstance(verbose, dict) else [])]
    for place in places:
        for name in ("token_ids", "output_token_ids", "output_ids", "tokens"):
            ids = _ids(place.get(name))
            if ids:
                if max(ids) >= chat.tokenizer.vocab_size + 4096 or min(ids) < 0:  # models pad their vocabulary
                    raise BadAnswer(
                        f"the server drew token {max(ids):,}; the tokenizer here has {chat.tokenizer.vocab_size:,}",
                        fatal=True,
                    )
                return ids
    return None


def _ids(value: Any) -> list[int] | None:
    if isinstance(value, list) and all(type(one) is int for one in value):
        return list(value)
    return None


def _int(value: Any) -> int | None:
    return value if type(value) is int else None


def _encode(text: str, chat: Chat) -> list[int]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadAnswer("the answer's text is no valid Unicode (half a surrogate pair)") from None
    return chat.tokenizer.encode(text)

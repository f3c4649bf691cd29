"""Are prompts whole, do they ask for what is graded, and are they what training showed?"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from long1k.benchmarks.base import Benchmark, Item, account
from long1k.chat import Chat, documents
from long1k.errors import DataError
from long1k.generation.ends import named_end_ids
from long1k.rows import Example
from long1k.stages.doctor.check import Check, plural, short
from long1k.stages.doctor.rows import called
from long1k.tables import iter_table, read_json, read_manifest
from long1k.thinking import STYLES
from long1k.training.positions import positions_in

_COMPARED = 200  # training samples whose prompts are rendered again
_WITHHELD = "[the question is withheld: its authors ask that it is not shown; --show-question prints it]"


def source_check(benchmark: Benchmark, items: Sequence[Item]) -> Check:
    """Where the questions came from and which were left out."""
    told = account(benchmark)
    place = f"{told['hub']} at commit {told['commit'][:12]}" if "hub" in told else ", ".join(told.get("files", ()))
    left_out = told.get("left_out", {})
    why = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
    parts = sum(len(item.answers) for item in items)
    asked = plural(len(items), "prompt") + (f" with {plural(parts, 'problem')}" if parts != len(items) else "")
    return Check(
        "questions", "info",
        f"{asked}" + (f" from {place}" if place else "")
        + (f"; left out of {told['rows']:,} rows: {why}" if why else "") + f"; graded by {benchmark.grader}",
        figures=told,
    )  # fmt: skip


def first_prompt(items: Sequence[Item], chat: Chat | None, *, withheld: bool) -> Check:
    """The first prompt as the model sees it, and its length in tokens."""
    item = max(items, key=lambda one: len(one.part_ids))  # the first of those that ask most together
    if chat is None:
        text, length = "\n".join(f"{m.role}: {m.content}" for m in item.messages), "give --model to count tokens"
    else:
        ids = chat.encode_prompt(item.messages)
        text, length = chat.tokenizer.decode(ids), plural(len(ids), "token")
    if withheld:
        text = text.replace(item.body.strip() if item.body else item.question, _WITHHELD)
    lines = text.splitlines()
    if len(lines) > 40:
        lines = [*lines[:30], f"… {len(lines) - 38:,} lines …", *lines[-8:]]
    return Check(
        "first prompt", "info", f"{called(item)}, {length}", block="\n".join(lines),
    )  # fmt: skip


def prompt_checks(benchmark: Benchmark, items: Sequence[Item], chat: Chat | None) -> list[Check]:
    """Every prompt holds its whole question and says how to answer; none gives its answer away."""
    config = benchmark.config
    instruction, withheld = getattr(config, "instruction", None), getattr(benchmark, "withheld", False)
    cut, silent, leaks = [], [], []
    for item in items:
        content = item.messages[-1].content
        if not item.question.strip() or item.question not in content or (item.body or item.question) not in content:
            cut.append(called(item))
        elif instruction and not content.rstrip().endswith(instruction.strip()) and not item.part_ids:
            cut.append(called(item) if withheld else f"{called(item)}: ends with '{short(content[-60:])}'")
        if "\\boxed" not in content:
            silent.append(called(item))
        if any(f"\\boxed{{{gold}}}" in content for gold in item.answers):
            leaks.append(called(item))
    checks = [
        Check(
            "whole questions", "fail" if cut else "ok",
            f"{plural(len(cut), 'prompt')} of {len(items):,} lack part of question, options or instruction" if cut
            else f"all {plural(len(items), 'prompt')} hold question and instruction to the end",
            "the prompt is cut or made of another text than the question: mend the benchmark's load()", tuple(cut),
        )
    ]  # fmt: skip
    if leaks:
        checks.append(
            Check("leaks", "fail", f"{plural(len(leaks), 'prompt')} show the boxed gold answer", "mend the questions",
                  tuple(leaks))
        )  # fmt: skip
    if silent:
        checks.append(
            Check(
                "form of the answer",
                "warn" if instruction else "info",
                f"{plural(len(silent), 'prompt')} do not ask for \\boxed{{}}",
                "say it in instruction:, unless the model was trained to answer so",
                tuple(silent[:3]),
            )
        )
    return [*checks, *([] if chat is None else token_checks(items, chat))]


def token_checks(items: Sequence[Item], chat: Chat) -> list[Check]:
    """What tokenizer and template make of the prompts."""
    lost, longest, doubled = [], (0, ""), 0
    first = chat.tokenizer.token_id(chat.tokenizer.named_token("bos_token") or "")
    foreign = [style for style in STYLES.values() if style.name != chat.style.name]
    opened: Counter[str] = Counter()
    for item in items:
        ids = chat.encode_prompt(item.messages)
        longest = max(longest, (len(ids), called(item)))
        text = chat.tokenizer.decode(ids)
        content = item.messages[-1].content.strip()
        if content not in text and unicodedata.normalize("NFC", content) not in text:
            lost.append(called(item))
        doubled += first is not None and ids[:2] == [first, first]
        tail = text[text.rfind(content[-20:]) + len(content[-20:]) :]
        opened.update(style.name for style in foreign if style.open.strip() in tail)
    checks = [
        Check(
            "prompts in tokens", "fail" if lost else "ok",
            f"{plural(len(lost), 'prompt')} do not come back whole from their tokens" if lost
            else f"every prompt comes back whole from its tokens; the longest has {longest[0]:,} ({longest[1]})",
            "the template cuts or rewrites the question, or the tokenizer lacks its characters: look at both",
            tuple(lost),
            {"longest_tokens": longest[0]},
        )
    ]  # fmt: skip
    if doubled:
        checks.append(
            Check("first token", "fail", f"{plural(doubled, 'prompt')} begin with the first token twice",
                  "the template writes it, and the tokenizer adds it again: take it out of one of them")
        )  # fmt: skip
    for name, count in opened.items():
        checks.append(
            Check("thinking style", "fail",
                  f"{plural(count, 'prompt')} end with the tag of the style '{name}', but outputs are split as "
                  f"'{chat.style.name}'", f"--thinking {name}")
        )  # fmt: skip
    if not opened:
        checks.append(
            Check("thinking style", "ok", f"'{chat.style.name}': {chat.style.open.strip()} … "
                  f"{chat.style.close.split(chr(10) * 2 + '<|begin')[0].strip()}; unclosed thinking is no answer")
        )  # fmt: skip
    return checks


def model_checks(folder: Path, chat: Chat, longest_tokens: int, max_new_tokens: int | None) -> list[Check]:
    """Does the model stop at the template's end token, and is there room for prompt and answer?"""
    checks = []
    stops = named_end_ids(folder)
    end = f"{chat.end_token} ({chat.end_id})"
    if stops is None:
        checks.append(Check("end token", "info", f"{end}; {folder} does not say at which tokens an engine stops"))
    else:
        there = chat.end_id in stops
        checks.append(
            Check(
                "end token",
                "ok" if there else "fail",
                f"{end} ends an answer, and the model's settings stop at {', '.join(map(str, sorted(stops)))}",
                f"servers would go on past the answer: put eos_token_id {chat.end_id} into generation_config.json",
            )
        )
    positions = positions_in(read_json(folder / "config.json"))
    if positions is not None:
        room = positions - longest_tokens
        wanted = max_new_tokens or 0
        checks.append(
            Check(
                "room",
                "fail" if room < max(1, wanted) else "ok",
                f"{positions:,} positions less the longest prompt of {longest_tokens:,} leave {room:,} tokens for an "
                "answer" + (f"; {wanted:,} are asked for" if wanted else ""),
                "lower max_new_tokens, or serve a longer context",
                figures={"positions": positions, "room": room},
            )
        )
    return checks


def train_checks(samples: Path, chat_trained: Chat, chat: Chat, items: Sequence[Item]) -> list[Check]:
    """Is what prediction sends, token by token, what stood before a trained answer?

    Args:
        samples: a folder made by synthesize, or a checkpoint made from one (its manifest names the renderer).
        chat_trained: the renderer of the training.
        chat: the renderer of the prediction.
    """
    manifest = read_manifest(samples)
    differ = [key for key, value in chat_trained.describe().items() if chat.describe().get(key) != value]
    checks = []
    if not manifest.stage.startswith("synthesize"):
        checks.append(
            Check(
                "train = predict", "fail" if differ else "ok",
                f"{samples} was trained with another {', '.join(differ)} than is used here" if differ
                else "tokenizer, template, thinking style and system message are those of the training",
                "predict with the checkpoint's own tokenizer and settings", tuple(_unlike(chat_trained, chat, differ)),
            )
        )  # fmt: skip
        return checks
    compared, bad, untrained_end = 0, [], 0
    endings: Counter[bool] = Counter()
    for example in islice(iter_table(samples, Example), _COMPARED):
        for prompt, completion in documents(example):
            whole = chat_trained.encode_example(prompt, completion)
            if True not in whole.trained:
                continue
            start = whole.trained.index(True)
            sent = chat.encode_prompt(prompt)
            compared += 1
            if whole.ids[:start] != sent:
                bad.append(f"{example.example_id}: {_difference(whole.ids[:start], sent, chat_trained, chat)}")
            untrained_end += not (whole.trained[-1] and whole.ids[-1] == chat.end_id)
            endings["\\boxed" in prompt[-1].content] += 1
    if not compared:
        raise DataError(f"{samples} holds no samples", "give a folder made by synthesize")
    checks.append(
        Check(
            "train = predict", "fail" if bad else "ok",
            f"of {plural(compared, 'training conversation')} {len(bad):,} have other tokens before the answer than "
            "prediction would send" if bad else f"prompts of {plural(compared, 'training conversation')} are, token by "
            "token, what prediction sends",
            f"predict with the renderer of the training{f' (it differs in {chr(44).join(differ)})' if differ else ''}",
            tuple(bad),
        )
    )  # fmt: skip
    checks.append(
        Check(
            "end token trained", "fail" if untrained_end else "ok",
            f"{untrained_end:,} of {compared:,} training conversations do not train {chat.end_token} at their end"
            if untrained_end else f"{chat.end_token} is trained at the end of all {compared:,}",
            "a model that never sees its end token trained never stops",
        )
    )  # fmt: skip
    asks = sum("\\boxed" in item.messages[-1].content for item in items) / len(items)
    taught = endings[True] / max(1, compared)
    if asks > 0.5 and taught < 0.5:
        checks.append(
            Check("instruction", "warn",
                  f"{100 * asks:.0f} % of prompts ask for \\boxed{{}}, {100 * taught:.0f} % of training prompts do",
                  "the model is asked otherwise than it was taught: try instruction: \"\" as well")
        )  # fmt: skip
    return checks


def _unlike(trained: Chat, used: Chat, keys: Sequence[str]) -> list[str]:
    left, right = trained.describe(), used.describe()
    return [f"{key}: {short(str(left.get(key)))} in training, {short(str(right.get(key)))} here" for key in keys]


def _difference(trained: list[int], sent: list[int], chat_trained: Chat, chat: Chat) -> str:
    at = next((n for n, (a, b) in enumerate(zip(trained, sent, strict=False)) if a != b), min(len(trained), len(sent)))
    before, after = chat_trained.tokenizer.decode(trained[at : at + 8]), chat.tokenizer.decode(sent[at : at + 8])
    return f"from token {at:,} on: trained {before!r}, sent {after!r}"

"""Fixtures shared by tests: the micro-world's renderer, traces, and pools made of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.rows import Trace, content_id
from long1k.tables import Manifest, TableWriter
from long1k.tokens import load_tokenizer
from realdata import real_data

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every process they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MakeTrace = Callable[..., Trace]
MakePool = Callable[[Path, Sequence[Trace]], Manifest]


def build_trace(chat: Chat, question: str, thinking: str, solution: str, answer: str = "a", **changes: Any) -> Trace:
    """A trace with its ids and its token counts, any field changed at will."""
    question_n, thinking_n, solution_n = chat.tokenizer.count([question, thinking, solution])
    values: dict[str, Any] = {
        "trace_id": content_id("t", question, answer, thinking, solution),
        "problem_id": content_id("p", question, answer),
        "question": question,
        "answer": answer,
        "thinking": thinking,
        "solution": solution,
        "teacher": "test",
        "correct": True,
        "num_question_tokens": question_n,
        "num_thinking_tokens": thinking_n,
        "num_solution_tokens": solution_n,
        "subject": None,
        "difficulty": None,
        "difficulty_origin": None,
        "split": "given",
        "source": "test",
        "source_row": "0",
        "license": None,
    }
    return Trace(**(values | changes))


def write_pool(folder: Path, traces: Sequence[Trace], chat: Chat) -> Manifest:
    """A finished trace pool of exactly these traces."""
    writer = TableWriter(
        folder, Trace, stage="collect/1", config={"chat": chat.describe()},
        inputs={"traces": content_id("i", *(trace.trace_id for trace in traces))},
    )  # fmt: skip
    writer.write_part(0, list(traces))
    return writer.commit(1, {"tokenizer_folder": str(chat.tokenizer.folder), "split": {"given": len(traces)}})


@pytest.fixture(scope="session")
def qwen_chat() -> Chat:
    """A real tokenizer with ChatML."""
    return Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))


@pytest.fixture(scope="session")
def micro_chat() -> Chat:
    """The micro-world's tokenizer and template, tags <think>."""
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="session")
def make_trace(micro_chat: Chat) -> MakeTrace:
    """make_trace(question, thinking, solution, answer="a", **changes), counted by the micro tokenizer."""

    def make(question: str, thinking: str, solution: str, answer: str = "a", **changes: Any) -> Trace:
        return build_trace(micro_chat, question, thinking, solution, answer, **changes)

    return make


@pytest.fixture(scope="session")
def make_pool(micro_chat: Chat) -> MakePool:
    """make_pool(folder, traces): a finished trace pool in the folder."""

    def make(folder: Path, traces: Sequence[Trace]) -> Manifest:
        return write_pool(folder, traces, micro_chat)

    return make


@pytest.fixture(scope="module", autouse=True)
def _browser_ends() -> Iterator[None]:
    """The browser of this process, if a test started one, ends with the file.

    Its driver keeps an event loop running in this thread; tests of other files run loops of their own.
    """
    yield
    if "browser" in sys.modules:
        sys.modules["browser"].stop_browser()

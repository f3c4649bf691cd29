r"""One grading process: reads a JSON line {id, gold, answer}, writes a JSON line {id, status, note}.

Started by `long1k.grading.pool` as `python -m long1k.grading.worker CHECK MEMORY_MIB TIMEOUT_SECONDS`. Caps
its own memory before it loads anything large, ends when its standard input closes, and lets the kernel end it
when a pair takes too long and nobody is left to kill it. Nothing that it reads is ever evaluated as code.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from typing import IO, Any

CheckResult = tuple[str, str]
WALL_FACTOR = 8
"""How many seconds of the clock a second of computing may take, before a worker counts as stuck."""


def check(gold: str, answer: str) -> CheckResult:
    """Compare two LaTeX answers with Math-Verify, gold first (its `verify` is asymmetric)."""
    gold_parsed, answer_parsed = _parse_gold(gold), _parse(answer)
    if not gold_parsed:
        return "error", "the gold answer cannot be parsed"
    if not answer_parsed:
        return "error", "the answer cannot be parsed"
    # Relations are compared with sets both ways: -2 <= x <= 7 and x in [-2, 7] say the same.
    _swallowed.clear()
    same = _math_verify().verify(
        gold_parsed, answer_parsed, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True
    )
    if not same and _swallowed:
        return "error", f"{_swallowed[0]} in the comparison"
    return ("correct", "") if same else ("wrong", "")


_swallowed: list[str] = []
"""Failures inside of the current comparison that the library would report as "not equal"."""


@cache
def _math_verify() -> Any:
    import math_verify
    import math_verify.grader as internals

    # The library catches whatever these raise and goes on to say False. A failure is not a wrong answer.
    internals.simplify = _noting_failures(internals.simplify, Exception)
    internals.solve = _noting_failures(internals.solve, (MemoryError, RecursionError))
    _parse_in_two_stages()
    return math_verify


def _parse_in_two_stages() -> None:
    """Let the LaTeX parser predict with little context first, and with all of it where that fails.

    ANTLR's SLL prediction gives the tree of full LL prediction or a syntax error, at about an eighth of the time (Parr,
    Harwell and Fisher 2014, "Adaptive LL(*) Parsing", section 3.2).
    """
    import latex2sympy2_extended.latex2sympy2 as library

    prediction_mode = importlib.import_module("antlr4.atn.PredictionMode").PredictionMode

    converter = getattr(library, "_Latex2Sympy", None)
    if converter is None or not {"create_parser", "parse"} <= set(vars(converter)):
        return  # another version of the library: slower, no other verdicts
    create, parse = converter.create_parser, converter.parse
    fast = [False]

    def create_parser(self: Any, latex: str) -> Any:
        parser = create(self, latex)
        if fast[0]:
            parser._interp.predictionMode = prediction_mode.SLL
        return parser

    def parse_twice(self: Any, latex: str) -> Any:
        fast[0] = True
        try:
            return parse(self, latex)
        except Exception:
            fast[0] = False
            return parse(self, latex)
        finally:
            fast[0] = False

    converter.create_parser, converter.parse = create_parser, parse_twice


def _noting_failures(
    function: Callable[..., Any], kinds: type[Exception] | tuple[type[Exception], ...]
) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except kinds as error:
            _swallowed.append(type(error).__name__)
            raise

    return noting


@cache
def _targets() -> list[Any]:
    # Only the box that we put around the text is read. The library's looser patterns would pick some number
    # out of an answer that does not parse, and call the answer right because of it.
    return [_math_verify().LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0)]


def _parse(latex: str) -> list[Any]:
    """The expression that `latex` stands for in a list; an empty list when it does not parse."""
    # The library's pattern for a box stops at a line end.
    boxed = "\\boxed{" + " ".join(latex.split()) + "}"
    parsed = _math_verify().parse(
        boxed, _targets(), fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True
    )
    return list(parsed)


@lru_cache(maxsize=256)
def _parse_gold(latex: str) -> list[Any]:
    """As ``_parse``: one gold stands beside many answers."""
    return _parse(latex)


def main(arguments: list[str]) -> None:
    """Serve pairs until standard input closes."""
    check_name, memory_mib, timeout_seconds = arguments[0], int(arguments[1]), float(arguments[2])
    _cap_memory(memory_mib)
    # Libraries may print: keep the pipe for our replies alone.
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    try:
        function = _load(check_name)
    except Exception as error:
        mend = "; pip install math-verify" if getattr(error, "name", "") == "math_verify" else ""
        _send(replies, {"ready": False, "note": f"{type(error).__name__}: {error}{mend}"})
        return
    _send(replies, {"ready": True})
    # The default action of SIGALRM ends the process inside the kernel, even in the middle of one huge
    # multiplication. It is the net under the pool's own, earlier kill, for when the pool itself was killed.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Computing time, not the clock's, decides what takes too long: a verdict must not depend on what else runs here.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, timeout_seconds)
        signal.alarm(math.ceil(timeout_seconds * WALL_FACTOR) + 2)
        reply = _answer(function, json.loads(line))
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, reply)
        if reply.get("retire"):
            return


def _answer(function: Callable[[str, str], CheckResult], request: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = {"id": request["id"]}
    try:
        reply["status"], reply["note"] = function(request["gold"], request["answer"])
    except MemoryError:
        # What else failed in the middle of its work is unknown: start afresh.
        reply |= {"status": "error", "note": "memory cap reached", "retire": True}
    except RecursionError:
        reply |= {"status": "error", "note": "nested too deeply"}
    except BaseException as error:
        # The message may hold an expression that takes forever to print: the type must do.
        reply |= {"status": "error", "note": f"{type(error).__name__} in the comparison"}
    return reply


def _load(name: str) -> Callable[[str, str], CheckResult]:
    module, _, attribute = name.partition(":")
    if module == "long1k.grading.worker":
        _math_verify()
        return check
    function: Callable[[str, str], CheckResult] = getattr(importlib.import_module(module), attribute)
    return function


def _cap_memory(memory_mib: int) -> None:
    try:
        import resource
    except ImportError:  # no such limits on this platform; time is still bounded
        return
    limit = memory_mib * 1024 * 1024
    for kind, value in ((resource.RLIMIT_AS, limit), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):  # a lower hard limit is already set, or the system knows none
            continue


def _send(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

"""One run against a server: attempts, pauses, pace, and when to stop."""

from __future__ import annotations

import asyncio
import email.utils
import math
import random
import time
from collections.abc import Sequence
from typing import Any

from long1k.errors import EngineError
from long1k.generation.base import Done, Job, Output, Sampling
from long1k.generation.flow import draw_all
from long1k.generation.server import Endpoint, advice, refused
from long1k.generation.wire import BadAnswer, error_text, read_answer, read_json, request_body, says_too_long, sent_ids
from long1k.rows import derive_seed

_KEPT = "what was drawn is kept: run the same command again"
_FAILED_IN_ROW = 4  # outputs given up one after the other, and none drawn in between: the server is gone or misled
_LONGEST_PAUSE_SECONDS = 30.0
_TIMEOUTS = 2  # a request that twice got no answer in time costs the server work and is given up


class _Busy(Exception):
    """The server is there and asks for patience (seconds, None if it does not say how much)."""

    def __init__(self, wait_seconds: float | None, reason: str) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class _Pace:
    """Lets at most so many pass a minute, evenly."""

    def __init__(self, per_minute: float | None) -> None:
        self._per_minute, self._next = per_minute, 0.0

    async def take(self, amount: float) -> None:
        """Wait for one's turn."""
        if self._per_minute is not None:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + amount * 60 / self._per_minute
            await asyncio.sleep(start - now)


class Asking:
    """One run: what requests of it know of each other (pace, pauses, failures in a row)."""

    def __init__(self, endpoint: Endpoint, sampling: Sampling) -> None:
        self.endpoint, self.config, self.sampling = endpoint, endpoint.config, sampling
        self.requests, self.tokens = _Pace(self.config.requests_per_minute), _Pace(self.config.tokens_per_minute)
        self.paused_until, self.busy_answers = 0.0, 0
        self.failed_in_row, self.answered = 0, False

    async def all(self, jobs: Sequence[Job], done: Done) -> None:
        """Draw all jobs with one pool of connections."""
        async with self.endpoint.httpx.AsyncClient(**self.endpoint.client_options) as client:
            self.client = client
            await draw_all(jobs, self.draw, done, self.config.concurrency)

    async def draw(self, job: Job) -> Output:
        """One output, after as many attempts as it needs.

        Raises:
            EngineError: no other request would fare better.
        """
        httpx, config = self.endpoint.httpx, self.config
        failures = timeouts = 0
        asked_for_patience = time.monotonic() + config.patience_seconds
        while True:
            gone = False
            try:
                output = await self._attempt(job)
                self.failed_in_row, self.answered, self.busy_answers = 0, True, 0
                return output
            except BadAnswer as error:
                reason, again = str(error), error.retry
                if error.fatal:
                    raise EngineError(reason, f"{advice(config)}; {_KEPT}") from None
            except _Busy as error:
                self.busy_answers += 1
                wait = error.wait_seconds
                wait = self._pause(min(self.busy_answers, 8), job.key) if wait is None else wait
                if time.monotonic() + wait > asked_for_patience:
                    raise EngineError(
                        f"{error}; asked to wait {wait:,.0f} s more (patience_seconds: {config.patience_seconds:,.0f})",
                        f"lower concurrency, set requests_per_minute or tokens_per_minute, or come back; {_KEPT}",
                    ) from None
                self.paused_until = max(self.paused_until, time.monotonic() + wait)
                continue
            except (TimeoutError, httpx.TimeoutException) as error:
                timeouts += 1
                gone = isinstance(error, httpx.ConnectTimeout)
                reason = f"no answer within {config.read_timeout_seconds:,.0f} s (read_timeout_seconds)"
                reason, again = ("no connection in time", True) if gone else (reason, timeouts < _TIMEOUTS)
            except httpx.RequestError as error:
                gone = isinstance(error, httpx.ConnectError)
                reason, again = f"{type(error).__name__}: {str(error)[:200] or 'connection closed'}", True
            failures += 1
            if not again or failures > config.retries:
                return self._give_up(job, reason, failures, gone, again)
            await asyncio.sleep(self._pause(failures, job.key))

    async def _attempt(self, job: Job) -> Output:
        """One request and the reading of its answer."""
        endpoint, config = self.endpoint, self.config
        body = request_body(
            job, self.sampling, endpoint.chat, endpoint.end_ids, model=endpoint.model, prompts=config.prompts,
            server=endpoint.server, max_tokens_name=config.max_tokens_name, extra=config.extra,
        )  # fmt: skip
        while (pause := self.paused_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        await self.requests.take(1)
        await self.tokens.take(len(job.prompt_ids) + job.max_new_tokens)
        path = "/chat/completions" if config.prompts == "chat" else "/completions"
        most = 2**21 + 256 * job.max_new_tokens + 32 * len(job.prompt_ids)  # bytes; a longer answer is none of ours
        async with asyncio.timeout(config.read_timeout_seconds):
            async with self.client.stream("POST", config.url + path, json=body) as response:
                parts, size = [], 0
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > most:
                        raise BadAnswer(f"the answer is longer than {most:,} bytes")
                    parts.append(part)
        data = b"".join(parts)
        if response.status_code != 200:
            self._refuse(response, data, job)
        values = read_json(data, response.headers.get("content-type", ""))
        prompt_ids = sent_ids(job, body, endpoint.chat) if config.check_prompt else None
        return read_answer(values, job, endpoint.chat, prompt_ids, endpoint.end_ids)

    def _refuse(self, response: Any, data: bytes, job: Job) -> None:
        """Raise what an answer other than 200 means."""
        status, text = response.status_code, error_text(data)
        said = f"the server answers {status}: {text}"
        after = _retry_after(response.headers.get("retry-after"))
        if status == 429 or (status == 503 and after is not None):
            raise _Busy(after, said)
        if 300 <= status < 400:
            place = str(response.headers.get("location"))[:200]
            raise EngineError(f"{self.config.url} sends us on to {place}", f"give the right address as url; {_KEPT}")
        if status in (401, 403):
            what, mend = refused(status, text, self.config)
            raise EngineError(what, f"{mend}; {_KEPT}")
        if status == 404:
            raise EngineError(
                f"{said} (model {self.endpoint.model}, prompts: {self.config.prompts})",
                f"{advice(self.config)}; {_KEPT}",
            )
        if status in (400, 413, 422) and says_too_long(text) and not self.answered:
            raise EngineError(
                f"the server's context is too short for {len(job.prompt_ids):,} tokens of prompt and "
                f"{job.max_new_tokens:,} of output: {text}",
                "lower sampling.max_new_tokens, or serve the model with a longer context",
            )
        raise BadAnswer(said, retry=status >= 500 or status in (408, 409, 425))

    def _pause(self, failures: int, key: str) -> float:
        """Seconds before the next attempt: doubled each time, and spread so that not all come back at once."""
        longest = min(self.config.backoff_seconds * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
        spread = random.Random(derive_seed(key, failures)).uniform(0.5, 1)
        return float(longest * spread)

    def _give_up(self, job: Job, reason: str, attempts: int, gone: bool, again: bool) -> Output:
        """The error of one output; of the whole run where nothing else comes through either."""
        self.failed_in_row += 1
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        # A server that answers others refuses this prompt alone; one that never answered was not asked rightly.
        counts = again or not self.answered
        if gone or (counts and self.failed_in_row >= _FAILED_IN_ROW):
            raise EngineError(
                f"{self.config.url} draws nothing any more: {reason}{tried}",
                f"look at the server's log and start it again ({advice(self.config)}); {_KEPT}",
            )
        return Output(job.key, [], "error", error=reason + tried)


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None

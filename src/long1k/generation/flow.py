"""Many requests at once in one thread: what engines with a queue of their own (servers, vLLM) share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from concurrent.futures import Future, wait
from threading import Event, Thread
from typing import Any, TypeVar

from long1k.errors import EngineError
from long1k.generation.base import Done, Job, Output
from long1k.rows import derive_seed

Draw = Callable[[Job], Coroutine[None, None, Output]]
T = TypeVar("T")

_FAREWELL_SECONDS = 30.0  # for requests under way to be called off


def new_runner() -> asyncio.Runner:
    """A runner whose loop is its own, so that a notebook's stays what it is."""
    return asyncio.Runner(loop_factory=asyncio.new_event_loop)


def run_on(runner: asyncio.Runner, work: Coroutine[None, None, T]) -> T:
    """What a coroutine gives; in a thread of its own where a loop runs in this one already, as in a notebook."""
    loop, stopped = runner.get_loop(), Event()
    under_way: list[asyncio.Task[Any]] = []

    async def watched() -> T:
        under_way.extend(task for task in [asyncio.current_task()] if task is not None)
        if stopped.is_set():
            work.close()
            raise asyncio.CancelledError
        return await work

    def stop() -> None:  # one of the two sees what the other did, however they fall together
        stopped.set()
        for task in under_way:
            loop.call_soon_threadsafe(task.cancel)

    return _beside(lambda: runner.run(watched()), stop)


def close_runner(runner: asyncio.Runner) -> None:
    """Close it; this too runs its loop."""
    _beside(runner.close, lambda: None)


def _beside(call: Callable[[], T], interrupt: Callable[[], None]) -> T:
    """Call it, where a loop runs in this thread in another one; ``interrupt`` is to end it when Ctrl-C comes."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    outcome: Future[T] = Future()

    def body() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    thread = Thread(target=body, daemon=True)
    try:
        thread.start()
        return outcome.result()
    except BaseException:
        if not outcome.done():
            interrupt()
            wait([outcome], timeout=_FAREWELL_SECONDS)
        raise


def piece_seed(job: Job) -> int:
    """The seed of one request (63 bits): that of the job, and another one for each further piece of its output.

    A server begins its random numbers anew with each request.  With one seed for all pieces, those drawn after a
    forced turn would follow the same numbers as the beginning.
    """
    return job.seed if job.drawn == 0 else derive_seed(job.seed, job.drawn)


def waiting(jobs: Iterable[Job], finished: Collection[str]) -> list[Job]:
    """The jobs still to be drawn, the longest prompt first: what does not fit is refused before anything is spent."""
    left = [job for job in jobs if job.key not in finished]
    longest = max(left, key=lambda job: len(job.prompt_ids), default=None)
    return [] if longest is None else [longest, *(job for job in left if job is not longest)]


async def draw_all(jobs: Iterable[Job], draw: Draw, done: Done, concurrency: int) -> None:
    """Draw every job and what ``done`` answers with, at most ``concurrency`` at once.

    A further piece of an output goes before new jobs: its beginning is still in the server's cache.  An EngineError
    of one draw ends all: requests under way are cancelled, and what had arrived is handed over first.
    """
    left = deque(jobs)
    arrived: asyncio.Queue[asyncio.Task[Output]] = asyncio.Queue()
    running: set[asyncio.Task[Output]] = set()
    try:
        while left or running:
            while left and len(running) < concurrency:
                task = asyncio.create_task(draw(left.popleft()))
                running.add(task)
                task.add_done_callback(arrived.put_nowait)
            batch = [await arrived.get()]
            while not arrived.empty():
                batch.append(arrived.get_nowait())
            broken: BaseException | None = None
            for task in batch:
                running.discard(task)
                error = task.exception()
                if error is not None:
                    broken = error if broken is None or isinstance(error, EngineError) else broken
                    continue
                following = done(task.result())
                if following is not None:
                    left.appendleft(following)
            if broken is not None:
                await _cancel(running)
                for task in running:
                    if not task.cancelled() and task.exception() is None:  # finished in that very moment
                        done(task.result())
                raise broken
    finally:
        await _cancel(running)


async def _cancel(tasks: Collection[asyncio.Task[Output]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

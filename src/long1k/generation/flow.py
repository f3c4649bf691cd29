"""Many requests at once in one thread: what engines with a queue of their own (servers, vLLM) share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable

from long1k.errors import EngineError
from long1k.generation.base import Done, Job, Output
from long1k.rows import derive_seed

Draw = Callable[[Job], Coroutine[None, None, Output]]


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

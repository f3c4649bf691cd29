"""What a request costs us: 1,024 requests, 64 at once, to a server that answers at once, against OpenAI's own client.

The server stands in a process of its own and does nothing but answer, so that the time is the clients'.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.common import Row, timed

_REQUESTS, _AT_ONCE, _TOKENS, _ROUNDS = 1024, 64, 512, 3


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: the same number of tokens to every prompt, the first of them the prompt's last and the seed."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        if head.startswith(b"GET"):
            values: dict[str, Any] = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 100_000}]}
        else:
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            body = json.loads(await reader.readexactly(length))
            ids = [body["prompt"][-1], body["seed"] % 50 + 10, *[20] * (_TOKENS - 2)]
            choice = {"index": 0, "text": "x", "finish_reason": "length", "token_ids": ids, "logprobs": None}
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(ids), "total_tokens": 0}
            values = {
                "id": "1",
                "object": "text_completion",
                "created": 0,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
        data = json.dumps(values).encode()
        head_out = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head_out.encode() + data)
        await writer.drain()
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _theirs(url: str, prompts: list[list[int]], seeds: list[int]) -> list[list[int]]:
    """OpenAI's client as its documentation has it, bounded by a semaphore."""
    import openai

    async def all_of_them() -> list[list[int]]:
        gate = asyncio.Semaphore(_AT_ONCE)
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

            async def one(prompt: list[int], seed: int) -> list[int]:
                async with gate:
                    answer = await client.completions.create(
                        model="m", prompt=prompt, max_tokens=_TOKENS, temperature=1, seed=seed,
                        extra_body={"return_token_ids": True},
                    )  # fmt: skip
                return list(answer.choices[0].token_ids)  # type: ignore[attr-defined]

            return list(await asyncio.gather(*map(one, prompts, seeds)))

    return asyncio.run(all_of_them())


def rows() -> list[Row]:
    """One line."""
    from long1k.chat import Chat
    from long1k.generation.base import Job, Output, Sampling, Serving
    from long1k.generation.openai import ServerEngine
    from long1k.generation.server import ServerConfig
    from long1k.tokens import load_tokenizer

    server = subprocess.Popen([sys.executable, "-m", "bench.servers"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        chat = Chat(load_tokenizer("package:micro"))
        engine = ServerEngine(ServerConfig(url=url, concurrency=_AT_ONCE), Serving(Path(), chat))
        jobs = [Job(str(n), [2, *[20 + n % 50] * 200, 3], n, _TOKENS) for n in range(_REQUESTS)]

        def ours() -> list[list[int]]:
            outputs: dict[str, Output] = {}
            sampling = Sampling(max_new_tokens=_TOKENS, temperature=1)
            engine.run(jobs, sampling, lambda output: outputs.__setitem__(output.key, output))
            return [outputs[job.key].token_ids for job in jobs]

        our_seconds, our_ids = timed(ours, _ROUNDS)
        seeds = [job.seed for job in jobs]
        their_seconds, their_ids = timed(lambda: _theirs(url, [job.prompt_ids for job in jobs], seeds), _ROUNDS)
    finally:
        server.kill()
        server.wait()
    same = sum(ours == theirs for ours, theirs in zip(our_ids, their_ids, strict=True))
    return [
        Row(
            what="requests to a server", data=f"{_REQUESTS:,} requests, {_AT_ONCE} at once, {_TOKENS} tokens each",
            ours_seconds=our_seconds, peer="openai's AsyncOpenAI with a semaphore", peer_seconds=their_seconds,
            target="equal outputs, no slower", equal=f"{same:,} of {_REQUESTS:,} outputs equal",
            met=same == _REQUESTS and our_seconds <= their_seconds,
            note=f"{1e3 * our_seconds / _REQUESTS:.2f} ms a request, all checks of the answer included",
        )
    ]  # fmt: skip


if __name__ == "__main__":
    asyncio.run(_serve())

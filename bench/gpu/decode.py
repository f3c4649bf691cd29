"""Decoding on one GPU beside what its memory allows: a step reads all weights and all keys and values once."""

from __future__ import annotations

import importlib.util
import inspect
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bench.gpu.common import Place, forget, new_network, peak_gib, seconds_of_one, wait
from long1k.generation.base import Job, Sampling
from long1k.generation.batch import Batch
from long1k.generation.draw import Chooser


def decode(place: Place) -> Iterator[dict[str, Any]]:
    """Greedy decoding of a 7B shape in bf16: tokens/s beside what the memory's bandwidth allows, by rows at once."""
    shape = place.shape("Qwen2.5-7B", 28)
    prompt, few, many = place.length(1024), 4, 20 if place.tiny else 132
    bandwidth = _bandwidth(place)
    for name, draw in (("vLLM", _by_vllm), ("transformers, our loop", _by_our_loop)):
        if draw is _by_vllm and (place.device != "cuda" or importlib.util.find_spec("vllm") is None):
            continue
        with draw(shape, place) as seconds_of:
            for rows in (1, 4) if place.tiny else (1, 8, 64):
                forget(place)
                seconds_of(rows, prompt, few)
                shorter, longer = (min(seconds_of(rows, prompt, tokens) for _ in range(2)) for tokens in (few, many))
                step = (longer - shorter) / (many - few)
                # All weights but the embeddings, of which a row each is read, and the keys and values so far.
                weights = shape.parameters - (0 if shape.tied else shape.vocabulary * shape.hidden)
                cached = rows * (prompt + (few + many) / 2) * 2 * shape.kv_width * shape.layers
                limit = 2 * (weights + cached) / bandwidth
                yield {
                    "engine": name, "shape": shape.name, "rows": rows, "prompt_tokens": prompt, "step_seconds": step,
                    "tokens_per_second": rows / step, "bandwidth_gb_a_second": bandwidth / 1e9,
                    "limit_tokens_per_second": rows / limit, "share_of_limit": limit / step,
                    "peak_gib": peak_gib(place),
                }  # fmt: skip
        forget(place)


def _bandwidth(place: Place) -> float:
    """Bytes a second of a large copy, which is read once and written once."""
    size = (1 << 22) if place.tiny else (1 << 31)
    source = torch.empty(size, dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    return 2 * size / seconds_of_one(lambda: target.copy_(source), place)


@contextmanager
def _by_our_loop(shape: Any, place: Place) -> Iterator[Callable[[int, int, int], float]]:
    """Seconds for so many rows, tokens of prompt, and tokens drawn, by ``generation.batch``."""
    network = new_network(shape, place).to(torch.bfloat16).eval()
    takes = frozenset(inspect.signature(network.forward).parameters)

    def seconds_of(rows: int, prompt: int, tokens: int) -> float:
        jobs = [Job(str(n), ids, 0, tokens) for n, ids in enumerate(_prompts(rows, prompt, shape.vocabulary))]
        drawn: list[int] = []
        wait(place)
        started = time.perf_counter()
        batch = Batch(network, jobs, Chooser(Sampling(max_new_tokens=tokens)), (), takes)
        batch.run(lambda output: drawn.append(len(output.token_ids)))
        seconds = time.perf_counter() - started
        assert drawn == [tokens] * rows
        return seconds

    yield seconds_of


@contextmanager
def _by_vllm(shape: Any, place: Place) -> Iterator[Callable[[int, int, int], float]]:
    """The same by vLLM, with random weights of the same shape."""
    import vllm

    with tempfile.TemporaryDirectory() as folder:
        config = new_network(shape.slice(1), place).config
        config.num_hidden_layers, config.architectures = shape.layers, ["Qwen2ForCausalLM"]
        config.layer_types = ["full_attention"] * shape.layers
        config.save_pretrained(folder)
        engine = vllm.LLM(
            model=folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_model_len=4096,
            enable_prefix_caching=False, gpu_memory_utilization=0.8,
        )  # fmt: skip

    def seconds_of(rows: int, prompt: int, tokens: int) -> float:
        prompts = [{"prompt_token_ids": ids} for ids in _prompts(rows, prompt, shape.vocabulary)]
        wanted = vllm.SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        started = time.perf_counter()
        engine.generate(prompts, wanted, use_tqdm=False)
        return time.perf_counter() - started

    yield seconds_of


def _prompts(rows: int, tokens: int, vocabulary: int) -> list[list[int]]:
    rng = random.Random(rows)
    return [[rng.randrange(vocabulary) for _ in range(tokens)] for _ in range(rows)]

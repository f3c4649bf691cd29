"""The decoding loop against transformers' own ``generate``: models of several kinds, budgets, sampling, adapters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.errors import DataError, EngineError
from long1k.generation.base import Job, Output, Sampling, Serving, identity
from long1k.generation.budget import Course, Sample
from long1k.plugins import validate
from long1k.tokens import load_tokenizer
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402
import transformers  # noqa: E402

from long1k.generation import batch as batch_module  # noqa: E402
from long1k.generation.draw import Chooser, uniforms  # noqa: E402
from long1k.generation.hf import TransformersConfig, TransformersEngine, batches  # noqa: E402

SHAPE = {
    "vocab_size": 104, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "initializer_range": 0.5, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "qwen2, as many heads, tied": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(**SHAPE, num_key_value_heads=4, tie_word_embeddings=True)
    ),
    "llama, grouped heads": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SHAPE, num_key_value_heads=2, tie_word_embeddings=False)
    ),
    "mistral, sliding window": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=8)
    ),
    "qwen2, every other layer slides": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            **SHAPE, num_key_value_heads=2, use_sliding_window=True, sliding_window=8, max_window_layers=1
        )
    ),
    "gpt2, learned positions": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=104,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=256,
            initializer_range=0.5,
            bos_token_id=None,
            eos_token_id=None,
        )
    ),
    "gemma2, eager attention": lambda: transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(
            **SHAPE, num_key_value_heads=2, head_dim=8, sliding_window=8, tie_word_embeddings=False
        )
    ),
}
LENGTHS = (1, 2, 3, 5, 5, 8, 13, 21, 34, 55, 89)


@pytest.fixture(scope="module")
def chat() -> Chat:
    torch.set_num_threads(1)
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(MODELS[request.param], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(MODELS["llama, grouped heads"], tmp_path_factory.mktemp("llama"))


def saved(make: Callable[[], Any], folder: Path) -> Path:
    torch.manual_seed(3)
    make().save_pretrained(folder)
    return folder


def engine(folder: Path, chat: Chat, **config: Any) -> TransformersEngine:
    return TransformersEngine(TransformersConfig(**config), Serving(folder, chat))


def jobs(lengths: Sequence[int] = LENGTHS, tokens: int = 40) -> list[Job]:
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(104, (length,), generator=generator).tolist() for length in lengths]
    return [Job(f"k{n}", prompt, 1000 + n, tokens) for n, prompt in enumerate(prompts)]


def outputs(engine: TransformersEngine, jobs: Sequence[Job], sampling: Sampling) -> dict[str, Output]:
    found: dict[str, Output] = {}

    def done(output: Output) -> None:
        found[output.key] = output

    engine.run(jobs, sampling, done)
    return found


def alone(
    engine: TransformersEngine, prompt: list[int], tokens: int, end_id: int | list[int], **more: Any
) -> list[int]:
    ids = torch.tensor([prompt])
    whole = engine._model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0,
        eos_token_id=end_id, **more,
    )  # fmt: skip
    found: list[int] = whole[0, len(prompt) :].tolist()
    return found


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_outputs_are_those_of_generate(
    folder: Path, chat: Chat, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = engine(folder, chat)
    wanted = {
        job.key: alone(running, job.prompt_ids, 40, chat.end_id, repetition_penalty=penalty) for job in jobs()
    }  # fmt: skip
    # Ends that come at different places: the token that most outputs hold somewhere, and one that comes before it in few.
    common = max(range(104), key=lambda token: sum(token in ids for ids in wanted.values()))
    until = [ids[: ids.index(common)] if common in ids else ids for ids in wanted.values()]
    earlier = {token: sum(token in ids for ids in until) for ids in until for token in ids}
    rarer = min(earlier, key=lambda token: earlier[token])
    running._end_ids = (common, rarer)
    ends = [common, rarer]
    wanted = {job.key: alone(running, job.prompt_ids, 40, ends, repetition_penalty=penalty) for job in jobs()}
    assert {ids[-1] for ids in wanted.values()} >= set(ends)
    assert len({len(ids) for ids in wanted.values()}) > 2
    sampling = Sampling(max_new_tokens=40, repetition_penalty=penalty)
    for prefill in (16384, 24):  # the prompts at once, and in slices
        monkeypatch.setattr(batch_module, "_PREFILL_TOKENS", prefill)
        found = outputs(running, jobs(), sampling)
        assert {key: output.token_ids for key, output in found.items()} == wanted
        for output in found.values():
            assert (output.finish_reason == "stop") == (output.token_ids[-1] in ends)


def test_finished_outputs_come_at_once(llama: Path, chat: Chat) -> None:
    running = engine(llama, chat)
    sizes: list[int] = []
    running._end_ids = (7,)
    running.run(jobs([4] * 40), Sampling(max_new_tokens=40, temperature=1.5), lambda o: sizes.append(len(o.token_ids)))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 4


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_too_little_memory_is_said_with_the_key_that_mends_it(
    llama: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    running = engine(llama, chat)

    def full(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(type(running._model), "forward", full)
    with pytest.raises(EngineError, match="no memory left for 2 outputs of up to 44 tokens") as said:
        outputs(running, jobs([4, 4]), Sampling(max_new_tokens=40))
    assert "max_batch_tokens" in str(said.value)


def test_equal_prompts_are_read_once(llama: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    running = engine(llama, chat)
    read: list[tuple[int, ...]] = []
    forward = type(running._model).forward

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(tuple(kwargs["input_ids"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(running._model), "forward", watched)
    same = [Job(f"k{n}", jobs([30])[0].prompt_ids, n, 5) for n in range(6)]
    found = outputs(running, same, Sampling(max_new_tokens=5))
    assert read[0] == (1, 30)
    assert read[1] == (6, 1)
    assert len({tuple(output.token_ids) for output in found.values()}) == 1


def test_the_seed_and_the_place_decide_a_draw(llama: Path, chat: Chat) -> None:
    sampling = Sampling(max_new_tokens=40, temperature=1.3, top_p=0.9, top_k=50, min_p=0.01, repetition_penalty=1.1)
    whole = outputs(engine(llama, chat), jobs(), sampling)
    assert {k: o.token_ids for k, o in outputs(engine(llama, chat, batch_size=3), jobs(), sampling).items()} == {
        key: output.token_ids for key, output in whole.items()
    }
    again = [Job(job.key, job.prompt_ids, job.seed + 1, 40) for job in jobs()]
    assert all(o.token_ids != whole[k].token_ids for k, o in outputs(engine(llama, chat), again, sampling).items())
    # In pieces: in place (13 tokens each), and begun again from a longer prompt.
    for size in (1, 13):
        assert in_pieces(engine(llama, chat), jobs(), sampling, size) == {k: o.token_ids for k, o in whole.items()}
    begun = [
        Job(job.key, job.prompt_ids + whole[job.key].token_ids[:17], job.seed, 23, drawn=17)
        for job in jobs() if len(whole[job.key].token_ids) == 40
    ]  # fmt: skip
    assert begun
    for key, output in outputs(engine(llama, chat), begun, sampling).items():
        assert output.token_ids == whole[key].token_ids[17:]


def in_pieces(running: TransformersEngine, jobs: Sequence[Job], sampling: Sampling, size: int) -> dict[str, list[int]]:
    prompts = {job.key: job for job in jobs}
    found: dict[str, list[int]] = {job.key: [] for job in jobs}

    def done(output: Output) -> Job | None:
        ids = found[output.key]
        ids += output.token_ids
        job = prompts[output.key]
        left = job.max_new_tokens - len(ids)
        if output.finish_reason == "stop" or left == 0:
            return None
        return Job(job.key, job.prompt_ids + ids, job.seed, min(size, left), len(ids))

    running.run([Job(j.key, j.prompt_ids, j.seed, size) for j in jobs], sampling, done)
    return found


def course_of(running: TransformersEngine, chat: Chat, jobs: Sequence[Job], **sampling: Any) -> dict[str, Sample]:
    values = validate(Sampling, sampling, "sampling")
    course = Course(chat, values)
    found: dict[str, Sample] = {}

    def done(output: Output) -> Job | None:
        following = course.after(output)
        if isinstance(following, Job):
            return following
        found[following.key] = following
        return None

    running.run([course.first(job.key, job.prompt_ids, job.seed) for job in jobs], values, done)
    return found


@pytest.mark.parametrize("kind", ["in place", "begun again"])
def test_forced_ids_are_read_like_a_prompt(
    folder: Path, chat: Chat, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget that binds: what follows the closing tag is what ``generate`` says to prompt, thinking and tag."""
    if kind == "begun again":
        monkeypatch.setattr(batch_module, "_FEED", 0)
    running = engine(folder, chat)
    opening = chat.tokenizer.encode(chat.style.open)
    opened = [Job(job.key, job.prompt_ids + opening, job.seed, 40) for job in jobs()]
    plain = outputs(running, [replace(job, max_new_tokens=12) for job in opened], Sampling(max_new_tokens=12))
    forced = course_of(running, chat, opened, max_new_tokens=40, budget={"max_thinking_tokens": 12})
    closing = chat.tokenizer.encode(chat.style.close)
    bound = 0
    for job in opened:
        sample = forced[job.key]
        if sample.forced:
            bound += 1
            assert sample.token_ids[:12] == plain[job.key].token_ids
            assert sample.token_ids[12 : 12 + len(closing)] == closing
            rest = alone(
                running, job.prompt_ids + sample.token_ids[: 12 + len(closing)], 28 - len(closing), chat.end_id
            )
            assert sample.token_ids[12 + len(closing) :] == rest
    assert bound > 3


def test_waiting_goes_back_before_the_end(llama: Path, chat: Chat) -> None:
    """An output whose thinking ends at once is drawn on from before that end."""
    running = engine(llama, chat)
    opening = chat.tokenizer.encode(chat.style.open)
    opened = [Job(job.key, job.prompt_ids + opening, job.seed, 40) for job in jobs()]
    first = {job.key: alone(running, job.prompt_ids, 40, -1) for job in opened}
    end = max(set(range(104)) - set(opening), key=lambda t: sum(t in ids[2:20] for ids in first.values()))
    running._end_ids = (end,)
    other = Chat(chat.tokenizer)
    other.end_id = end
    budget = {"min_thinking_tokens": 24, "wait_text": "abab"}
    found = course_of(running, other, opened, max_new_tokens=40, budget=budget)
    waited = [job for job in opened if found[job.key].forced]
    assert waited
    for job in waited:
        sample, ((start, stop),) = found[job.key], found[job.key].forced
        assert sample.token_ids[start:stop] == chat.tokenizer.encode("abab")
        assert sample.token_ids[:start] == first[job.key][:start]
        rest = alone(running, job.prompt_ids + sample.token_ids[:stop], 40 - stop, end)
        assert sample.token_ids[stop:] == rest


def test_draws_follow_all_processors_of_generate(llama: Path, chat: Chat) -> None:
    """The scores that are drawn from are those of ``generate``, masks and all, along an output of its own."""
    running = engine(llama, chat)
    settings = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3}
    prompt = torch.tensor([jobs([9])[0].prompt_ids])
    torch.manual_seed(0)
    drawn = running._model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=True, pad_token_id=0,
        output_scores=True, output_logits=True, return_dict_in_generate=True, **settings,
    )  # fmt: skip
    chooser = Chooser(Sampling(max_new_tokens=20, **settings))
    cut = 0
    for at, (logits, scores) in enumerate(zip(drawn.logits, drawn.scores, strict=True)):
        ours = chooser.scores(logits, drawn.sequences[:, : 9 + at])
        assert torch.equal(ours, scores)
        cut += int(scores.isinf().sum())
    assert cut > 20 * 84


def test_each_setting_cuts_what_it_says() -> None:
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    history = torch.tensor([[0]])

    def kept(**values: Any) -> list[int]:
        scores = Chooser(validate(Sampling, {"temperature": 1.0, **values}, "sampling")).scores(logits, history)
        return [at for at in range(4) if not scores[0, at].isinf()]

    assert kept() == [0, 1, 2, 3]
    assert kept(top_k=2) == [0, 1]
    assert kept(top_p=0.65) == [0, 1]
    assert kept(min_p=0.45) == [0, 1, 2]
    assert kept(top_k=3, min_p=0.7) == [0, 1]
    greedy = Chooser(Sampling(repetition_penalty=100.0))
    assert Chooser(Sampling())(logits, history, [1], [0]) == [0]
    assert greedy(logits, history, [1], [0]) == [1]


def test_frequencies_are_the_probabilities() -> None:
    weights = torch.tensor([0.5, 0.25, 0.0, 0.15, 0.1, 0.0])
    chooser = Chooser(Sampling(temperature=1.0))
    for seeds, places in ((range(20000), [5] * 20000), ([5] * 20000, range(20000))):
        drawn = chooser(weights.log().expand(20000, -1), None, list(seeds), list(places))
        counts = torch.bincount(torch.tensor(drawn), minlength=6) / 20000
        assert float((counts - weights).abs().max()) < 0.02
        assert counts[2] == counts[5] == 0
    numbers = uniforms([0] * 1000, range(1000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert len(set(numbers.tolist())) == 1000


def test_batches_are_bounded_and_depend_on_jobs_alone() -> None:
    many = jobs([3, 50, 7, 7, 200, 20, 3, 3, 1], tokens=10)
    config = TransformersConfig(batch_size=4, max_batch_tokens=240)
    made = list(batches(many, config, 10))
    assert sorted(job.key for batch in made for job in batch) == sorted(job.key for job in many)
    for batch in made:
        assert len(batch) <= 4
        assert len(batch) == 1 or len(batch) * (max(len(job.prompt_ids) for job in batch) + 10) <= 240
    assert len(made[0]) == 1
    assert list(batches(many[::-1], config, 10)) == made


def test_what_does_not_fit_the_positions_fails_alone(llama: Path, chat: Chat) -> None:
    running = engine(llama, chat)
    found = outputs(running, [*jobs([5, 216]), Job("long", [1] * 217, 0, 40)], Sampling(max_new_tokens=40))
    assert found["long"].error == "257 tokens, the model has 256 positions"
    assert found["k1"].error is None


def test_half_precision(llama: Path, chat: Chat) -> None:
    running = engine(llama, chat, dtype="bfloat16", attention="eager")
    assert running._model.dtype == torch.bfloat16
    assert "bfloat16" in running.name
    found = outputs(running, jobs([5, 9], 6), Sampling(max_new_tokens=6))
    assert found["k0"].token_ids == alone(running, jobs([5, 9])[0].prompt_ids, 6, chat.end_id)
    running.close()


def test_rotary_embeddings_that_follow_the_length_are_drawn_alone(
    tmp_path: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(MODELS["llama, grouped heads"], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config["max_position_embeddings"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    running = engine(folder, chat)
    wanted = {job.key: alone(running, job.prompt_ids, 20, chat.end_id) for job in jobs([3, 9, 30, 40], 20)}
    found = outputs(running, jobs([3, 9, 30, 40], 20), Sampling(max_new_tokens=20))
    assert {key: output.token_ids for key, output in found.items()} == wanted


def test_adapters(llama: Path, chat: Chat, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(5)
    base = transformers.AutoModelForCausalLM.from_pretrained(llama)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(base, settings)
    adapted.save_pretrained(tmp_path / "a")
    running = engine(llama, chat, adapter=tmp_path / "a")
    found = outputs(running, jobs(tokens=20), Sampling(max_new_tokens=20))
    prompt = torch.tensor([jobs()[4].prompt_ids])
    wanted = adapted.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0,
        eos_token_id=chat.end_id,
    )[0, prompt.shape[1] :].tolist()  # fmt: skip
    assert found["k4"].token_ids == wanted
    plain = outputs(engine(llama, chat), jobs(tokens=20), Sampling(max_new_tokens=20))
    assert plain["k4"].token_ids != wanted
    # What the adapter holds is part of what decides the outputs; where it lies is not.
    (tmp_path / "a").rename(tmp_path / "b")
    moved = identity("transformers", TransformersConfig(adapter=tmp_path / "b"))
    assert moved != identity("transformers", TransformersConfig())
    assert "b" not in json.dumps(moved["adapter"]).split("/")
    weights = tmp_path / "b" / "adapter_model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert identity("transformers", TransformersConfig(adapter=tmp_path / "b")) != moved
    weights.rename(weights.with_name("adapter_model.bin"))
    with pytest.raises(DataError, match=r"no adapter_model\.safetensors"):
        engine(llama, chat, adapter=tmp_path / "b")


def test_a_killed_run_under_a_budget_ends_in_the_same_table(tmp_path: Path) -> None:
    """With a template that opens the thinking itself: closed by force, answered, or neither."""
    from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
    from long1k.rows import Prediction
    from long1k.stages.predict import EngineSpec, predict
    from long1k.tables import read_table
    from long1k.training.checkpoint import new_model
    from long1k.training.config import ModelInit
    from long1k.training.saving import save_checkpoint

    tokenizer = load_tokenizer("package:micro")
    assert tokenizer.template is not None
    opening = Chat(
        tokenizer, template=tokenizer.template.replace("<|assistant|>{% endif %}", "<|assistant|><think>\n{% endif %}")
    )
    model = new_model(ModelInit(hidden_size=32, num_heads=2, initializer_range=0.3), tokenizer, opening.end_id)
    save_checkpoint(model, tokenizer, opening.end_id, tmp_path / "model")
    budget = {"max_thinking_tokens": 9, "max_answer_tokens": 6, "min_thinking_tokens": 4, "wait_text": "ab"}
    values = {"max_new_tokens": 20, "temperature": 1.0, "samples": 2, "budget": budget}
    left = [10**6]

    class Killed(TransformersEngine):
        def run(self, jobs: Any, sampling: Any, done: Any, finished: Any = ()) -> None:
            def one(output: Output) -> Job | None:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                following: Job | None = done(output)
                return following

            super().run(jobs, sampling, one, finished)

    def run(name: str, outputs: int) -> Any:
        left[0] = outputs
        return predict(
            tmp_path / name, checkpoint=tmp_path / "model", benchmark_name="micro", chat=opening, arm="a", train_seed=0,
            benchmark=MicroBenchmark(MicroBenchmarkConfig(count=20)), sampling=validate(Sampling, values, "sampling"),
            engine=EngineSpec({"type": "transformers", "batch_size": 8}),
            start=lambda: Killed(TransformersConfig(batch_size=8), Serving(tmp_path / "model", opening)),
        )  # fmt: skip

    whole = run("whole", 10**6)
    for outputs in (13, 47):
        with pytest.raises(KeyboardInterrupt):
            run("killed", outputs)
    assert run("killed", 10**6).digest == whole.digest
    rows = read_table(tmp_path / "whole", Prediction)
    assert sum(bool(row.forced) for row in rows) > 30
    for row in rows:
        assert len(row.token_ids) <= 20
        behind = row.text.rpartition(opening.style.closing)
        assert (row.answer_text is None) == (not behind[1] or opening.style.opening in behind[2])

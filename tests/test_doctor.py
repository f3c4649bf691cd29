"""doctor: sound benchmarks pass, and every way to break one is found and named."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import MakePool
from long1k.benchmarks.base import Item
from long1k.benchmarks.gpqa import GpqaBenchmark, GpqaConfig
from long1k.benchmarks.jsonl import JsonlBenchmark, JsonlBenchmarkConfig
from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.generation.base import Sampling
from long1k.grading.base import Case, Grade
from long1k.grading.math import MathGrader
from long1k.grading.pool import Verdict
from long1k.joining.spec import JoinSpec
from long1k.rows import Message
from long1k.stages.doctor import as_json, examine, render
from long1k.stages.doctor.check import Check
from long1k.stages.predict import EngineSpec, predict
from long1k.stages.synthesize import synthesize
from long1k.tables import finish
from long1k.tokens import load_tokenizer
from realdata import real_data
from scripted import ScriptedEngine, letters, model_folder
from test_benchmarks_gpqa import row
from test_benchmarks_stored import lines, make
from test_recipe_cli import Run, long1k  # noqa: F401
from test_synthesize import TRACES

CHAT, MICRO = letters(), Chat(load_tokenizer("package:micro"))
FOLDER = str(CHAT.tokenizer.folder)


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    assert all(check.mend for check in checks if check.status in ("warn", "fail"))
    assert json.loads(json.dumps(as_json(list(checks))))["counts"]["fail"] == sum(c.status == "fail" for c in checks)
    text = render(checks)
    assert all(len(line) <= 100 or line.startswith("     ") for line in text.splitlines())
    return {check.name: check for check in checks}


def failing(checks: Iterable[Check]) -> set[str]:
    return {check.name for check in checks if check.status == "fail"}


def problems(folder: Path, count: int = 60, **change: Any) -> Path:
    rows = [
        {"problem": f"What is {n} + {n}?", "answer": str(2 * n), "solution": f"It is {n} + {n} = $\\boxed{{{2 * n}}}$.", **change}
        for n in range(count)
    ]  # fmt: skip
    return lines(folder / "rows.jsonl", *rows)


def look(benchmark: Any, **options: Any) -> list[Check]:
    return examine(benchmark, **{"chat": CHAT, "tokenized": True, **options})


def test_a_sound_benchmark_passes(tmp_path: Path) -> None:
    checks = look(make("jsonl", problems(tmp_path)))
    named = by_name(checks)
    assert failing(checks) == set()
    assert "60 of 60 gold answers" in named["gold answers"].text
    assert "60 of 60 worked solutions" in named["worked solutions"].text
    assert named["shuffled golds"].figures["statuses"] == {"wrong": 60}
    assert "What is 0 + 0?" in named["first prompt"].block
    assert re.search(r"the longest has \d+ \(row \d+, item-", named["prompts in tokens"].text)


def test_a_sound_choice_benchmark_passes(tmp_path: Path) -> None:
    checks = look(make("gpqa", lines(tmp_path / "g.jsonl", *map(row, range(198)))))
    named = by_name(checks)
    assert failing(checks) == set()
    assert named["gold letters"].figures["p"] > 0.001
    assert sum(named["gold letters"].figures["counts"].values()) == 198
    shuffled = named["shuffled golds"].figures  # of another letter none may count; the same letter tells nothing
    assert shuffled["statuses"] == {"wrong": shuffled["count"]}
    assert 0 < shuffled["equal"] == 198 - shuffled["count"]
    assert shuffled["most"] == 0
    assert "number 0" not in named["first prompt"].block
    assert "withheld" in named["first prompt"].block
    shown = by_name(look(make("gpqa", tmp_path / "g.jsonl"), show_question=True))
    assert "number 0" in shown["first prompt"].block


class Reseeded(GpqaBenchmark):
    """The classic fault: a generator that starts anew for each question, so that every gold is one letter."""

    def load(self) -> Iterator[Item]:
        for item in super().load():
            order = list(range(4))
            random.Random(42).shuffle(order)
            yield replace(item, answers=("ABCD"[order.index(0)],))


class Cut(JsonlBenchmark):
    """Prompts that keep their last 60 characters only."""

    def load(self) -> Iterator[Item]:
        for item in super().load():
            yield replace(item, messages=(Message("user", item.messages[0].content[-60:]),))


class Swapped(JsonlBenchmark):
    """Golds of neighbours exchanged."""

    def load(self) -> Iterator[Item]:
        items = list(super().load())
        for one, other in zip(items, [*items[1:], items[0]], strict=True):
            yield replace(one, answers=other.answers)


class Leaking(JsonlBenchmark):
    """The gold stands in the prompt."""

    def load(self) -> Iterator[Item]:
        for item in super().load():
            text = f"(\\boxed{{{item.answers[0]}}}) {item.messages[0].content}"
            yield replace(item, messages=(Message("user", text),))


class Twice(JsonlBenchmark):
    """Every question is asked twice, under one id."""

    def load(self) -> Iterator[Item]:
        for item in super().load():
            yield from (item, item)


def test_one_letter_for_all_is_found(tmp_path: Path) -> None:
    path = lines(tmp_path / "g.jsonl", *map(row, range(198)))
    checks = look(Reseeded(GpqaConfig(path=str(path))))
    assert failing(checks) == {"gold letters"}
    named = by_name(checks)
    assert "198 (100.0 %)" in named["gold letters"].text
    assert named["shuffled golds"].status == "info"  # the grader is not to blame
    assert "has its own: nothing to tell" in named["shuffled golds"].text
    assert named["constant answer"].status == "warn"


@pytest.mark.parametrize(
    ("broken", "names"),
    [(Cut, {"whole questions"}), (Swapped, {"worked solutions"}), (Leaking, {"leaks"}), (Twice, {"ids"})],
)
def test_broken_benchmarks_are_found(broken: type[JsonlBenchmark], names: set[str], tmp_path: Path) -> None:
    checks = look(broken(JsonlBenchmarkConfig(path=str(problems(tmp_path)))))
    assert failing(checks) == names
    assert by_name(checks)[next(iter(names))].evidence


def test_golds_that_no_answer_can_match_are_found(tmp_path: Path) -> None:
    rows = [{"problem": f"p{n}", "answer": "\\frac{1}{" if n == 3 else str(n)} for n in range(20)]
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows)))
    assert failing(checks) == {"gold answers"}
    (evidence,) = by_name(checks)["gold answers"].evidence
    assert "gold '\\frac{1}{'" in evidence
    assert failing(look(make("jsonl", tmp_path / "r.jsonl"), tolerate=0.05)) == set()


def test_solutions_that_state_nothing_are_counted(tmp_path: Path) -> None:
    rows = [
        {"problem": f"p{n}", "answer": str(n), "solution": "Obvious." if n < 2 else f"\\boxed{{{n}}}"}
        for n in range(20)
    ]
    named = by_name(look(make("jsonl", lines(tmp_path / "r.jsonl", *rows))))
    assert "10.0 % unparsed" in named["worked solutions"].text
    assert named["worked solutions"].status == "fail"


def test_a_grader_that_says_yes_to_all_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MathGrader, "grade_many", lambda self, pairs: [Verdict("correct", "") for _ in pairs])
    assert failing(look(make("jsonl", problems(tmp_path)))) == {"shuffled golds"}


class Lengths:
    """A grader from outside that has what the documentation asks for, and no more."""

    name = "lengths"
    version = "1"

    def __init__(self, num_workers: int = 1) -> None:
        self.num_workers = num_workers

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        same = [case.answer is not None and len(case.answer.value) == len(case.gold) for case in cases]
        return [Grade("correct" if one else "wrong", "", case.answer) for one, case in zip(same, cases, strict=True)]

    def close(self) -> None:
        """Nothing to end."""


def test_a_grader_from_outside_is_examined(tmp_path: Path) -> None:
    checks = look(make("jsonl", problems(tmp_path)), grader=f"{__name__}:Lengths")
    assert failing(checks) == {"shuffled golds"}


def test_letters_without_options_are_found(tmp_path: Path) -> None:
    rows = [{"problem": f"Which {n}?", "answer": "ABCD"[n % 4]} for n in range(40)]
    assert failing(look(make("jsonl", lines(tmp_path / "r.jsonl", *rows), grader="choice"))) == {"options"}
    rows = [{**one, "answer": "42"} for one in rows]
    assert {"gold letters", "gold answers"} <= failing(
        look(make("jsonl", lines(tmp_path / "s.jsonl", *rows), grader="choice"))
    )


def test_a_model_that_cannot_stop_or_has_no_room(tmp_path: Path) -> None:
    benchmark = make("jsonl", problems(tmp_path))
    folder = model_folder(tmp_path / "model")
    assert failing(look(benchmark, model=folder)) == set()
    assert failing(look(benchmark, model=folder, max_new_tokens=4050)) == {"room"}
    (folder / "generation_config.json").write_text('{"eos_token_id": [7]}')
    assert failing(look(benchmark, model=folder)) == {"end token"}


def test_the_wrong_thinking_style_is_found(tmp_path: Path) -> None:
    opened = f"{CHAT.tokenizer.template}{{% if add_generation_prompt %}}<think>\n{{% endif %}}"
    chat = Chat(load_tokenizer(FOLDER), "openthoughts", template=opened)
    assert "thinking style" in failing(look(make("jsonl", problems(tmp_path)), chat=chat))


# --- training and outputs ---------------------------------------------------------------------------------


def test_training_prompts_are_compared_token_by_token(tmp_path: Path, make_pool: MakePool) -> None:
    make_pool(tmp_path / "pool", TRACES)
    samples = tmp_path / "samples"
    synthesize(
        samples, tmp_path / "pool", arm="a", specs=[JoinSpec(target=60, samples=6, linkers="micro", tolerance=0.05)],
        seed=0, chat=MICRO,
    )  # fmt: skip
    benchmark = MicroBenchmark(MicroBenchmarkConfig(count=20, steps=(1, 3)))
    named = by_name(look(benchmark, chat=MICRO, train=(samples, MICRO)))
    assert named["train = predict"].status == named["end token trained"].status == "ok"
    assert failing(named.values()) == set()
    boxed = by_name(look(make("jsonl", problems(tmp_path)), chat=MICRO, train=(samples, MICRO)))
    assert boxed["instruction"].status == "warn"  # these samples ask for no box
    assert "lack" not in boxed["whole questions"].text
    assert boxed["prompts in tokens"].status == "fail"  # this tokenizer has no letters beyond p
    other = Chat(load_tokenizer("package:micro"), system="Be brief.")
    checks = look(benchmark, chat=other, train=(samples, MICRO))
    assert failing(checks) == {"train = predict"}
    assert "from token 1 on: trained" in by_name(checks)["train = predict"].evidence[0]
    assert "system" in (by_name(checks)["train = predict"].mend or "")


def right(prompt: str, sample: int) -> tuple[str, str]:
    number = int(re.findall(r"(\d+) \+", prompt)[-1])
    return f"<think>\nsample {sample}\n</think>\n\nIt is \\boxed{{{2 * number}}}", "stop"


def predicted(folder: Path, benchmark: Any, says: Any = right, **sampling: Any) -> Path:
    ScriptedEngine.says = staticmethod(says)
    model = folder / "model"
    if not model.exists():
        model_folder(model)
    out = folder / f"predictions-{len(list(folder.iterdir()))}"
    predict(
        out, checkpoint=model, benchmark_name="sums", benchmark=benchmark, chat=CHAT, arm="a", train_seed=None,
        sampling=Sampling(**{"max_new_tokens": 200, **sampling}), engine=EngineSpec({"type": "scripted:ScriptedEngine"}),
    )  # fmt: skip
    return out


def cut(prompt: str, sample: int) -> tuple[str, str]:
    return ("<think>\nhm", "length") if "What is 7 " in prompt or "What is 8 " in prompt else right(prompt, sample)


def foreign(prompt: str, sample: int) -> tuple[str, str]:
    text, reason = right(prompt, sample)
    return text.replace("<think>", "<|begin_of_thought|>").replace("</think>", "<|end_of_thought|>"), reason


def unclosed(prompt: str, sample: int) -> tuple[str, str]:
    return right(prompt, sample)[0].replace("</think>", ""), "stop"


def endless(prompt: str, sample: int) -> tuple[str, str]:
    return right(prompt, sample)[0], "length"


def mute(prompt: str, sample: int) -> tuple[str, str]:
    return "<think>\nx\n</think>\n\nThat is easy", "stop"


def copied(prompt: str, sample: int) -> tuple[str, str]:
    return "<think>\n" + "so on and on " * 30 + right(prompt, 0)[0][8:], "stop"


def one_text(prompt: str, sample: int) -> tuple[str, str]:
    return "<think>\n" + "so on and on " * 30 + "\n</think>\n\n\\boxed{4}", "stop"


@pytest.mark.parametrize(
    ("says", "sampling", "status", "name"),
    [
        (cut, {}, "warn", "cut outputs"),
        (foreign, {}, "fail", "thinking style of outputs"),
        (unclosed, {}, "warn", "unclosed thinking"),
        (endless, {}, "fail", "outputs that end"),
        (mute, {}, "warn", "unparsed answers"),
        (copied, {"samples": 3, "temperature": 1.0}, "fail", "equal outputs"),
        (copied, {"samples": 3, "temperature": 0.0}, "warn", "equal outputs"),
        (one_text, {"temperature": 1.0}, "fail", "equal outputs"),
    ],
)
def test_outputs_are_examined(says: Any, sampling: dict[str, Any], status: str, name: str, tmp_path: Path) -> None:
    benchmark = make("jsonl", problems(tmp_path))
    sound = {"samples": 2, "temperature": 1.0}
    named = by_name(look(benchmark, predictions=predicted(tmp_path, benchmark, **sound)))
    assert {check.status for check in named.values()} == {"ok", "info"}
    named = by_name(
        look(benchmark, predictions=predicted(tmp_path, benchmark, says, **{"max_new_tokens": 600, **sampling}))
    )
    assert named[name].status == status


def test_a_seed_that_is_used_twice_is_found_in_short_outputs(tmp_path: Path) -> None:
    benchmark = make("jsonl", problems(tmp_path))

    def twice(prompt: str, sample: int) -> tuple[str, str]:
        return right(prompt, 0 if sample == 3 else sample)

    checks = look(benchmark, predictions=predicted(tmp_path, benchmark, twice, samples=4, temperature=1.0))
    assert "samples 0 and 3 are equal on 60 of 60 questions" in by_name(checks)["equal outputs"].text

    def chance(prompt: str, sample: int) -> tuple[str, str]:
        return right(prompt, random.Random(f"{prompt}{sample}").randrange(3))

    checks = look(benchmark, predictions=predicted(tmp_path, benchmark, chance, samples=4, temperature=1.0))
    assert by_name(checks)["equal outputs"].status == "ok"
    assert by_name(checks)["equal outputs"].figures["equal"] > 60


def test_outputs_to_other_questions_or_other_prompts_are_found(tmp_path: Path) -> None:
    benchmark = make("jsonl", problems(tmp_path))
    folder = predicted(tmp_path, benchmark)
    assert failing(look(make("jsonl", problems(tmp_path, 50)), predictions=folder)) == {"same questions"}
    problems(tmp_path, 60)
    other = Chat(load_tokenizer(FOLDER), system="Be brief.")
    assert failing(look(make("jsonl", tmp_path / "rows.jsonl"), chat=other, predictions=folder)) == {"same prompts"}
    other_golds = problems(tmp_path, 60, answer="1", solution=None)
    checks = look(make("jsonl", other_golds), predictions=folder)
    assert "60 questions have another gold answer now" in by_name(checks)["same questions"].text


def test_the_command(tmp_path: Path, long1k: Run) -> None:  # noqa: F811
    path = problems(tmp_path)
    ran = long1k("doctor", "--benchmark", "jsonl", "--option", f"path={path}")
    assert ran.code == 0
    assert ran.out.endswith("\n\n5 checks, none failed; 2 notes\n")
    assert "give --model to count tokens" in ran.out
    model = model_folder(tmp_path / "model")
    ran = long1k("doctor", "--benchmark", "test_doctor:Cut", "--option", f"path={path}", "--model", model, "--json")
    assert ran.code == 1
    report = json.loads(ran.out)
    assert report["counts"]["fail"] == 1
    assert next(c for c in report["checks"] if c["status"] == "fail")["name"] == "whole questions"
    both = long1k("doctor", "--benchmark", "jsonl", "--option", f"path={path}", "--model", model, "--tokenizer", FOLDER)
    assert both.code == 2
    assert "two tokenizers" in both.err
    assert long1k("doctor", "--benchmark", "jsonl").code == 2
    assert long1k("doctor", "--benchmark", "math500", "--option", "path=nowhere.jsonl").code == 1


@pytest.mark.parametrize("file", ["math500.jsonl", "aime24.jsonl", "aime25.jsonl"])
def test_real_benchmarks_pass_with_a_real_tokenizer(file: str) -> None:
    name = file.removesuffix(".jsonl")
    chat = Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))
    checks = look(make(name, real_data("benchmarks", file)), chat=chat)
    assert failing(checks) == set()
    assert by_name(checks)["gold answers"].figures["statuses"] == {"correct": 500 if name == "math500" else 30}
    if name == "math500":
        assert by_name(checks)["worked solutions"].figures["statuses"] == {"correct": 500}


def test_a_checkpoint_says_how_it_was_trained(tmp_path: Path, long1k: Run) -> None:  # noqa: F811
    model = model_folder(tmp_path / "model")
    finish(model, stage="train/1", config={"chat": CHAT.describe()}, inputs={}, digest="d", files=[], started=0.0)
    path = problems(tmp_path)
    common = ("doctor", "--benchmark", "jsonl", "--option", f"path={path}", "--train", model)
    ran = long1k(*common)
    assert (ran.code, ran.err) == (0, "")
    assert "tokenizer, template, thinking style and system message are those of the training" in " ".join(
        ran.out.split()
    )
    ran = long1k(*common, "--tokenizer", FOLDER, "--thinking", "openthoughts")
    assert ran.code == 1
    assert "was trained with another thinking than is used here" in " ".join(ran.out.split())
    ran = long1k("doctor", "--benchmark", "jsonl", "--option", f"path={path}", "--grader", "judge")
    assert (ran.code, "give a rule" in ran.err) == (2, True)

"""Every raw row is a trace or a rejected row with its reason; a broken file is an error that says what to do."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k import cli_pool
from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.curation.lint import lint_text
from long1k.curation.normalize import Fault, Parts, split_response
from long1k.errors import DataError, RecipeError
from long1k.executors import Executor
from long1k.jsonlines import BadRow, read_json_lines
from long1k.plugins import validate
from long1k.rows import Trace
from long1k.sources.jsonl import JsonlConfig, JsonlSource
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.sources.raw import RawTrace
from long1k.stages.collect import collect
from long1k.tables import MANIFEST, Manifest, read_rejected, read_table
from long1k.tokens import load_tokenizer
from realdata import real_data

GOOD = {"question": "a⊕b", "answer": "c", "thinking": "a⊕b=c.", "solution": "\\boxed{c}"}
GOOD_LINE = json.dumps(GOOD)


def _write(folder: Path, *lines: str | bytes | dict[str, Any], name: str = "rows.jsonl") -> Path:
    raw = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    data = b"".join(
        (line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")) + b"\n" for line in raw
    )
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def _jsonl(path: Path, **config: Any) -> JsonlSource:
    return JsonlSource(JsonlConfig(path=str(path), **config))


def _collect(
    out: Path, source: Any, chat: Chat, *, workers: int = 1, part_rows: int = 4096, excluded: Any = None, **config: Any
) -> Manifest:
    sources = source if isinstance(source, list) else [("rows", source)]
    made = collect(
        out, sources, CollectConfig(**config), chat, executor=Executor(workers), part_rows=part_rows, excluded=excluded
    )
    assert made.rows_in == made.rows_out + sum(made.rejected.values())
    assert Counter(row.reason for row in read_rejected(out)) == made.rejected
    assert len(read_table(out, Trace)) == made.rows_out
    return made


# --- lines ------------------------------------------------------------------------------------------------

BAD_LINES: dict[str, tuple[Any, str]] = {
    "malformed": ('{"question": "a', "malformed_json"),
    "two objects": (GOOD_LINE + GOOD_LINE, "malformed_json"),
    "array": ('["a"]', "not_an_object"),
    "number": ("5", "not_an_object"),
    "null": ("null", "not_an_object"),
    "string": ('"text"', "not_an_object"),
    "utf-8": (GOOD_LINE.encode().replace(b"boxed{c", b"boxed{\xff\xfe"), "invalid_utf8"),
    "deep": ("[" * 50_000 + "]" * 50_000, "malformed_json"),
    "deep object": ('{"a":' * 50_000 + "1" + "}" * 50_000, "malformed_json"),
    "question list": ({**GOOD, "question": ["a⊕b"]}, "wrong_type"),
    "thinking number": ({**GOOD, "thinking": 5}, "wrong_type"),
    "answer bool": ({**GOOD, "answer": True}, "wrong_type"),
    "subject object": ({**GOOD, "subject": {}}, "wrong_type"),
    "no question": ({k: v for k, v in GOOD.items() if k != "question"}, "missing_field"),
    "empty question": ({**GOOD, "question": ""}, "missing_field"),
    "no solution": ({k: v for k, v in GOOD.items() if k != "solution"}, "missing_field"),
    "nothing": ({}, "missing_field"),
    "no gold": ({**GOOD, "answer": None}, "no_gold"),
    "blank question": ({**GOOD, "question": " \n"}, "empty_field"),
    "empty answer": ({**GOOD, "answer": ""}, "empty_field"),
    "empty thinking": ({**GOOD, "thinking": ""}, "empty_field"),
    "nul byte": ({**GOOD, "thinking": "a\x00b"}, "nul_byte"),
    "raw nul byte": (GOOD_LINE.encode().replace(b"=c.", b"=c.\x00"), "malformed_json"),
    "lone surrogate": (GOOD_LINE.replace("=c.", "=c.\\ud800"), "invalid_unicode"),
    "surrogate question": (
        '{"question": "\\udc00", "answer": "c", "thinking": "a", "solution": "c"}',
        "invalid_unicode",
    ),
    "surrogate in bad row": ('{"answer": "\\ud800"}', "missing_field"),
    "special token": ({**GOOD, "solution": "\\boxed{c}<|end|>"}, "special_token"),
    "special question": ({**GOOD, "question": "a⊕b<|user|>"}, "special_token"),
    "unknown word": ({**GOOD, "thinking": "zebra a⊕b=c."}, "unknown_token"),
    "wrong answer": ({**GOOD, "solution": "\\boxed{d}"}, "wrong_answer"),
    "no answer": ({**GOOD, "solution": "c d"}, "no_answer"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_row_is_rejected_with_its_reason(name: str, tmp_path: Path, micro_chat: Chat) -> None:
    line, reason = BAD_LINES[name]
    path = _write(tmp_path, GOOD_LINE, line, {**GOOD, "question": "c⊕d"})
    made = _collect(tmp_path / "out", _jsonl(path), micro_chat)
    assert (made.rows_in, made.rows_out, made.rejected) == (3, 2, {reason: 1})
    rejected = read_rejected(tmp_path / "out")[0]
    assert rejected.source == "rows"
    assert rejected.source_row == "2"
    assert rejected.evidence
    assert rejected.row
    assert len(rejected.row) <= 4000


def test_bad_rows_of_all_kinds_together(tmp_path: Path, micro_chat: Chat) -> None:
    path = _write(tmp_path, *(line for line, _ in BAD_LINES.values()), name="rows.jsonl.gz")
    made = _collect(tmp_path / "out", _jsonl(path), micro_chat, part_rows=7)
    assert made.rows_out == 0
    assert made.rejected == Counter(reason for _, reason in BAD_LINES.values())
    assert [int(row.source_row) for row in read_rejected(tmp_path / "out") if row.reason == "wrong_type"] == [
        10,
        11,
        12,
        13,
    ]


HUGE_NUMBER = '{"question": "a⊕b", "answer": ' + "1" * 5000 + ', "thinking": "a⊕b=c.", "solution": "\\\\boxed{c}"}'


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(HUGE_NUMBER, id="number of 5000 digits"),
        pytest.param({**GOOD, "question": "c⊕d", "teacher": "\ud800"}, id="surrogate teacher"),
        pytest.param({**GOOD, "question": "c⊕d", "subject": "\ud800"}, id="surrogate subject"),
        pytest.param({**GOOD, "question": "c⊕d", "license": "\ud800"}, id="surrogate license"),
        pytest.param({**GOOD, "question": "c⊕d", "id": "\ud800"}, id="surrogate id"),
        pytest.param({**GOOD, "id": "\ud800", "answer": "d"}, id="surrogate id of a rejected row"),
    ],
)
def test_a_bad_value_outside_the_texts_stops_nothing(line: Any, tmp_path: Path, micro_chat: Chat) -> None:
    path = _write(tmp_path, GOOD_LINE, line)
    made = _collect(tmp_path / "out", _jsonl(path), micro_chat)
    assert (made.rows_in, made.rows_out) in ((2, 1), (2, 2))


def test_empty_lines_are_no_rows(tmp_path: Path, micro_chat: Chat) -> None:
    path = _write(tmp_path, "", GOOD_LINE, "   ", b"\r", "")
    made = _collect(tmp_path / "out", _jsonl(path), micro_chat)
    assert (made.rows_in, made.rows_out) == (1, 1)
    assert read_table(tmp_path / "out", Trace)[0].source_row == "2"


@pytest.mark.parametrize("lines", [(), ("", "  ")])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_an_empty_file_is_a_data_error(lines: Sequence[str], name: str, tmp_path: Path, micro_chat: Chat) -> None:
    with pytest.raises(DataError, match=r"no rows in rows[\s\S]*-> check the path"):
        _collect(tmp_path / "out", _jsonl(_write(tmp_path, *lines, name=name)), micro_chat)
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_a_missing_file_is_a_data_error(tmp_path: Path, micro_chat: Chat) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent.jsonl[\s\S]*-> check the path"):
        _collect(tmp_path / "out", _jsonl(tmp_path / "absent.jsonl"), micro_chat)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="there is no file"):
        list(read_json_lines(tmp_path))


@pytest.mark.parametrize("damage", ["plain", "short", "flipped", "header"])
def test_a_broken_gzip_file_is_a_data_error(damage: str, tmp_path: Path, micro_chat: Chat) -> None:
    whole = gzip.compress("".join(f'{{"question": "{i}"}}\n' for i in range(9000)).encode())
    middle = len(whole) // 2
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes({
        "plain": GOOD_LINE.encode(), "short": whole[:-20], "header": whole[:5],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) * 30 + whole[middle + 30 :],
    }[damage])  # fmt: skip
    with pytest.raises(DataError, match=r"not a whole gzip file[\s\S]*-> fetch the file again"):
        _collect(tmp_path / "out", _jsonl(path), micro_chat)
    assert not (tmp_path / "out" / MANIFEST).exists()


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b and b.strip()), max_size=8))
def test_any_bytes_give_one_row_a_line(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("bytes") / "rows.jsonl"
    path.write_bytes(b"[]\n" + b"".join(line + b"\n" for line in lines))  # a file's first bytes say what it is
    found = list(_jsonl(path).load())
    assert len(found) == len(lines) + 1
    assert all(isinstance(row, BadRow) and row.reason for row in found)


# --- fields -----------------------------------------------------------------------------------------------


def test_names_of_published_files_are_known_and_mapped_ones_win(tmp_path: Path) -> None:
    row = {
        "problem": "q", "prompt": "not this", "final_answer": 7, "deepseek_reasoning": "t", "deepseek_solution": "s",
        "level": "Level 4.5", "type": "algebra", "model": "m", "id": "x",
    }  # fmt: skip
    path = _write(tmp_path, row)
    (found,) = _jsonl(path, license="MIT").load()
    assert isinstance(found, RawTrace)
    assert (found.question, found.answer, found.thinking, found.solution, found.response) == ("q", "7", "t", "s", None)
    assert (found.difficulty, found.difficulty_origin, found.subject) == (4.5, "column level", "algebra")
    assert (found.teacher, found.license, found.source_row) == ("m", "MIT", "1:x")
    (mapped,) = _jsonl(path, fields={"question": "prompt", "teacher": "absent"}, teacher="t").load()
    assert isinstance(mapped, RawTrace)
    assert (mapped.question, mapped.teacher) == ("not this", "t")


def test_limit_counts_rows_and_bad_ones_too(tmp_path: Path) -> None:
    path = _write(tmp_path, "{", GOOD_LINE, GOOD_LINE)
    assert [type(row) for row in _jsonl(path, limit=2).load()] == [BadRow, RawTrace]


def test_an_unknown_field_and_an_unset_variable_are_recipe_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"unknown field.*quest.*known: question"):
        validate(JsonlConfig, {"path": "x", "fields": {"quest": "q"}}, "source")
    monkeypatch.delenv("LONG1K_NOT_SET", raising=False)
    with pytest.raises(RecipeError, match=r"LONG1K_NOT_SET[\s\S]*export LONG1K_NOT_SET"):
        JsonlSource(JsonlConfig(path="${LONG1K_NOT_SET}/x.jsonl"))
    monkeypatch.setenv("LONG1K_NOT_SET", str(tmp_path))
    assert JsonlSource(JsonlConfig(path="${LONG1K_NOT_SET}/x.jsonl")).path == tmp_path / "x.jsonl"


# --- tags -------------------------------------------------------------------------------------------------

B, E, SB, SE = "<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nhm\n</think>\n\n5", ("hm", "5", "tags")),
        ("hm</think>5", ("hm", "5", "tags")),
        (f"{B}\n\nhm\n\n{E}\n\n{SB}\n\n5\n\n{SE}", ("hm", "5", "tags")),
        (f"{B}hm{E}5", ("hm", "5", "tags")),
        ("hm hm.\n\nSo \\boxed{5}.", ("hm hm.", "So \\boxed{5}.", "final_answer")),
        ("hm.\n\n**Final Answer**\n\n\\boxed{5}", ("hm.", "**Final Answer**\n\n\\boxed{5}", "final_answer")),
        ("hm. So \\boxed{5}", ("hm.", "So \\boxed{5}", "final_answer")),
        ("hm.\n\nThe final answer is:\n\\boxed{5}", ("hm.", "The final answer is:\n\\boxed{5}", "final_answer")),
    ],
)
def test_thinking_and_solution_are_told_apart(text: str, parts: tuple[str, str, str]) -> None:
    assert split_response(text) == Parts(*parts)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>hm \\boxed{5}", "unclosed_thinking"),
        (f"{B}hm", "unclosed_thinking"),
        ("</think>5</think>", "orphan_tag"),
        ("<think>a<think>b</think>5", "orphan_tag"),
        ("<think>a</think>b</think>5", "orphan_tag"),
        ("a</think>5<think>", "orphan_tag"),
        ("lead <think>a</think>5", "orphan_tag"),
        (f"<think>a</think>{B}b{E}5", "orphan_tag"),
        (f"a{E}{SB}5", "orphan_tag"),
        (f"a{E}{SB}5{SE}{SE}", "orphan_tag"),
        (f"a{SB}{E}5{SE}", "orphan_tag"),
        (f"{SB}5{SE}", "orphan_tag"),
        ("<think></think>5", "empty_thinking"),
        ("<think> \n </think>5", "empty_thinking"),
        ("</think>5", "empty_thinking"),
        ("<think>hm</think>", "empty_solution"),
        ("<think>hm</think>\n \n", "empty_solution"),
        ("", "no_final_answer"),
        ("hm, I do not know", "no_final_answer"),
        ("\\boxed{5}", "empty_thinking"),
    ],
)
def test_tags_that_are_not_in_order_are_faults(text: str, reason: str) -> None:
    fault = split_response(text)
    assert isinstance(fault, Fault)
    assert fault.reason == reason
    assert fault.evidence


def test_required_tags_reject_what_is_not_closed() -> None:
    fault = split_response("hm.\n\nSo \\boxed{5}.", "required")
    assert isinstance(fault, Fault)
    assert fault.reason == "unclosed_thinking"
    assert split_response("hm</think>5", "required") == Parts("hm", "5", "tags")


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", B, E, SB, SE, "a", "\n\n", "\\boxed{5}", "So ", ". "]), max_size=10
    )
)
def test_parts_never_hold_tags_and_lose_no_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = split_response(text)
    if isinstance(parts, Fault):
        assert parts.reason
        return
    for tag in ("<think>", "</think>", B, E, SB, SE):
        assert tag not in parts.thinking + parts.solution
        text = text.replace(tag, "")
    assert parts.thinking
    assert parts.solution
    assert "".join((parts.thinking + parts.solution).split()) == "".join(text.split())


def test_responses_go_through_collect(tmp_path: Path, micro_chat: Chat) -> None:
    rows = [
        {"question": "a⊕b", "answer": "c", "response": text}
        for text in ("<think>\na⊕b=c.\n</think>\n\n\\boxed{c}", "<think>a⊕b=c.", "", "a⊕b=c. \\boxed{c}")
    ]
    path = _write(tmp_path, *rows)
    made = _collect(tmp_path / "auto", _jsonl(path), micro_chat)
    assert made.rejected == {"no_final_answer": 1, "unclosed_thinking": 1, "duplicate": 1}
    assert made.info["split"] == {"tags": 1}
    made = _collect(tmp_path / "required", _jsonl(path, tags="required"), micro_chat)
    assert made.rejected == {"unclosed_thinking": 3}


def test_lint_names_the_first_fault() -> None:
    assert lint_text("x", "fine", ["<|end|>", ""]) is None
    found = lint_text("x", "a\x00<|end|>", ["<|end|>"])
    assert found is not None
    assert (found.reason, found.evidence) == ("nul_byte", "x: a NUL at character 1")


# --- verification, duplicates, contamination --------------------------------------------------------------


def _verdict_rows(folder: Path) -> Path:
    return _write(
        folder,
        GOOD,
        {**GOOD, "solution": "\\boxed{d}"},
        {**GOOD, "solution": "d c b"},
        {**GOOD, "question": "c⊕d", "answer": None},
    )


def test_wrong_answers_are_dropped_marked_or_not_looked_at(tmp_path: Path, micro_chat: Chat) -> None:
    path = _verdict_rows(tmp_path)
    drop = _collect(tmp_path / "drop", _jsonl(path), micro_chat, verify="drop")
    assert (drop.rows_out, drop.rejected) == (1, {"wrong_answer": 1, "no_answer": 1, "no_gold": 1})
    evidence = {row.reason: row.evidence for row in read_rejected(tmp_path / "drop")}
    assert evidence["wrong_answer"] == "answer 'd', gold 'c'"
    mark = _collect(tmp_path / "mark", _jsonl(path), micro_chat, verify="mark")
    assert (mark.rows_out, mark.rejected) == (4, {})
    assert [trace.correct for trace in read_table(tmp_path / "mark", Trace)] == [True, False, False, None]
    keep = _collect(tmp_path / "keep", _jsonl(path), micro_chat, verify="keep")
    assert [trace.correct for trace in read_table(tmp_path / "keep", Trace)] == [None] * 4
    assert keep.rejected == {}


def test_duplicates_are_found_across_parts_and_sources(tmp_path: Path, micro_chat: Chat) -> None:
    other = {**GOOD, "thinking": "Wait, check: a⊕b=c."}
    path = _write(tmp_path, GOOD, other, GOOD, {**GOOD, "question": "b⊕a"}, {**GOOD, "teacher": "else"})
    made = _collect(tmp_path / "out", [("x", _jsonl(path)), ("y", _jsonl(path))], micro_chat, part_rows=2)
    assert (made.rows_in, made.rows_out, made.rejected) == (10, 3, {"duplicate": 7})
    kept = read_table(tmp_path / "out", Trace)
    assert len({trace.trace_id for trace in kept}) == 3
    assert len({trace.problem_id for trace in kept}) == 2
    assert {trace.source for trace in kept} == {"x"}
    most = _collect(tmp_path / "most", _jsonl(path), micro_chat, max_traces_per_problem=1, part_rows=1)
    assert (most.rows_out, most.rejected) == (2, {"duplicate": 2, "enough_of_problem": 1})
    off = _collect(tmp_path / "off", _jsonl(path), micro_chat, dedup=False)
    assert (off.rows_out, off.rejected) == (5, {})


def test_problems_of_a_benchmark_are_rejected(tmp_path: Path, micro_chat: Chat) -> None:
    path = _write(tmp_path, GOOD, {**GOOD, "question": "c⊕d"}, {**GOOD, "question": " C ⊕ d. "})
    excluded = {"bench": [("item-1", "c ⊕ D?")]}
    made = _collect(tmp_path / "out", _jsonl(path), micro_chat, excluded=excluded)
    assert made.rejected.get("in_benchmark", 0) + made.rejected.get("unknown_token", 0) == 2
    shown = [row.evidence for row in read_rejected(tmp_path / "out") if row.reason == "in_benchmark"]
    assert shown
    assert all("bench/item-1" in text for text in shown)
    assert made.info["excluded_questions"] == 1
    allowed = _collect(tmp_path / "allowed", _jsonl(path), micro_chat, excluded=excluded, exclude_benchmarks=False)
    assert "in_benchmark" not in allowed.rejected


# --- the same whatever happened on the way ----------------------------------------------------------------


def _mixed(folder: Path, *, algebra: bool) -> Path:
    """Good, malformed, doubled and wrong rows; the wrong ones need a worker process to tell, or not."""
    wrong = {"answer": "\\frac{1}{2}"} if algebra else {"answer": "5", "solution": "\\boxed{7}"}
    good = [raw for raw in MicroSource(MicroConfig(count=40, seed=5)).load() if isinstance(raw, RawTrace)]
    rows: list[Any] = []
    for i, raw in enumerate(good):
        row = {"question": raw.question, "answer": raw.answer, "thinking": raw.thinking, "solution": raw.solution}
        rows.append("{" if i % 11 == 5 else {**row, **(wrong if i % 7 == 0 else {})})
    rows.insert(30, json.dumps({k: getattr(good[1], k) for k in ("question", "answer", "thinking", "solution")}))
    return _write(folder, *rows)


def test_the_digest_does_not_depend_on_workers(tmp_path: Path, micro_chat: Chat) -> None:
    path = _mixed(tmp_path, algebra=True)
    one = _collect(tmp_path / "one", _jsonl(path), micro_chat, workers=1, part_rows=16)
    two = _collect(tmp_path / "two", _jsonl(path), micro_chat, workers=2, part_rows=16)
    assert one.digest == two.digest
    assert one.fingerprint == two.fingerprint
    assert set(one.rejected) == {"duplicate", "malformed_json", "wrong_answer"}


class _Stops:
    """A source that is killed after some rows."""

    Config = JsonlConfig

    def __init__(self, source: JsonlSource, after: int) -> None:
        self._source, self._after = source, after
        self.config = source.config

    def describe(self) -> str:
        return self._source.describe()

    def digest(self) -> str:
        return self._source.digest()

    def load(self) -> Iterator[RawTrace | BadRow]:
        for number, row in enumerate(self._source.load()):
            if number == self._after:
                raise KeyboardInterrupt
            yield row


@pytest.mark.parametrize("after", [0, 8, 9, 17, 40])
def test_collect_goes_on_after_a_kill(after: int, tmp_path: Path, micro_chat: Chat) -> None:
    source = _jsonl(_mixed(tmp_path, algebra=False))
    undisturbed = _collect(tmp_path / "undisturbed", source, micro_chat, part_rows=8, max_traces_per_problem=1)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _collect(out, _Stops(source, after), micro_chat, part_rows=8, max_traces_per_problem=1)
    assert not (out / MANIFEST).exists()
    assert len(list((out / "staged").glob("keys-*"))) == after // 8
    made = _collect(out, source, micro_chat, part_rows=8, max_traces_per_problem=1)
    assert not (out / "staged").exists()
    assert (made.digest, made.rejected, made.info) == (undisturbed.digest, undisturbed.rejected, undisturbed.info)


def test_a_finished_pool_is_left_alone_until_something_changes(tmp_path: Path, micro_chat: Chat) -> None:
    path = _write(tmp_path, GOOD)
    first = _collect(tmp_path / "out", _jsonl(path), micro_chat)
    assert _collect(tmp_path / "out", _jsonl(path), micro_chat) == first
    assert _collect(tmp_path / "out", _jsonl(path), micro_chat, verify="keep").fingerprint != first.fingerprint
    assert _collect(tmp_path / "out", _jsonl(path), micro_chat).digest == first.digest
    path.write_text(GOOD_LINE + "\n" + json.dumps({**GOOD, "question": "c⊕d"}) + "\n")
    assert _collect(tmp_path / "out", _jsonl(path), micro_chat).rows_out == 2


def test_micro_traces_are_all_kept_and_counted(tmp_path: Path, micro_chat: Chat) -> None:
    made = _collect(tmp_path / "out", MicroSource(MicroConfig(count=60, steps=(2, 3))), micro_chat)
    assert set(made.rejected) <= {"duplicate"}
    for trace in read_table(tmp_path / "out", Trace):
        counts = [len(micro_chat.tokenizer.encode(t)) for t in (trace.question, trace.thinking, trace.solution)]
        assert counts == [trace.num_question_tokens, trace.num_thinking_tokens, trace.num_solution_tokens]
        assert trace.correct is True
        assert trace.difficulty == len(trace.question.split("⊕")) - 1


def test_micro_rows_depend_on_seed_and_index_alone() -> None:
    long = list(MicroSource(MicroConfig(count=30)).load())
    assert list(MicroSource(MicroConfig(count=10)).load()) == long[:10]
    assert list(MicroSource(MicroConfig(count=30, seed=1)).load()) != long


# --- real data --------------------------------------------------------------------------------------------


def test_real_traces_are_collected(tmp_path: Path) -> None:
    files = {
        "limo": ("limo_multi_source", "auto"), "rollouts": ("math_4problems_many_rollouts", "required"),
        "r1": ("math_r1_distill_uzaymacar", "required"), "aime": ("aime_journey_shortcut", "auto"),
    }  # fmt: skip
    sources = [
        (name, _jsonl(real_data("traces", f"{stem}.jsonl.gz"), tags=tags)) for name, (stem, tags) in files.items()
    ]
    chat = Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))
    made = _collect(tmp_path / "out", sources, chat, workers=2)
    lines = 0
    for stem, _ in files.values():
        with gzip.open(real_data("traces", f"{stem}.jsonl.gz"), "rb") as handle:
            lines += sum(1 for line in handle if line.strip())
    assert made.rows_in == lines
    assert made.rows_out > 3000
    assert made.rejected["wrong_answer"] > 0
    assert made.rejected["unclosed_thinking"] > 0
    traces = read_table(tmp_path / "out", Trace)
    assert {trace.source for trace in traces} == set(files)
    assert all(trace.correct for trace in traces)
    for trace in traces[::200]:
        assert trace.num_thinking_tokens == len(chat.tokenizer.encode(trace.thinking))


def test_a_benchmark_without_a_problem_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(DataError, match="holds no problem to leave out"):
        cli_pool._excluded([str(tmp_path / "empty.jsonl")])

"""Samples out and back in: every format returns the same messages, ids and fields, or refuses with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from long1k.chat import Chat, documents_of
from long1k.errors import DataError, IncompleteError, RecipeError
from long1k.interop import export as export_module
from long1k.interop.export import export_samples
from long1k.interop.export_config import FORMATS, ExportConfig, export_config, row_schema
from long1k.interop.formats import (
    PROVENANCE,
    SHAPES,
    Refusal,
    provenance_of,
    to_alpaca,
    to_messages,
    to_sharegpt,
    with_system,
)  # fmt: skip
from long1k.interop.formats_reading import Parsed, parse_chatml, read_row, restore
from long1k.interop.llamafactory import cutoff, match_template, training_file
from long1k.interop.shards import count_problems, data_paths, import_samples, natural_key
from long1k.interop.tokenized import IGNORED, from_tokenized, to_tokenized, tokenized_provenance
from long1k.rows import Example, Message, Span, content_id
from long1k.tables import Manifest, TableWriter, read_manifest, read_rejected, read_table
from long1k.tokens import Tokenizer, load_tokenizer
from long1k.training.data import make_rows
from realdata import real_data

U, A, S = "user", "assistant", "system"


def sample(chat: Chat, *turns: tuple[str, str], prompt: int = 1, **changes: Any) -> Example:
    """A sample of these turns, the first ``prompt`` of them its prompt."""
    messages = tuple(Message(role, text) for role, text in turns)
    total, supervised = chat.count_example(messages[:prompt], messages[prompt:])
    values: dict[str, Any] = {
        "example_id": content_id("e", *(text for turn in turns for text in turn)), "arm": "L9",
        "prompt": messages[:prompt], "completion": messages[prompt:], "answers": ("c",), "trace_ids": ("t-1",),
        "problem_ids": ("p-1",), "sources": ("src#4",), "licenses": ("MIT",), "linkers": (),
        "spans": (Span("question", 0, prompt - 1, 0, 1),), "mode": "single", "target_tokens": 9,
        "num_tokens": total, "num_supervised_tokens": supervised, "num_problems": 1,
    }  # fmt: skip
    return Example(**(values | changes))


def table(folder: Path, rows: list[Example], chat: Chat, part_rows: int = 3) -> Manifest:
    writer = TableWriter(
        folder, Example, stage="synthesize/1", config={"chat": chat.describe()},
        inputs={"pool": content_id("x", *(row.example_id for row in rows))},
    )  # fmt: skip
    parts = [rows[at : at + part_rows] for at in range(0, len(rows), part_rows)] or [[]]
    for number, part in enumerate(parts):
        writer.write_part(number, part)
    return writer.commit(len(parts), {"tokenizer_folder": str(chat.tokenizer.folder), "groups": []})


@pytest.fixture
def two(micro_chat: Chat) -> list[Example]:
    """One sample of one turn, one of two turns."""
    return [
        sample(micro_chat, (U, "a⊕b"), (A, "<think>\na⊕b=c.\n</think>\n\n\\boxed{c}")),
        sample(
            micro_chat, (U, "a⊕b"), (A, "\\boxed{c}"), (U, "b⊕c"), (A, "\\boxed{d}"), num_problems=2, mode="independent",
            linkers=("", "Next:"), target_tokens=None,
        ),
    ]  # fmt: skip


# --- round trips ------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00<|>\r"), min_size=1, max_size=30)
WORDS = TEXT.filter(lambda text: text.strip() != "")
LISTS = st.lists(TEXT, max_size=2).map(tuple)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    pairs = draw(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
    messages = [Message(role, text) for pair in pairs for role, text in zip((U, A), pair, strict=True)]
    if draw(st.booleans()):
        messages.insert(0, Message(S, draw(WORDS)))
    context = draw(st.integers(0, len(pairs) - 1))
    split = next(i for i, m in enumerate(messages) if m.role == A) + 2 * context
    texts = [m.content for m in messages]
    return Example(
        content_id("e", *texts), draw(TEXT), tuple(messages[:split]), tuple(messages[split:]), draw(LISTS), draw(LISTS),
        draw(LISTS), draw(LISTS), draw(LISTS), draw(LISTS), (Span("question", 0, 0, 0, len(texts[0])),), draw(TEXT),
        draw(st.none() | st.integers(1, 10**6)), 7, 5, draw(st.integers(1, 9)),
    )  # fmt: skip


@given(examples(), st.sampled_from(sorted(SHAPES)))
@settings(max_examples=200, deadline=None)
def test_a_shape_gives_the_sample_back_or_refuses_it(example: Example, name: str) -> None:
    made = SHAPES[name](example)
    trained_context = any(m.role == A for m in example.prompt)
    assert isinstance(made, Refusal) == (trained_context and name != "prompt-completion")
    if isinstance(made, Refusal):
        assert made.reason == "untrained_turn"
        return
    bare = read_row(json.loads(json.dumps({"id": example.example_id, **made})))
    assert isinstance(bare, Parsed)
    assert (bare.prompt, bare.completion, bare.example_id) == (example.prompt, example.completion, example.example_id)
    assert bare.provenance is None
    whole = read_row(json.loads(json.dumps({"id": example.example_id, **made, PROVENANCE: provenance_of(example)})))
    assert isinstance(whole, Parsed)
    assert restore(whole, example.example_id, 7, 5) == example


@pytest.fixture(scope="module")
def qwen() -> Chat:
    return Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))


@given(example=examples(), carried=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_token_ids_give_the_sample_back(qwen: Chat, example: Example, carried: bool) -> None:
    total, supervised = qwen.count_example(example.prompt, example.completion)
    made = to_tokenized(replace(example, num_tokens=total), qwen)
    assert isinstance(made, dict)
    assert made["length"] == total == len(made["input_ids"]) == len(made["labels"])
    assert sum(label != IGNORED for label in made["labels"]) == supervised
    row = {"id": example.example_id, **made}
    if carried:
        row[PROVENANCE] = tokenized_provenance(example)
    read = from_tokenized(row, qwen)
    if isinstance(read, Refusal):  # the tokenizer writes some characters in another form (NFC); ids cannot undo that
        assert not carried
        encoded = qwen.encode_example(example.prompt, example.completion)
        assert qwen.tokenizer.decode(encoded.ids) != "".join(
            text for text, _ in qwen.segments([*example.prompt, *example.completion])
        )
        return
    if carried:
        assert (read.prompt, read.completion) == (example.prompt, example.completion)
        assert restore(read, example.example_id, 7, 5) == example
    else:
        assert qwen.encode_example(read.prompt, read.completion).ids == made["input_ids"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("carried", [True, False])
def test_export_then_import_is_lossless(
    name: str, carried: bool, two: list[Example], micro_chat: Chat, qwen: Chat, tmp_path: Path
) -> None:
    chat = qwen if name in ("llamafactory", "tokenized") else micro_chat
    rows = []
    for one in two:
        counts = chat.count_example(one.prompt, one.completion)
        rows.append(replace(one, num_tokens=counts[0], num_supervised_tokens=counts[1]))
    table(tmp_path / "in", rows, chat, part_rows=1)
    config = export_config(name, carried, rows_per_file=1)
    made = export_samples(tmp_path / "out", tmp_path / "in", config, chat=chat)
    assert (made.rows_in, made.rows_out, made.rejected) == (2, 2, {})
    assert made.info["facts"]["tokens"] == sum(row.num_tokens for row in rows)
    back = import_samples(tmp_path / "back", [tmp_path / "out"], chat=chat, name="again")
    read = read_table(tmp_path / "back", Example)
    if carried or name in ("parquet", "jsonl"):
        assert read == rows
        assert back.info["restored"] == 2
        assert back.info["recounted"] == 0
    else:
        for one, row in zip(read, rows, strict=True):
            for field in ("example_id", "prompt", "completion", "num_tokens", "num_supervised_tokens"):
                assert getattr(one, field) == getattr(row, field)
            assert (one.arm, one.mode, one.trace_ids, one.licenses) == ("again", "imported", (), ("unknown",))
        assert [one.num_problems for one in read] == [1, 2]


# --- what a format cannot hold ----------------------------------------------------------------------------


def test_a_system_message_goes_into_the_rows_and_spans_move(micro_chat: Chat) -> None:
    one = sample(micro_chat, (U, "a"), (A, "b"))
    made = with_system(one, "Be brief.")
    assert made.prompt == (Message(S, "Be brief."), Message(U, "a"))
    assert made.spans[0].message == one.spans[0].message + 1
    assert with_system(made, "Other") is made
    assert with_system(one, None) is one
    assert to_sharegpt(made) == {
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
    }


def test_the_system_text_of_the_renderer_is_written_out(micro_chat: Chat, qwen: Chat, tmp_path: Path) -> None:
    chat = Chat(qwen.tokenizer, system="Be brief.")
    table(tmp_path / "in", [sample(chat, (U, "a"), (A, "b"))], chat)
    export_samples(tmp_path / "out", tmp_path / "in", export_config("messages"))
    row = json.loads(next((tmp_path / "out").glob("data-*")).read_text())
    assert row["messages"][0] == {"role": "system", "content": "Be brief."}
    # Read without that system text, the sample has the same tokens: it carries the text itself now.
    made = import_samples(tmp_path / "back", [tmp_path / "out"], chat=qwen, name="x")
    assert made.info["recounted"] == 0


REFUSED: dict[str, tuple[tuple[tuple[str, str], ...], int, str]] = {
    "context": (((U, "a"), (A, "b"), (U, "c"), (A, "d")), 3, "untrained_turn"),
    "two users": (((U, "a"), (U, "b"), (A, "c")), 2, "turns_do_not_alternate"),
    "system later": (((U, "a"), (A, "b"), (S, "c"), (A, "d")), 1, "turns_do_not_alternate"),
    "empty system": (((S, ""), (U, "a"), (A, "b")), 2, "empty_system"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_shapes_refuse_what_they_cannot_hold(case: str, qwen: Chat) -> None:
    turns, prompt, reason = REFUSED[case]
    one = sample(qwen, *turns, prompt=prompt)
    for shape in (to_sharegpt, to_alpaca):
        made = shape(one)
        assert isinstance(made, Refusal)
        assert made.reason == reason
    assert isinstance(to_messages(one), Refusal) == (case == "context")


def test_refused_samples_are_counted_and_kept_with_the_reason(
    two: list[Example], micro_chat: Chat, tmp_path: Path
) -> None:
    context = sample(micro_chat, (U, "a"), (A, "b"), (U, "c"), (A, "d"), prompt=3)
    table(tmp_path / "in", [two[0], context, two[1]], micro_chat)
    made = export_samples(tmp_path / "out", tmp_path / "in", export_config("sharegpt", rows_per_file=2))
    assert (made.rows_in, made.rows_out, made.rejected) == (3, 2, {"untrained_turn": 1})
    assert made.info["facts"]["rows"] == 2
    [row] = read_rejected(tmp_path / "out")
    assert (row.reason, row.source_row) == ("untrained_turn", context.example_id)
    table(tmp_path / "none", [context], micro_chat)
    with pytest.raises(DataError, match="no sample fits the format alpaca: untrained_turn"):
        export_samples(tmp_path / "x", tmp_path / "none", export_config("alpaca"))


# --- folders ----------------------------------------------------------------------------------------------


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'llamafactory'"):
        export_config("llama-factory")
    with pytest.raises(RecipeError, match="known: parquet, jsonl"):
        export_config("zzz")
    with pytest.raises(RecipeError, match="--template goes with"):
        export_config("jsonl", template="qwen")
    assert not export_config("tokenized").provenance
    assert export_config("alpaca").provenance


def test_an_export_of_other_things_is_refused(
    two: list[Example], micro_chat: Chat, tmp_path: Path, make_pool: Any, make_trace: Any
) -> None:
    config = export_config("jsonl")
    make_pool(tmp_path / "pool", [make_trace("a⊕b", "x", "\\boxed{c}")])
    with pytest.raises(DataError, match=r"holds no samples \(its columns: trace_id"):
        export_samples(tmp_path / "out", tmp_path / "pool", config)
    table(tmp_path / "in", two, micro_chat)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "holiday.jpg").write_text("precious")
    with pytest.raises(DataError, match="did not make"):
        export_samples(tmp_path / "used", tmp_path / "in", config)
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["holiday.jpg"]
    with pytest.raises(DataError, match="needs the tokenizer"):
        export_samples(tmp_path / "out", tmp_path / "in", export_config("tokenized"))
    export_samples(tmp_path / "jsonl", tmp_path / "in", config)
    with pytest.raises(DataError, match="holds no samples"):
        export_samples(tmp_path / "out", tmp_path / "jsonl", config)


@pytest.mark.parametrize("name", ["jsonl", "tokenized", "alpaca"])
def test_a_killed_export_goes_on_and_gives_the_same(
    name: str, micro_chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [sample(micro_chat, (U, f"{s}⊕b"), (A, "\\boxed{c}")) for s in "abcdefgh"]
    rows.insert(1, sample(micro_chat, (U, "a"), (A, "b"), (U, "c"), (A, "d"), prompt=3))
    table(tmp_path / "in", rows, micro_chat)
    config = export_config(name, rows_per_file=2)
    whole = export_samples(tmp_path / "whole", tmp_path / "in", config, chat=micro_chat)
    real, written = export_module._write_file, []

    def dying(path: Path, *rest: Any) -> Any:
        if len(written) == 3:
            path.with_name(f".{path.name}.1.tmp").write_text("half")
            raise KeyboardInterrupt
        written.append(path)
        return real(path, *rest)

    monkeypatch.setattr(export_module, "_write_file", dying)
    with pytest.raises(KeyboardInterrupt):
        export_samples(tmp_path / "out", tmp_path / "in", config, chat=micro_chat)
    with pytest.raises(IncompleteError):
        read_manifest(tmp_path / "out")
    written.clear()
    monkeypatch.setattr(export_module, "_write_file", lambda path, *rest: (written.append(path), real(path, *rest))[1])
    made = export_samples(tmp_path / "out", tmp_path / "in", config, chat=micro_chat)
    assert len(written) == 2  # five files, three were there
    assert (made.digest, made.info, made.rejected) == (whole.digest, whole.info, whole.rejected)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )
    written.clear()
    assert export_samples(tmp_path / "out", tmp_path / "in", config, chat=micro_chat) == made
    assert written == []


def test_files_are_numbered_and_nothing_foreign_lies_beside_them(
    two: list[Example], micro_chat: Chat, tmp_path: Path
) -> None:
    table(tmp_path / "in", two, micro_chat)
    export_samples(tmp_path / "out", tmp_path / "in", export_config("messages", rows_per_file=1))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "data-00000-of-00002.jsonl", "data-00001-of-00002.jsonl", "manifest.json",
    ]  # fmt: skip


# --- LLaMA-Factory ----------------------------------------------------------------------------------------


def test_the_template_is_found_by_rendering(qwen: Chat, micro_chat: Chat, tmp_path: Path) -> None:
    assert match_template(qwen) == ("qwen", None)
    assert match_template(Chat(qwen.tokenizer, system="Be brief.")) == ("chatml", "Be brief.")
    with pytest.raises(DataError, match="no LLaMA-Factory template is known"):
        match_template(micro_chat)
    source = Path(str(qwen.tokenizer.folder))
    for template, expected in (
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", ("chatml", None)),
        ("<|im_start|>system\nHelp.<|im_end|>\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
         "\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", ("chatml", "Help.")),
    ):  # fmt: skip
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "tokenizer.json").symlink_to(source / "tokenizer.json")
        (folder / "chat_template.jinja").write_text(template)
        assert match_template(Chat(Tokenizer(folder))) == expected


def test_llamafactory_gets_all_it_reads(two: list[Example], qwen: Chat, tmp_path: Path) -> None:
    rows = [sample(qwen, *((m.role, m.content) for m in (*one.prompt, *one.completion))) for one in two]
    table(tmp_path / "in", rows, qwen)
    made = export_samples(tmp_path / "out", tmp_path / "in", export_config("llamafactory"), chat=qwen)
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["long1k"]
    data = list((tmp_path / "out" / info["file_name"]).iterdir())
    row = json.loads(data[0].read_text().splitlines()[1])
    assert [turn[info["tags"]["role_tag"]] for turn in row[info["columns"]["messages"]]] == ["human", "gpt"] * 2
    assert row[info["columns"]["system"]] == ""
    settings_ = yaml.safe_load((tmp_path / "out" / "train.yaml").read_text())
    longest = max(row.num_tokens for row in rows)
    assert settings_["cutoff_len"] > longest + 1
    assert (settings_["template"], settings_["mask_history"]) == ("qwen", False)
    assert settings_["per_device_train_batch_size"] * settings_["gradient_accumulation_steps"] * 8 == 16
    assert json.loads((tmp_path / "out" / settings_["deepspeed"]).read_text())["zero_optimization"]["stage"] == 3
    assert {"dataset_info.json", "train.yaml", "ds_z3_offload.json"} <= set(made.files)


def test_untrained_turns_become_mask_history_or_are_refused(qwen: Chat, tmp_path: Path) -> None:
    turns = ((U, "a"), (A, "b"), (U, "c"), (A, "d"))
    rows = [sample(qwen, *turns, prompt=3), sample(qwen, *turns[:2]), sample(qwen, (U, "x"), *turns[1:])]
    table(tmp_path / "in", rows, qwen)
    made = export_samples(tmp_path / "out", tmp_path / "in", export_config("llamafactory"), chat=qwen)
    assert yaml.safe_load((tmp_path / "out" / "train.yaml").read_text())["mask_history"] is True
    assert (made.rows_out, made.rejected) == (2, {"several_trained_turns": 1})


def test_cutoff_leaves_room() -> None:
    for longest in (1, 254, 255, 256, 6054):
        assert longest + 2 <= cutoff(longest) < longest + 2 + 256
    assert "mask_history" in training_file("qwen", 5, True)


# --- in ---------------------------------------------------------------------------------------------------

CHATML = (
    "<|im_start|>system\nBe good.<|im_end|>\n<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n"
)
THOUGHT = (
    "<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n\\boxed{5}\n\n<|end_of_solution|>"
)
JOINED = "Problem 1: What is 2+3?\n\nProblem 2: What is 1+1?"


def test_published_shards_are_merged_in_natural_order(qwen: Chat, tmp_path: Path) -> None:
    folder = tmp_path / "LONG1k"
    folder.mkdir()
    for number in range(1, 12):
        q = JOINED if number == 11 else f"What is {number}?"
        alpaca = {"instruction": q, "input": "", "output": THOUGHT}
        rows = [alpaca if number % 2 else {"text": CHATML.format(q=q, a=THOUGHT)}]
        (folder / f"long_{number}.json").write_text(json.dumps(rows))
    (folder / "manifest.json").write_text("{}")
    made = import_samples(tmp_path / "out", [folder], chat=qwen, name="long1k", license_name="Apache-2.0")
    rows = read_table(tmp_path / "out", Example)
    assert (made.rows_in, made.rows_out) == (11, 11)
    users = [next(m.content for m in row.prompt if m.role == U) for row in rows]
    assert users == [*(f"What is {n}?" for n in range(1, 11)), JOINED]
    assert rows[1].prompt[0] == Message(S, "Be good.")
    assert all(row.completion == (Message(A, THOUGHT),) for row in rows)
    assert [row.num_problems for row in rows] == [1] * 10 + [2]
    assert {(row.arm, row.mode, row.trace_ids, row.licenses) for row in rows} == {
        ("long1k", "imported", (), ("Apache-2.0",))
    }
    assert rows[9].sources == ("long1k#long_10.json:1",)
    for row in rows:
        encoded = qwen.encode_example(row.prompt, row.completion)
        assert (row.num_tokens, row.num_supervised_tokens) == (len(encoded.ids), sum(encoded.trained))


BAD: dict[str, tuple[Any, str]] = {
    "not an object": (5, "not_an_object"),
    "no shape": ({"a": 1}, "missing_field"),
    "no output": ({"instruction": "q"}, "missing_field"),
    "number": ({"instruction": "q", "output": 5}, "missing_field"),
    "history": ({"instruction": "q", "output": "a", "history": [["x"]]}, "wrong_type"),
    "role": ({"messages": [{"role": "tool", "content": "x"}]}, "unknown_role"),
    "no content": ({"messages": [{"role": "user"}]}, "wrong_type"),
    "no answer": ({"messages": [{"role": "user", "content": "x"}]}, "no_answer_turn"),
    "no user": ({"messages": [{"role": "assistant", "content": "x"}]}, "no_user"),
    "empty answer": ({"instruction": "q", "output": " "}, "empty_completion"),
    "cut text": ({"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na"}, "unclosed_turn"),
    "plain text": ({"text": "hello"}, "not_chatml"),
    "end token inside": ({"instruction": "q<|im_end|>", "output": "a"}, "special_token"),
    "nul": ({"instruction": "q\x00", "output": "a"}, "invalid_unicode"),
    "half a pair": ({"instruction": "q\ud800", "output": "a"}, "invalid_unicode"),
    "other ids": ({"input_ids": [999_999_999], "labels": [1]}, "other_tokens"),
    "labels short": ({"input_ids": [1, 2], "labels": [1]}, "wrong_type"),
    "no labels": ({"input_ids": [1, 2]}, "wrong_type"),
    "empty prompt": ({"prompt": [], "completion": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "wrong_type"),
}  # fmt: skip


def test_what_is_no_sample_is_rejected_with_its_reason(qwen: Chat, tmp_path: Path) -> None:
    good = {"instruction": "q", "input": "more", "output": "a"}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([good, *(row for row, _ in BAD.values())]))
    made = import_samples(tmp_path / "out", [path], chat=qwen, name="x")
    assert (made.rows_in, made.rows_out) == (1 + len(BAD), 1)
    found = read_rejected(tmp_path / "out")
    assert {row.source_row: row.reason for row in found} == {
        str(number): reason for number, (_, reason) in enumerate(BAD.values(), 2)
    }
    assert all(row.evidence and row.source == "rows.json" for row in found)
    [row] = read_table(tmp_path / "out", Example)
    assert row.prompt == (Message(U, "q\nmore"),)


def test_files_that_cannot_be_read_say_so(qwen: Chat, tmp_path: Path) -> None:
    for name, text, message in (
        ("cut.json", '[{"instruction": "q"', "cannot be read"),
        ("text.json", '"hello"', "no list of rows"),
        ("bad.parquet", "no parquet", "cannot be read"),
        ("none.json", "[5]", "no usable samples.*not_an_object"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            import_samples(tmp_path / "out", [tmp_path / name], chat=qwen, name="x")
    with pytest.raises(DataError, match="nor a folder"):
        import_samples(tmp_path / "out", [tmp_path / "absent"], chat=qwen, name="x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data files"):
        import_samples(tmp_path / "out", [tmp_path / "empty"], chat=qwen, name="x")
    (tmp_path / "empty" / "progress.json").write_text("{}")
    with pytest.raises(IncompleteError, match="never finished"):
        import_samples(tmp_path / "out", [tmp_path / "empty"], chat=qwen, name="x")


def test_lines_under_a_json_ending_are_read(qwen: Chat, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"instruction": "q", "output": "a"}\n{"prompt": "q2", "completion": "a"}\n')
    assert import_samples(tmp_path / "out", [path], chat=qwen, name="x").rows_out == 2


def test_a_column_of_that_name_from_elsewhere_is_left(qwen: Chat, tmp_path: Path) -> None:
    one = json.loads(provenance_of(sample(qwen, (U, "a"), (A, "b"))))
    strange: list[Any] = [
        "text", "{}", json.dumps({**one, "num_problems": "x"}), json.dumps({**one, "spans": [1]}), 7, json.dumps([1]),
        json.dumps({**one, "num_prompt_messages": 0}), json.dumps({**one, "answers": [1]}),
    ]  # fmt: skip
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": "q", "output": "a", "id": 5, PROVENANCE: value} for value in strange]))
    made = import_samples(tmp_path / "out", [path], chat=qwen, name="x")
    assert (made.rows_out, made.info["restored"]) == (len(strange), 0)


def test_counts_are_todays_tokenizers(two: list[Example], micro_chat: Chat, qwen: Chat, tmp_path: Path) -> None:
    table(tmp_path / "in", two, micro_chat)
    export_samples(tmp_path / "out", tmp_path / "in", export_config("parquet"))
    made = import_samples(tmp_path / "back", [tmp_path / "out"], chat=qwen, name="x")
    assert made.info["recounted"] == 2
    rows = read_table(tmp_path / "back", Example)
    assert rows[0].num_tokens == qwen.count_example(rows[0].prompt, rows[0].completion)[0]
    assert rows[0].spans == two[0].spans


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["What is 1?"], 1),
        ([JOINED], 2),
        (["**Problem 1**: x"], 1),
        (["Problem 2: x"], 1),
        (["Question 1. a\nQuestion 2. b\nQuestion 3. c"], 3),
        (["a", "b"], 2),
    ],
)
def test_problems_are_counted_by_their_labels(texts: list[str], expected: int) -> None:
    turns = [Message(role, text) for text in texts for role in (U, A)]
    assert count_problems(Parsed(tuple(turns[:1]), tuple(turns[1:]))) == expected


def test_natural_order() -> None:
    names = ["a/part10.json", "a/part2.json", "a/part1.json", "a/b.json", "A/part3.json"]
    ordered = [path.as_posix() for path in sorted(map(Path, names), key=natural_key)]
    assert ordered == ["a/b.json", "a/part1.json", "a/part2.json", "A/part3.json", "a/part10.json"]


def test_chatml_keeps_every_character() -> None:
    text = CHATML.format(q="  two\n\nlines ", a=THOUGHT)
    assert parse_chatml(text) == [Message(S, "Be good."), Message(U, "  two\n\nlines "), Message(A, THOUGHT)]
    broken = parse_chatml("x" + text)
    assert isinstance(broken, Refusal)
    assert broken.reason == "not_chatml"


def test_written_parquet_has_the_stated_columns(two: list[Example], micro_chat: Chat, tmp_path: Path) -> None:
    table(tmp_path / "in", two, micro_chat)
    for name in ("parquet", "tokenized"):
        config = ExportConfig(format=name, provenance=True)
        export_samples(tmp_path / name, tmp_path / "in", config, chat=micro_chat)
        [path] = (tmp_path / name).glob("data-*")
        assert pq.read_schema(path).names == row_schema(config).names


# --- two conversations in one row -------------------------------------------------------------------------


def pair_of(chat: Chat) -> Example:
    """A masked pair: the two conversations are counted each for itself."""
    turns = ((U, "a⊕b"), (A, "<think>\nfirst\n</think>\n\n\\boxed{c}"), (U, "b⊕c"), (A, "\\boxed{d}"))
    made = sample(chat, *turns, mode="masked_pair", num_problems=2)
    total, supervised = chat.count_documents_of(made.mode, made.prompt, made.completion)
    return replace(made, num_tokens=total, num_supervised_tokens=supervised)


@pytest.mark.parametrize("name", [*sorted(SHAPES), "llamafactory"])
def test_messages_refuse_a_masked_pair(name: str, two: list[Example], qwen: Chat, tmp_path: Path) -> None:
    single = sample(qwen, (U, "a⊕b"), (A, "\\boxed{c}"))
    table(tmp_path / "in", [single, pair_of(qwen)], qwen)
    made = export_samples(tmp_path / "out", tmp_path / "in", export_config(name), chat=qwen)
    assert (made.rows_in, made.rows_out, made.rejected) == (2, 1, {"several_conversations": 1})


@pytest.mark.parametrize("name", ["parquet", "jsonl", "tokenized"])
def test_a_masked_pair_goes_out_and_comes_back(name: str, qwen: Chat, tmp_path: Path) -> None:
    rows = [pair_of(qwen), sample(qwen, (U, "a⊕b"), (A, "\\boxed{c}"))]
    table(tmp_path / "in", rows, qwen)
    export_samples(tmp_path / "out", tmp_path / "in", export_config(name, True), chat=qwen)
    back = import_samples(tmp_path / "back", [tmp_path / "out"], chat=qwen, name="again")
    assert read_table(tmp_path / "back", Example) == rows
    assert (back.info["restored"], back.info["recounted"]) == (2, 0)


def test_token_ids_say_where_each_conversation_begins(qwen: Chat, tmp_path: Path) -> None:
    pair, single = pair_of(qwen), sample(qwen, (U, "a⊕b"), (A, "\\boxed{c}"))
    table(tmp_path / "in", [pair, single], qwen)
    export_samples(tmp_path / "out", tmp_path / "in", export_config("tokenized"), chat=qwen)
    first, second = pq.read_table(tmp_path / "out/data-00000-of-00001.parquet").to_pylist()
    turns = [*pair.prompt, *pair.completion]
    halves = [qwen.encode_example(turns[:1], turns[1:2]).ids, qwen.encode_example(turns[2:3], turns[3:]).ids]
    assert first["input_ids"] == halves[0] + halves[1]
    assert first["lengths"] == [len(half) for half in halves]
    assert first["position_ids"] == [*range(len(halves[0])), *range(len(halves[1]))]
    assert second["lengths"] == [single.num_tokens]
    [made] = make_rows([pair], qwen, None)
    assert (made.input_ids, made.labels, made.lengths) == (first["input_ids"], first["labels"], first["lengths"])
    refused = import_samples(tmp_path / "back", [tmp_path / "out"], chat=qwen, name="again")
    assert refused.rejected == {"several_conversations": 1}  # ids alone cannot say it


def test_an_ordinary_table_has_no_positions(qwen: Chat, tmp_path: Path) -> None:
    table(tmp_path / "in", [sample(qwen, (U, "a⊕b"), (A, "\\boxed{c}"))], qwen)
    export_samples(tmp_path / "out", tmp_path / "in", export_config("tokenized"), chat=qwen)
    names = pq.read_schema(tmp_path / "out/data-00000-of-00001.parquet").names
    assert names == ["id", "input_ids", "labels", "length"]


def test_a_system_message_holds_for_both_of_a_masked_pair() -> None:
    turns = [Message(S, "s"), Message(U, "q"), Message(A, "a"), Message(U, "r"), Message(A, "b")]
    found = documents_of("masked_pair", turns[:2], turns[2:])
    assert [[m.content for m in (*prompt, *completion)] for prompt, completion in found] == [
        ["s", "q", "a"],
        ["s", "r", "b"],
    ]


def test_only_files_of_ours_are_no_data(tmp_path: Path) -> None:
    """Rejected rows and DeepSpeed's settings are left; names of others that begin alike are data."""
    for name in ("ds_train.jsonl", "rejected_answers.jsonl", "ds_z3_offload.json", "rejected.parquet"):
        (tmp_path / name).write_text("{}\n")
    assert [path.name for path in data_paths([tmp_path])] == ["ds_train.jsonl", "rejected_answers.jsonl"]

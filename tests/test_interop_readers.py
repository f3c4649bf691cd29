"""Other libraries read what is written: datasets every format, TRL the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.interop.card import write_card
from long1k.interop.export import export_samples
from long1k.interop.export_config import FORMATS, export_config, row_schema
from long1k.interop.formats import provenance_of
from long1k.rows import Example, Trace
from long1k.tables import read_manifest
from long1k.tokens import load_tokenizer
from realdata import need_extra, real_data
from test_interop_formats import A, U, sample, table

need_extra("datasets")


def load(folder: Path, **options: Any) -> Any:
    """A folder through datasets, without its shared cache."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"), **options)


@pytest.fixture(scope="module")
def qwen() -> Chat:
    return Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))


@pytest.fixture
def mixed(qwen: Chat) -> list[Example]:
    """Samples of one turn without linking words, then samples of two turns with them."""
    thought = "<think>\nhm\n</think>\n\n"
    one = [
        sample(qwen, (U, f"{n} + 1?"), (A, f"{thought}\\boxed{{{n + 1}}}"), spans=(), target_tokens=None)
        for n in range(5)
    ]
    two = [
        sample(
            qwen, (U, f"{n}?"), (A, f"{thought}\\boxed{{{n}}}"), (U, "And then?"), (A, f"{thought}\\boxed{{1}}"),
            linkers=("", "Next:"), num_problems=2,
        )
        for n in range(3)
    ]  # fmt: skip
    return [*one, *two]


@pytest.mark.parametrize("name", FORMATS)
def test_datasets_reads_every_format(name: str, mixed: list[Example], qwen: Chat, tmp_path: Path) -> None:
    table(tmp_path / "in", mixed, qwen)
    config = export_config(name, rows_per_file=3)
    manifest = export_samples(tmp_path / "out", tmp_path / "in", config, chat=qwen)
    write_card(tmp_path / "out", manifest, Example)
    read = load(tmp_path / "out")
    assert read.num_rows == len(mixed)
    assert read.column_names == row_schema(config).names
    assert [row.get("id", row.get("example_id")) for row in read] == [row.example_id for row in mixed]
    last = read[-1]
    if name == "alpaca":
        assert last["history"] == [["2?", mixed[-1].completion[0].content]]
    if name in ("parquet", "jsonl"):
        assert last["linkers"] == ["", "Next:"]
        assert last["target_tokens"] == 9
    elif name != "tokenized":
        assert last["long1k"] == provenance_of(mixed[-1])


def test_the_card_gives_types_that_early_rows_do_not_show(qwen: Chat, tmp_path: Path) -> None:
    """Files are read in pieces of about 10 MB; without the card the first piece decides the types."""
    import datasets

    long_text = "word " * 200_000
    first = [sample(qwen, (U, f"{n} {long_text}"), (A, "x"), num_tokens=1) for n in range(14)]
    table(tmp_path / "in", [*first, sample(qwen, (U, "a"), (A, "b"), (U, "c"), (A, "d"))], qwen)
    manifest = export_samples(tmp_path / "out", tmp_path / "in", export_config("alpaca"))
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        load(tmp_path / "out", data_files="data-*.jsonl")
    write_card(tmp_path / "out", manifest, Example)
    assert load(tmp_path / "out")[-1]["history"] == [["a", "b"]]


def test_datasets_reads_tables_with_a_card(
    mixed: list[Example], qwen: Chat, tmp_path: Path, make_pool: Any, make_trace: Any
) -> None:
    table(tmp_path / "in", mixed, qwen)
    make_pool(tmp_path / "pool", [make_trace("a⊕b", "x", "\\boxed{c}")])
    for name, kind in (("in", Example), ("pool", Trace)):
        write_card(tmp_path / name, read_manifest(tmp_path / name), kind)
        assert load(tmp_path / name).num_rows == read_manifest(tmp_path / name).rows_out


def _trl_rows(folder: Path, **options: Any) -> Any:
    """The rows that TRL's trainer makes of an export."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(str(real_data("tokenizer_qwen2")))
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1,
        )
    )  # fmt: skip
    arguments = SFTConfig(
        output_dir=str(folder.parent / "trl"), max_length=None, report_to="none", use_cpu=True, **options
    )
    return SFTTrainer(model=model, processing_class=tokenizer, train_dataset=load(folder), args=arguments).train_dataset


@pytest.mark.parametrize(("name", "options"), [("prompt-completion", {}), ("messages", {"assistant_only_loss": True})])
def test_trl_makes_our_tokens_and_trains_line_feeds_too(
    name: str, options: dict[str, Any], mixed: list[Example], qwen: Chat, tmp_path: Path
) -> None:
    need_extra("trl")
    feed = qwen.tokenizer.encode("\n")
    table(tmp_path / "in", mixed, qwen)
    for one in (name, "tokenized"):
        export_samples(tmp_path / one, tmp_path / "in", export_config(one, provenance=False), chat=qwen)
        write_card(tmp_path / one, read_manifest(tmp_path / one), Example)
    theirs, ours = _trl_rows(tmp_path / name, **options), load(tmp_path / "tokenized")
    for number, (row, own) in enumerate(zip(theirs, ours, strict=True)):
        assert row["input_ids"] == own["input_ids"] + feed
        labels = [*own["labels"], -100]
        more = {
            token
            for token, a, b in zip(row["input_ids"], row["labels"], labels, strict=True)
            if a != -100 and b == -100
        }
        assert all(a == b for a, b in zip(row["labels"], labels, strict=True) if b != -100)
        if name == "messages" or number < 5:
            assert more == set(feed)
        else:  # TRL takes the whole completion for the answer, the second question with it
            assert more > set(feed)


def test_a_row_is_one_line(mixed: list[Example], qwen: Chat, tmp_path: Path) -> None:
    strange = sample(qwen, (U, "a\u2028b\u0085c\x0bd\x1ce\r\n"), (A, "x\n"))
    table(tmp_path / "in", [strange, *mixed], qwen)
    manifest = export_samples(tmp_path / "out", tmp_path / "in", export_config("messages"))
    write_card(tmp_path / "out", manifest, Example)
    [path] = (tmp_path / "out").glob("data-*")
    assert path.read_bytes().count(b"\n") == len(mixed) + 1
    assert load(tmp_path / "out")[0]["messages"][0]["content"] == strange.prompt[0].content
    assert json.loads(path.read_bytes().split(b"\n")[0])["messages"][0]["content"] == strange.prompt[0].content

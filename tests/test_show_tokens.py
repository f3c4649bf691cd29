"""show --tokens: a row as the trainer sees it, alone and packed; and templates for tokenizers without one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from long1k.chat import Chat
from long1k.cli_common import chat_of
from long1k.curation.config import CollectConfig
from long1k.display import show_row
from long1k.display_tokens import print_row
from long1k.errors import DataError
from long1k.joining.spec import JoinSpec
from long1k.rows import Example, Message
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.tables import read_manifest, read_table
from long1k.tokens import load_tokenizer
from long1k.training.data import make_rows, pack


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, micro_chat: Chat) -> Path:
    root = tmp_path_factory.mktemp("show")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=200)))], CollectConfig(), micro_chat)
    specs = [JoinSpec(target=t, samples=4, num_problems=(1, 4), linkers="micro", layout="turns", tolerance=0.05)
             for t in (26, 52)]  # fmt: skip
    synthesize(root / "examples", root / "pool", arm="a", specs=specs, seed=0, chat=micro_chat)
    return root / "examples"


def test_every_token_of_a_sample_stands_there(data: Path, micro_chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
    example = read_table(data, Example)[5]
    show_row(data, row=5, tokens=True)
    shown = capsys.readouterr().out
    assert "legend: trained, not trained, special token" in shown
    assert f"{example.num_supervised_tokens:,} of {example.num_tokens:,} tokens are trained" in shown
    counts = [int(n) for n in re.findall(r"‖ (?:not )?trained ‖ (\d+) tokens", shown)]
    assert sum(counts) == example.num_tokens
    assert len(counts) == 2 * example.num_problems
    trained = sum(int(n) for n in re.findall(r"‖ trained ‖ (\d+) tokens", shown))
    assert trained == example.num_supervised_tokens
    assert shown.count("<|end|>·") == example.num_problems


def test_colours_tell_trained_untrained_and_special_tokens_apart(data: Path, micro_chat: Chat) -> None:
    [row, *_] = make_rows(read_table(data, Example), micro_chat, None)
    console = Console(force_terminal=True, color_system="standard", width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        print_row(console, row, micro_chat)
    text = captured.get()
    assert "\x1b[32m" in text  # green: trained
    assert "\x1b[2m" in text  # dim: not trained
    assert re.search(r"\x1b\[1;35m<\|end\|>", text)  # special and trained
    assert re.search(r"\x1b\[35m<\|user\|>", text)  # special, not trained


def test_a_packed_row_is_the_trainers(data: Path, micro_chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
    examples = read_table(data, Example)
    packed = pack(make_rows(examples, micro_chat, None), 110)
    shared = next(at for at, row in enumerate(packed) if len(row.names) > 1)
    show_row(data, row=shared, packing=110)
    shown = capsys.readouterr().out
    row = packed[shared]
    assert f"packed row {shared} of {len(packed)}: {len(row.input_ids)} of 110 tokens" in shown
    for number, name in enumerate(row.names):
        assert f"{number + 1} of {len(row.names)}: {name}, tokens " in shown
    assert shown.count("positions start again at 0") == len(row.names)
    assert f"{row.supervised} of {len(row.input_ids)} tokens are trained in {len(row.names)} conversations" in shown
    show_row(data, row_id=row.names[-1][:12], packing=110)
    assert f"packed row {shared} of" in capsys.readouterr().out
    with pytest.raises(DataError, match="none of them is row 99"):
        show_row(data, row=99, packing=110)
    with pytest.raises(DataError, match="has no sample e-none"):
        show_row(data, row_id="e-none", packing=110)
    with pytest.raises(DataError, match="holds no samples to be packed"):
        show_row(data.parent / "pool", packing=110)


def test_another_tokenizer_may_be_asked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A template with one more token a turn: shown as it would be, though the table was counted without."""
    from long1k.micro_tokenizer import build

    build(tmp_path / "other")
    path = tmp_path / "other" / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|user|>", "<|user|>\n"))
    show_row(data, row=0, tokens=True, tokenizer=str(tmp_path / "other"))
    example = read_table(data, Example)[0]
    more = example.num_tokens + example.num_problems
    assert f"of {more} tokens are trained" in capsys.readouterr().out


def test_what_cannot_be_shown_is_said(data: Path) -> None:
    pool = data.parent / "pool"
    for options, said in (
        ({"folder": pool, "tokens": True}, "holds no samples: --tokens"),
        ({"folder": pool, "packing": 64}, "holds no samples to be packed"),
        ({"folder": data, "tokens": True, "tokenizer": "nowhere"}, "no tokenizer folder nowhere"),
        ({"folder": data, "tokens": True, "row_id": "zzz"}, r"none of them is id zzz…\s+-> look at the ids"),
        ({"folder": data, "tokens": True, "row": 99}, "rows count from 0"),
    ):
        with pytest.raises(DataError, match=said):
            show_row(**options)


def _without_template(folder: Path) -> Path:
    """A base model's tokenizer: special tokens, no template."""
    source = load_tokenizer("package:micro").folder
    shutil.copytree(source, folder)
    (folder / "chat_template.jinja").unlink()
    return folder


def test_a_template_may_be_given_to_a_base_tokenizer(
    tmp_path: Path, micro_chat: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given once, when the pool is made: it travels in the manifests, whole, to samples and checkpoints."""
    folder = _without_template(tmp_path / "base")
    with pytest.raises(DataError, match=r"no chat template[\s\S]*--template \(chat.template\): a file, or chatml"):
        Chat(load_tokenizer(str(folder)))
    template = tmp_path / "mine.jinja"
    template.write_text(micro_chat.tokenizer.template or "")
    chat = Chat(load_tokenizer(str(folder)), template=str(template))
    assert chat.describe()["template"] == micro_chat.describe()["template"]
    assert "template_text" not in micro_chat.describe()
    pool = tmp_path / "pool"
    collect(pool, [("micro", MicroSource(MicroConfig(count=60)))], CollectConfig(), chat)
    inherited = chat_of(read_manifest(pool), None, None)
    assert inherited.describe() == chat.describe()
    spec = JoinSpec(target=26, samples=2, num_problems=(1, 2), linkers="micro", tolerance=0.1)
    synthesize(tmp_path / "examples", pool, arm="a", specs=[spec], seed=0, chat=inherited)
    show_row(tmp_path / "examples", tokens=True)
    assert "tokens are trained" in capsys.readouterr().out
    with pytest.raises(DataError, match="there is no chat template nowhere"):
        Chat(load_tokenizer(str(folder)), template="nowhere")
    with pytest.raises(DataError, match=r"chatml ends an assistant turn with <\|im_end\|>, which is no special token"):
        Chat(load_tokenizer(str(folder)), template="chatml")  # the micro tokenizer has no <|im_end|>


def test_the_packaged_chatml_is_qwens(qwen_chat: Chat) -> None:
    tokenizer = qwen_chat.tokenizer
    turns = [Message("user", "What is 2+2?"), Message("assistant", "<think>\nFour.\n</think>\n\n4")]
    ours = Chat(tokenizer, system="Be brief.", template="chatml")
    theirs = Chat(tokenizer, system="Be brief.")
    assert ours.end_token == theirs.end_token == "<|im_end|>"
    assert ours.encode_example(turns[:1], turns[1:]) == theirs.encode_example(turns[:1], turns[1:])
    assert ours.encode_prompt(turns[:1]) == theirs.encode_prompt(turns[:1])
    assert ours.describe()["template"] != theirs.describe()["template"]
    assert json.loads(json.dumps(ours.describe()))["template_text"] == ours.tokenizer.template

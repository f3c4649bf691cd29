"""What is trained is, token by token, what is asked: template, loss mask, counts, and answers taken apart."""

from __future__ import annotations

import filecmp
import gzip
import json
import random
import shutil
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import MakeTrace
from long1k import micro_tokenizer
from long1k.chat import Chat
from long1k.errors import DataError, RecipeError
from long1k.joining.linkers import choose_linkers
from long1k.joining.render import join
from long1k.micro import SYMBOLS
from long1k.rows import Message
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.thinking import STYLES, SplitAnswer
from long1k.tokens import ASSETS, Tokenizer, load_tokenizer
from realdata import real_data

MICRO = ASSETS / "tokenizers" / "micro"
TRACE_FILES = (
    "aime_journey_shortcut", "limo_multi_source", "math_4problems_many_rollouts", "math_r1_distill_uzaymacar",
)  # fmt: skip
SINGLE = (Message("user", "a⊕b"),), (Message("assistant", "<think>\na⊕b=c.\n</think>\n\n\\boxed{c}"),)
TURNS = (
    (Message("user", "a⊕b"),),
    (
        Message("assistant", "<think>\na⊕b=c.\n</think>\n\n\\boxed{c}"),
        Message("user", "c⊕d"),
        Message("assistant", "<think>\nNext, c⊕d=e.\n</think>\n\n\\boxed{e}"),
    ),
)
HISTORY = (TURNS[0] + TURNS[1][:2], TURNS[1][2:])


def _real_chat(thinking: str = "think", system: str | None = None) -> Chat:
    return Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))), thinking, system)


@pytest.fixture(params=["micro", "qwen2"])
def chat_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(STYLES))
def chat(request: pytest.FixtureRequest, chat_name: str) -> Chat:
    if chat_name == "qwen2":
        return _real_chat(request.param)
    return Chat(load_tokenizer("package:micro"), request.param)


def _folder(tmp_path: Path, template: str | None, special: dict[str, str] | None = None) -> Path:
    """A copy of the micro tokenizer with another template."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(MICRO, folder)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    if special is not None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | special))
    return folder


def _responses(count: int) -> Iterator[str]:
    """Real texts: the same number from each file."""
    for name in TRACE_FILES:
        with gzip.open(real_data("traces", f"{name}.jsonl.gz"), "rt", encoding="utf-8") as handle:
            for line in islice(handle, count):
                row = json.loads(line)
                yield max((value for value in row.values() if isinstance(value, str)), key=len)


# --- the micro tokenizer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [0.0, 0.5, 1.0])
def test_micro_traces_are_encoded_without_loss(check: float, micro_chat: Chat) -> None:
    tokenizer = micro_chat.tokenizer
    source = MicroSource(MicroConfig(count=150, steps=(1, 6), check=check, split="all", seed=3))
    for raw in source.load():
        for text in (raw.question, raw.thinking or "", raw.solution or ""):
            ids = tokenizer.encode(text)
            assert tokenizer.unk_id not in ids
            assert tokenizer.decode(ids) == text
            assert "".join(tokenizer.pieces(ids)) == text


@pytest.mark.parametrize("layout", ["blocks", "turns"])
@pytest.mark.parametrize("bank", ["micro", "none"])
def test_joined_micro_samples_are_encoded_without_loss(
    layout: str, bank: str, micro_chat: Chat, make_trace: MakeTrace
) -> None:
    traces = [make_trace(f"{s}⊕b", f"{s}⊕b={s}.", f"\\boxed{{{s}}}", s) for s in SYMBOLS]
    joined = join(traces, choose_linkers(bank, 16, random.Random(0)), bank, micro_chat.style, layout)
    assert joined is not None
    encoded = micro_chat.encode_example(joined.prompt, joined.completion)
    assert micro_chat.tokenizer.unk_id not in encoded.ids
    segments = micro_chat.segments([*joined.prompt, *joined.completion])
    assert micro_chat.tokenizer.decode(encoded.ids) == "".join(text for text, _ in segments)


def test_the_shipped_micro_tokenizer_is_what_its_builder_writes(tmp_path: Path) -> None:
    micro_tokenizer.build(tmp_path)
    names = sorted(path.name for path in MICRO.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert filecmp.cmpfiles(MICRO, tmp_path, names, shallow=False) == (names, [], [])


def test_words_outside_the_micro_world_are_known_to_be_unknown(micro_chat: Chat) -> None:
    tokenizer = micro_chat.tokenizer
    assert tokenizer.unk_id == tokenizer.token_id("<|unk|>")
    assert tokenizer.unk_id in tokenizer.encode("zebra")
    assert tokenizer.token_id("zebra") is None
    assert tokenizer.vocab_size == len({tokenizer.decode([i]) for i in range(tokenizer.vocab_size)})


# --- trained prefix and inference prompt ------------------------------------------------------------------


@pytest.mark.parametrize("conversation", [SINGLE, TURNS, HISTORY], ids=["single", "turns", "history"])
@pytest.mark.parametrize("system", [None, "a"])
def test_every_trained_turn_stands_after_exactly_its_inference_prompt(
    conversation: tuple[tuple[Message, ...], tuple[Message, ...]], system: str | None, chat: Chat
) -> None:
    chat = Chat(chat.tokenizer, chat.style.name, system)
    prompt, completion = conversation
    encoded = chat.encode_example(prompt, completion)
    messages = [*prompt, *completion]
    begins = [i for i, on in enumerate(encoded.trained) if on and (i == 0 or not encoded.trained[i - 1])]
    turns = [i for i in range(len(prompt), len(messages)) if messages[i].role == "assistant"]
    assert len(begins) == len(turns)
    for begin, turn in zip(begins, turns, strict=True):
        assert encoded.ids[:begin] == chat.encode_prompt(messages[:turn])
        body = encoded.ids[begin : begin + len(chat.tokenizer.encode(messages[turn].content))]
        assert chat.tokenizer.decode(body) == messages[turn].content


def test_the_end_token_is_trained_and_what_follows_it_is_not(chat: Chat, chat_name: str) -> None:
    encoded = chat.encode_example(*TURNS)
    ends = [i for i, token in enumerate(encoded.ids) if token == chat.end_id and encoded.trained[i]]
    assert len(ends) == 2
    assert all(not on for at in ends for on in encoded.trained[at + 1 : at + 2])
    if chat_name == "qwen2":
        assert chat.end_token == "<|im_end|>"
        assert chat.tokenizer.decode(encoded.ids[ends[0] + 1 : ends[0] + 2]) == "\n"
        assert chat.tokenizer.special_tokens.count("<|im_end|>") == 1
    # Nothing stands after the last end token: a model never sees what it would not be asked to write.
    assert ends[-1] == len(encoded.ids) - 1


def test_prompt_tokens_are_never_trained(chat: Chat) -> None:
    encoded = chat.encode_example(*HISTORY)
    prompt = chat.encode_prompt(HISTORY[0])
    assert encoded.ids[: len(prompt)] == prompt
    assert not any(encoded.trained[: len(prompt)])
    assert all(encoded.trained[len(prompt) :])
    assert len(encoded.ids) > len(prompt)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(SYMBOLS + "⊕=. \n1", min_size=1, max_size=20), min_size=2, max_size=6), turns=st.booleans()
)
def test_counts_are_those_of_the_encoded_sample(texts: list[str], turns: bool) -> None:
    chat = Chat(load_tokenizer("package:micro"))
    texts = texts[: len(texts) // 2 * 2] if turns else texts[:2]
    messages = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    for cut in range(1, len(messages), 2):
        encoded = chat.encode_example(messages[:cut], messages[cut:])
        assert chat.count_example(messages[:cut], messages[cut:]) == (len(encoded.ids), sum(encoded.trained))


def test_counts_are_those_of_the_encoded_sample_on_real_text() -> None:
    chat = _real_chat()
    for text in _responses(5):
        pair = (
            (Message("user", text[:200]),),
            (Message("assistant", text), Message("user", "?"), Message("assistant", text[-99:])),
        )
        encoded = chat.encode_example(*pair)
        assert chat.count_example(*pair) == (len(encoded.ids), sum(encoded.trained))
        assert len(encoded.ids) == len(encoded.trained)


def test_rendering_is_that_of_transformers(chat_name: str) -> None:
    transformers = pytest.importorskip("transformers")
    folder = MICRO if chat_name == "micro" else real_data("tokenizer_qwen2")
    chat = Chat(load_tokenizer(str(folder)))
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(folder))
    theirs.chat_template = chat.tokenizer.template
    system = (Message("system", "a"),)
    for messages in (SINGLE[0], system + SINGLE[0], HISTORY[0], system + HISTORY[0]):
        listed = [{"role": m.role, "content": m.content} for m in messages]
        text = theirs.apply_chat_template(listed, tokenize=False, add_generation_prompt=True)
        assert "".join(piece for piece, _ in chat.segments(messages, True)) == text
        assert chat.encode_prompt(messages) == theirs.encode(text, add_special_tokens=False)
        if messages[0].role == "system":
            own = Chat(chat.tokenizer, system="a")
            assert own.encode_prompt(messages[1:]) == own.encode_prompt(messages) == chat.encode_prompt(messages)
    for prompt, completion in (SINGLE, TURNS):
        listed = [{"role": m.role, "content": m.content} for m in (*prompt, *completion)]
        text = theirs.apply_chat_template(listed, tokenize=False)
        ours = "".join(piece for piece, _ in chat.segments([*prompt, *completion]))
        assert text.startswith(ours)
        assert text[len(ours) :].strip() == ""


# --- counting ---------------------------------------------------------------------------------------------


def test_fast_ids_are_the_real_ids_on_real_traces() -> None:
    tokenizer = load_tokenizer(str(real_data("tokenizer_qwen2")))
    assert tokenizer.counter == "fastokens"
    texts = list(_responses(60))
    assert len(texts) == 240
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.count(texts[:9]) == [len(tokenizer.encode(text)) for text in texts[:9]]


def test_a_counter_that_differs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fastokens

    class Wrong:
        def __init__(self, real: Any) -> None:
            self.real = real

        def encode_batch(self, texts: list[str], **options: Any) -> list[Any]:
            return [type("Ids", (), {"ids": [0]}) for _ in texts]

        @classmethod
        def from_file(cls, path: str) -> Wrong:
            return cls(path)

    monkeypatch.setattr(fastokens, "Tokenizer", Wrong)
    tokenizer = Tokenizer(MICRO)
    assert tokenizer.encode_batch(["a⊕b=c."]) == [tokenizer.encode("a⊕b=c.")]
    assert tokenizer.counter == "tokenizers"


def test_a_batch_that_the_fast_counter_gets_wrong_is_read_by_the_real_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a process has read before: else counts would depend on which process a part comes to."""
    tokenizer = load_tokenizer(str(real_data("tokenizer_qwen2")))
    assert tokenizer.counter == "fastokens"
    real = tokenizer._fast

    class Slips:
        def encode_batch_flat(self, texts: list[str], **options: Any) -> tuple[bytes, bytes]:
            made: tuple[bytes, bytes] = real.encode_batch_flat(
                ["other" if t == "slip" else t for t in texts], **options
            )
            return made

    monkeypatch.setattr(tokenizer, "_fast", Slips())
    for texts in (["one", "two words"], ["one", "slip"], ["one"], []):
        ids, offsets = tokenizer.encode_flat(texts, probe=True)
        assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_flat(["slip"])[0].tolist() != tokenizer.encode("slip")


def test_no_special_tokens_are_added(chat: Chat) -> None:
    assert chat.tokenizer.encode("") == []
    assert chat.tokenizer.count(["", "a"]) == [0, 1]


# --- taking answers apart ---------------------------------------------------------------------------------


@pytest.mark.parametrize("style", sorted(STYLES))
@given(thinking=st.text(SYMBOLS + " .\n{}", max_size=30), solution=st.text(SYMBOLS + " .\n\\{}", max_size=30))
def test_what_was_written_is_read_again(style: str, thinking: str, solution: str) -> None:
    chat = Chat(load_tokenizer("package:micro"), style)
    for end in ("", chat.end_token):
        read = chat.split_answer(chat.write_answer(thinking, solution) + end)
        assert read == SplitAnswer(thinking.strip("\n"), solution.strip("\n"))


def test_a_think_text_is_taken_apart(micro_chat: Chat) -> None:
    split = micro_chat.split_answer
    assert split("<think>\nhm\n</think>\n\n5<|end|>") == SplitAnswer("hm", "5")
    assert split("hm\n</think>\n\n5") == SplitAnswer("hm", "5")  # the prompt had opened the thinking
    assert split("<think>hm</think>5") == SplitAnswer("hm", "5")
    assert split("just 5<|end|>") == SplitAnswer(None, "just 5")
    assert split("") == SplitAnswer(None, "")
    assert split("<think>\n\n</think>\n\n5") == SplitAnswer("", "5")


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nhm \\boxed{5}", "<think>", "<think>\\boxed{5}<|end|>", "<think><think>\\boxed{5}",
        "lead \\boxed{1} <think> \\boxed{5}", "<think>\n" * 50 + "\\boxed{5}", "<think>\\boxed{5}</thin", "<think>5< /think>5",
    ],
)  # fmt: skip
def test_unclosed_thinking_has_no_answer(text: str, micro_chat: Chat) -> None:
    assert micro_chat.split_answer(text).answer is None


@pytest.mark.parametrize("text", ["<think>a</think>\n\n<think>\\boxed{5}", "</think><think>\\boxed{5}"])
def test_thinking_opened_again_and_never_closed_has_no_answer(text: str, micro_chat: Chat) -> None:
    assert "\\boxed{5}" not in (micro_chat.split_answer(text).answer or "")


def test_an_openthoughts_text_is_taken_apart() -> None:
    chat = Chat(load_tokenizer("package:micro"), "openthoughts")
    whole = chat.write_answer("hm", "5")
    assert whole.count("<|begin_of_thought|>") == whole.count("<|end_of_solution|>") == 1
    assert chat.split_answer(whole) == SplitAnswer("hm", "5")
    assert chat.split_answer("<|begin_of_thought|>\n\nhm \\boxed{5}").answer is None
    cut = whole.removesuffix("\n\n<|end_of_solution|>")
    assert chat.split_answer(cut) == SplitAnswer("hm", "5")
    assert chat.split_answer("<|begin_of_solution|>5<|end_of_solution|>").thinking is None


@given(
    pieces=st.lists(
        st.sampled_from(["<think>", "</think>", "\n", "a", "\\boxed{5}", "<|end|>", "\x00", "é"]), max_size=9
    )
)
def test_hostile_texts_give_parts_of_themselves(pieces: list[str]) -> None:
    chat = Chat(load_tokenizer("package:micro"))
    text = "".join(pieces)
    read = chat.split_answer(text)
    for part in (read.thinking, read.answer):
        assert part is None or part in text
    body = text.rpartition("<|end|>")[0] if "<|end|>" in text else text
    assert (read.answer is None) == (body.rfind("<think>") > body.rfind("</think>"))  # still thinking at the end
    assert (read.thinking is None) == ("<think>" not in body and "</think>" not in body)
    assert "think>" not in (read.answer or "")


def test_a_huge_hostile_text_is_taken_apart_at_once(micro_chat: Chat) -> None:
    text = "<think>" * 100_000 + "</think>" * 100_000 + "5"
    read = micro_chat.split_answer(text)
    assert read.answer == "5"
    assert read.thinking is not None


# --- templates that cannot be used ------------------------------------------------------------------------

NO_END = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
DROPS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|end|>{% else %}<|user|>{{ m.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_without_an_end_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no special token after an assistant turn[\s\S]*-> use a template"):
        Chat(Tokenizer(_folder(tmp_path, NO_END)))


def test_a_template_that_drops_history_is_refused_for_turns_and_good_for_one(tmp_path: Path) -> None:
    chat = Chat(Tokenizer(_folder(tmp_path, DROPS)))
    assert sum(chat.encode_example(*SINGLE).trained) > 0
    for use in (chat.encode_example, chat.count_example):
        with pytest.raises(DataError, match=r"does not keep turns[\s\S]*layout: blocks"):
            use(*TURNS)


def test_a_template_that_opens_the_thinking_itself_is_refused_where_it_cannot_be_asked_alike(tmp_path: Path) -> None:
    opened = micro_tokenizer.TEMPLATE.replace("%}<|assistant|>{% endif", "%}<|assistant|><think>\n{% endif")
    assert opened != micro_tokenizer.TEMPLATE
    chat = Chat(Tokenizer(_folder(tmp_path, opened)))
    encoded = chat.encode_example(*SINGLE)
    prompt = chat.encode_prompt(SINGLE[0])
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.trained == [False] * len(prompt) + [True] * (len(encoded.ids) - len(prompt))
    with pytest.raises(DataError):
        chat.encode_example(SINGLE[0], (Message("assistant", "no thinking"),))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, r"no chat template[\s\S]*chat_template.jinja"),
        ("{% for m in messages %}", r"template of .* is broken"),
        ("{{ raise_exception('only users') }}", r"failed: only users"),
        ("{{ messages.nothing.at_all }}", r"template of .* failed"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", r"template of .* failed"),  # the sandbox holds
    ],
)
def test_a_broken_template_is_a_data_error(template: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        Chat(Tokenizer(_folder(tmp_path, template)))


def test_a_template_in_the_configuration_is_read(tmp_path: Path, micro_chat: Chat) -> None:
    chat = Chat(Tokenizer(_folder(tmp_path, None, {"chat_template": micro_tokenizer.TEMPLATE})))
    assert chat.encode_example(*TURNS) == micro_chat.encode_example(*TURNS)
    assert chat.describe() == micro_chat.describe()


def test_what_decides_the_tokens_is_described(tmp_path: Path, micro_chat: Chat) -> None:
    other = Chat(Tokenizer(_folder(tmp_path, micro_tokenizer.TEMPLATE + " ")))
    described = [
        c.describe()
        for c in (
            micro_chat, other, Chat(micro_chat.tokenizer, "openthoughts"), Chat(micro_chat.tokenizer, system="a"),
        )
    ]  # fmt: skip
    assert len({json.dumps(d) for d in described}) == 4


def test_unusable_tokenizers_are_data_errors(tmp_path: Path, micro_chat: Chat) -> None:
    with pytest.raises(DataError, match=r"no tokenizer.json in"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="not a readable tokenizer"):
        Tokenizer(tmp_path)
    with pytest.raises(DataError, match=r"no tokenizer folder"):
        load_tokenizer(str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"packaged tokenizers: micro"):
        load_tokenizer("package:absent")
    with pytest.raises(RecipeError, match=r"unknown thinking style 'thonk'[\s\S]*think, openthoughts"):
        Chat(micro_chat.tokenizer, "thonk")


def test_a_broken_tokenizer_configuration_is_a_data_error(tmp_path: Path) -> None:
    folder = _folder(tmp_path, micro_tokenizer.TEMPLATE)
    (folder / "tokenizer_config.json").write_text('{"pad_token": ')
    with pytest.raises(DataError):
        Tokenizer(folder)


def test_many_texts_in_pieces_have_the_ids_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(real_data("tokenizer_qwen2")))
    texts = ["", "Wait, 12 + 7 = 19.", "\u221a2 is not rational", "", "x" * 50, "so it goes"] * 3
    whole = [tokenizer.encode(text) for text in texts]
    for size in (1, 20, 60, 10**9):
        monkeypatch.setattr("long1k.tokens._PIECE", size)
        ids, offsets = tokenizer.encode_flat(texts)
        assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == whole
    ids, offsets = tokenizer.encode_flat([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])

"""The packaged chat templates: each writes its format, character by character."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.rows import Message
from long1k.templates import FOLDER, TEMPLATES, read_template
from long1k.tokens import Tokenizer, load_tokenizer
from realdata import real_data

TALK = (Message("system", "Be brief."), Message("user", "1+1?"), Message("assistant", "2"), Message("user", "2+2?"))
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CHATML = "<|im_start|>{}\n{}<|im_end|>\n"
TURNS = CHATML.format("user", "1+1?") + CHATML.format("assistant", "2") + CHATML.format("user", "2+2?")
# What a conversation with a system text becomes, up to where the model goes on.
WANTED = {
    "chatml": CHATML.format("system", "Be brief.") + TURNS + "<|im_start|>assistant\n",
    "default": "Be brief.\nHuman: 1+1?\nAssistant:2</s>\nHuman: 2+2?\nAssistant:",
    "qwen": CHATML.format("system", "Be brief.") + TURNS + "<|im_start|>assistant\n",
    "deepseek-qwen-malformed": CHATML.format("system", "Be brief.") + TURNS + "<|im_start|>assistant\n",
    "s1": CHATML.format("system", "Be brief.") + CHATML.format("user", "1+1?")
    + CHATML.format("assistant", "<|im_start|>think\n2") + CHATML.format("user", "2+2?")
    + "<|im_start|>assistant\n<|im_start|>think\n",
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n1+1? [/INST] 2</s><s>[INST] 2+2? [/INST]",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n1+1?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n2<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST] Be brief.\n\n1+1? [/INST] 2</s>[INST] 2+2? [/INST]",
    "gemma": "<bos><start_of_turn>user\nBe brief.\n\n1+1?<end_of_turn>\n<start_of_turn>model\n2<end_of_turn>\n"
    "<start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n",
    "glm4": "[gMASK]<sop><|system|>\nBe brief.<|user|>\n1+1?<|assistant|>\n2<|user|>\n2+2?<|assistant|>",
    "chatglm3": "[gMASK]sop<|system|>\n Be brief.<|user|>\n 1+1?<|assistant|>\n 2<|user|>\n 2+2?<|assistant|>",
    "baichuan2": "Be brief.<reserved_106>1+1?<reserved_107>2</s><reserved_106>2+2?<reserved_107>",
    "intern2": "<s>" + CHATML.format("system", "Be brief.") + TURNS + "<|im_start|>assistant\n",
    "falcon": "System: Be brief.\nUser: 1+1?\nFalcon:2<|endoftext|>\nUser: 2+2?\nFalcon:",
}  # fmt: skip
SPECIALS = [
    "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>", "[gMASK]", "<sop>", "sop", "<|system|>", "<|user|>",
    "<|assistant|>", "<reserved_106>", "<reserved_107>", "<|endoftext|>",
]  # fmt: skip


def build(folder: Path, specials: list[str]) -> Tokenizer:
    """A tokenizer of single bytes with some special tokens, </s> the end of a text."""
    folder.mkdir(exist_ok=True)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({one: at for at, one in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(one, special=True, normalized=False) for one in specials])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return Tokenizer(folder)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build(tmp_path_factory.mktemp("tokenizer"), SPECIALS)


def test_every_file_has_a_name_and_every_name_a_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.jinja")} == set(TEMPLATES) == set(WANTED)
    assert all(one.about and one.name == name for name, one in TEMPLATES.items())


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_writes_its_format(name: str, tokenizer: Tokenizer) -> None:
    chat = Chat(tokenizer, template=name)
    assert chat.end_token == (TEMPLATES[name].end or "</s>")
    assert "".join(text for text, _ in chat.segments(TALK, True)) == WANTED[name]
    assert tokenizer.decode(chat.encode_prompt(TALK)) == WANTED[name]
    trained = [text for text, is_trained in chat.segments(TALK[:3]) if is_trained]
    assert [text.strip().startswith(("2", "<|im_start|>think\n2")) for text in trained] == [True]
    assert trained[0].endswith("2" + chat.end_token)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=25)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=2, max_size=6)
)
def test_what_is_trained_goes_on_from_what_is_asked(name: str, tokenizer: Tokenizer, texts: list[str]) -> None:
    chat = Chat(tokenizer, template=name)
    turns = [Message(("user", "assistant")[at % 2], text) for at, text in enumerate(texts[: len(texts) // 2 * 2])]
    for end in range(2, len(turns) + 1, 2):
        whole, prompt = (
            chat.encode_example(turns[: end - 1], turns[end - 1 : end]),
            chat.encode_prompt(turns[: end - 1]),
        )
        assert whole.ids[: len(prompt)] == prompt
        assert whole.ids[-1] == chat.end_id
        assert whole.trained == [False] * len(prompt) + [True] * (len(whole.ids) - len(prompt))


@pytest.mark.parametrize("name", [name for name, one in TEMPLATES.items() if one.end])
def test_an_end_token_that_a_tokenizer_lacks_is_named(name: str, tmp_path: Path) -> None:
    end = TEMPLATES[name].end or ""
    lacking = build(tmp_path / "t", [one for one in SPECIALS if one != end])
    with pytest.raises(DataError) as caught:
        Chat(lacking, template=name)
    assert f"the template {name} ends an assistant turn with {end}, which is no special token" in caught.value.what
    fitting = [other for other, one in TEMPLATES.items() if (one.end or "</s>") != end and (one.end or end != "</s>")]
    assert f"can end {', '.join(fitting)})" in (caught.value.mend or "")


def test_a_name_slightly_wrong_is_told_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no chat template lama3[\s\S]*did you mean 'llama3'\?"):
        read_template("lama3")
    with pytest.raises(DataError, match=r"give a file, or one of chatml, default, qwen, deepseek-qwen-malformed"):
        read_template("/no/such/file.jinja")


def test_qwens_is_that_of_its_tokenizer() -> None:
    tokenizer = load_tokenizer(str(real_data("tokenizer_qwen2")))
    ours, theirs = Chat(tokenizer, template="qwen"), Chat(tokenizer)
    for turns in (TALK, TALK[1:], TALK[1:2]):
        assert ours.segments(turns, True) == theirs.segments(turns, True)


def test_the_malformed_one_has_the_faults_it_is_named_for(tokenizer: Tokenizer) -> None:
    text = "".join(text for text, _ in Chat(tokenizer, template="deepseek-qwen-malformed").segments(TALK[1:2], True))
    system = text.split("<|im_end|>")[0]
    assert system.startswith("<|im_start|>system\n")
    assert "<|begin_of_thought|>" in system
    assert "<answer>" in system
    assert "</answer>" not in system  # opened so,
    assert "<|begin_of_solution|>" not in system
    assert "<|end_of_solution|>" in system  # and closed otherwise
    assert ".Try" in system  # no space after a full stop
    assert text.endswith(CHATML.format("user", "1+1?") + "<|im_start|>assistant\n")


def test_s1_opens_the_thinking_once(tokenizer: Tokenizer) -> None:
    chat = Chat(tokenizer, "s1", template="s1")
    answer = chat.write_answer("one and one", "2")
    assert answer == "<|im_start|>think\none and one\n<|im_start|>answer\n2"
    whole = "".join(text for text, _ in chat.segments([TALK[1], Message("assistant", answer)]))
    assert whole.count("<|im_start|>think\n") == 1
    opened = chat.opens_thinking(chat.encode_prompt(TALK[1:2]))
    assert opened
    split = chat.split_answer("one and one\n<|im_start|>answer\n2<|im_end|>", opened)  # as drawn
    assert (split.thinking, split.answer) == ("one and one", "2")
    cut = chat.split_answer("one and", opened)  # never closed: a thought, and no answer
    assert (cut.thinking, cut.answer) == ("one and", None)
    plain = Chat(tokenizer, "s1", template="qwen")
    assert not plain.opens_thinking(plain.encode_prompt(TALK[1:2]))

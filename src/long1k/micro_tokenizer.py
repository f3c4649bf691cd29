"""Builds the micro-world's tokenizer and chat template (shipped ready under assets/).

    python -m long1k.micro_tokenizer FOLDER

Every word of the micro-world is one token and white space belongs to the words, so that
decoding what was encoded gives the same text again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from long1k.micro import CHECK, LINKERS, OPENING, OPERATOR, SYMBOLS

SPECIALS = ("<|pad|>", "<|unk|>", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}<|assistant|>{{ message.content }}<|end|>"
    "{% else %}<|user|>{{ message.content }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja into a folder."""
    words = [
        "<think>\n", "\n</think>\n\n", "\\boxed{", "}", CHECK, OPENING, *LINKERS, "Problem ", "Answer ", ": ",
        "\n\n", "\n", ". ", ".", "=", " ", OPERATOR, *SYMBOLS, *(str(number) for number in range(1, 65)),
    ]  # fmt: skip
    vocab = {word: index for index, word in enumerate([*SPECIALS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<|unk|>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    # Longer words stand before their own beginnings, or they would never be matched.
    literal = [w for w in words if not w.isdigit()]
    escaped = [_escape(w) for w in sorted(literal, key=len, reverse=True)]
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(["[0-9]+", *escaped])), "isolated")
    tokenizer.decoder = decoders.Fuse()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|pad|>",
        "unk_token": "<|unk|>",
        "eos_token": "<|end|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def _escape(word: str) -> str:
    return "".join("\\" + char if char in "\\{}.|=()[]^$*+?" else char for char in word)


if __name__ == "__main__":
    build(Path(sys.argv[1]))

"""The chat templates that ship with the package, and what each needs of a tokenizer.

The files under assets/templates are Jinja, as a tokenizer's own.  Each writes one published format.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from long1k.errors import DataError

FOLDER = Path(__file__).resolve().parent / "assets" / "templates"


@dataclass(frozen=True, slots=True)
class Template:
    """A named template: the token that ends an assistant turn (None: the tokenizer's eos_token), and what it is."""

    name: str
    end: str | None
    about: str


TEMPLATES = {
    one.name: one
    for one in (
        Template("chatml", "<|im_end|>", "ChatML without a system text of its own"),
        Template("default", None, "Human: … Assistant: in plain text, ended by the tokenizer's eos_token"),
        Template("qwen", "<|im_end|>", "ChatML with the system text of Qwen2.5"),
        Template(
            "deepseek-qwen-malformed", "<|im_end|>",
            "ChatML with a system text that asks for OpenThoughts' tags, with the faults of the published pipeline",
        ),
        Template("s1", "<|im_end|>", "qwen, with the thinking opened by <|im_start|>think (--thinking s1)"),
        Template("llama2", "</s>", "[INST] … [/INST], system text between <<SYS>> marks"),
        Template("llama3", "<|eot_id|>", "turns headed by <|start_header_id|>"),
        Template("mistral", "</s>", "[INST] … [/INST], system text before the first question"),
        Template("gemma", "<end_of_turn>", "<start_of_turn>user and model, system text before the first question"),
        Template("glm4", "<|user|>", "[gMASK]<sop>; a turn ends with the mark of the next"),
        Template("chatglm3", "<|user|>", "[gMASK]sop; a turn ends with the mark of the next"),
        Template("baichuan2", "</s>", "<reserved_106> and <reserved_107> before the turns"),
        Template("intern2", "<|im_end|>", "ChatML after <s>"),
        Template("falcon", "<|endoftext|>", "User: … Falcon: in plain text"),
    )
}  # fmt: skip
NAMES = ", ".join(TEMPLATES)


def read_template(template: str) -> str:
    """The text of a chat template: one by its name here, that of a file, or the text itself.

    Raises:
        DataError: there is no such name or file.
    """
    if "{%" in template or "{{" in template:
        return template
    path = FOLDER / f"{template}.jinja" if template in TEMPLATES else Path(template).expanduser()
    if not path.is_file():
        close = difflib.get_close_matches(template, TEMPLATES, 1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise DataError(f"there is no chat template {template}", f"{hint}give a file, or one of {NAMES}")
    return path.read_text(encoding="utf-8")


def check_end(template: str, specials: Collection[str], eos: str | None, folder: Path) -> None:
    """Refuse a named template for a tokenizer that has not the special token which ends its turns.

    Args:
        specials: the tokenizer's special tokens.
        eos: its end-of-text token, by role.
        folder: where it lies, for the message.
    """
    if template not in TEMPLATES:
        return
    end = TEMPLATES[template].end or eos
    if end is None or end not in specials:
        fitting = [one.name for one in TEMPLATES.values() if (one.end or eos) in specials]
        raise DataError(
            f"the template {template} ends an assistant turn with {end or 'eos_token'}, which is no special token of "
            f"the tokenizer in {folder}: a model trained with it would never learn to stop",
            f"give the template of the model's own family (this tokenizer can end {', '.join(fitting) or 'none here'}),"
            " or leave --template out",
        )

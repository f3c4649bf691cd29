"""Model folders: checked before they are loaded, refused when they are not what they claim."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.plugins import need
from long1k.tables import MANIFEST, file_digest, read_manifest
from long1k.tokens import Tokenizer
from long1k.training.config import ModelInit


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that is no model, or whose weights would have to be unpickled.

    Raises:
        DataError: no config.json, no weights, or pickled weights only.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} is no model: it has no config.json", "give a folder in Hugging Face layout")
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise DataError(
                f"{folder} has pickled weights only; they can run code when loaded", "convert the model to safetensors"
            )
        raise DataError(f"{folder} has no *.safetensors: the weights are missing", "copy the model's weights as well")
    _check_weight_files(folder)


def _check_weight_files(folder: Path) -> None:
    """Every weight file is as long as its header says, and none that the index names is missing; reads headers only."""
    named: set[str] = set()
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{index} is no index of weights: {error}", "copy the model again") from None
    for name in sorted(named | {path.name for path in folder.glob("*.safetensors")}):
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; {index.name} names it", "copy the model's weights as well")
        size = path.stat().st_size
        with path.open("rb") as handle:
            start = handle.read(8)
            length = int.from_bytes(start, "little")
            header = handle.read(length) if len(start) == 8 and length <= size - 8 else b""
        try:
            ends = [entry["data_offsets"][1] for key, entry in json.loads(header).items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{path} is no safetensors file, or not whole", "copy the file again") from None
        if size != 8 + length + max(ends, default=0):
            raise DataError(
                f"{path} has {size:,} bytes but should have {8 + length + max(ends, default=0):,}: it was cut",
                "copy the file again",
            )


def new_model(init: ModelInit, tokenizer: Tokenizer, end_id: int) -> Any:
    """A Qwen2-architecture causal language model with seeded random weights."""
    torch, transformers = need("torch"), need("transformers")
    torch.manual_seed(init.seed)
    config = transformers.Qwen2Config(
        vocab_size=tokenizer.vocab_size, hidden_size=init.hidden_size, num_hidden_layers=init.num_layers,
        num_attention_heads=init.num_heads, num_key_value_heads=init.num_heads,
        intermediate_size=init.intermediate_size, max_position_embeddings=init.max_positions,
        initializer_range=init.initializer_range, tie_word_embeddings=True, use_cache=False,
        bos_token_id=None, eos_token_id=end_id, pad_token_id=pad_id(tokenizer, end_id),
    )  # fmt: skip
    return transformers.Qwen2ForCausalLM(config)


def pad_id(tokenizer: Tokenizer, end_id: int) -> int:
    """The padding id.  Never the end token where another is there: a padded end token may lose its loss."""
    for token in (tokenizer.named_token("pad_token"), "<|fim_pad|>", "<|endoftext|>"):
        found = tokenizer.token_id(token) if token else None
        if found is not None and found != end_id:
            return found
    return end_id


def load_model(folder: Path, dtype: str = "float32", **more: Any) -> Any:
    """A causal language model from a local folder; safetensors only, no remote code.

    Training in bf16 keeps fp32 weights too (autocast): at small learning rates most updates are below
    half a unit in the last place of a bf16 weight, and would be lost.

    Args:
        more: for the library, say how to quantize.

    Raises:
        DataError: the folder is no model, or damaged.
    """
    check_model_folder(folder)
    torch, transformers = need("torch"), need("transformers")
    transformers.utils.logging.disable_progress_bar()
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **more,
        )  # fmt: skip
    except Exception as error:  # each library raises its own for a damaged file
        raise DataError(f"cannot load the model in {folder}: {error}", "check that the copy is complete") from None


def copy_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Put the tokenizer and its chat template beside the weights."""
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"):
        if (tokenizer.folder / name).is_file():
            shutil.copyfile(tokenizer.folder / name, folder / name)
    if tokenizer.template is not None:
        (folder / "chat_template.jinja").write_text(tokenizer.template)


def model_digest(folder: Path) -> str:
    """What identifies a model folder: its manifest's digest if we made it, else its weight files.

    Raises:
        DataError: the folder is no model.
    """
    if (folder / MANIFEST).is_file():
        return read_manifest(folder).digest
    check_model_folder(folder)
    return weights_digest(folder)


def weights_digest(folder: Path) -> str:
    """SHA-256 over the digests of config.json and all weight files."""
    hasher = hashlib.sha256()
    for path in (folder / "config.json", *sorted(folder.glob("*.safetensors"))):
        hasher.update(file_digest(path).encode())
    return hasher.hexdigest()


def check_data_tokenizer(examples: Path, made_with: object, tokenizer: Tokenizer) -> None:
    """Refuse samples whose lengths were counted in another tokenizer than the one that will train on them.

    Args:
        made_with: the tokenizer's digest as the samples' manifest has it; None if it has none.

    Raises:
        DataError: the digests differ.
    """
    if made_with is not None and made_with != tokenizer.digest:
        raise DataError(
            f"the samples in {examples} were made with another tokenizer (digest {str(made_with)[:12]}) than the one "
            f"in {tokenizer.folder} ({tokenizer.digest[:12]})",
            "synthesize with the model's tokenizer: lengths hold for one tokenizer only",
        )


def check_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Refuse a model that was made for another tokenizer, or has fewer embeddings than it has ids.

    Raises:
        DataError: saying which of the two.
    """
    check_model_folder(folder)
    rows = json.loads((folder / "config.json").read_text()).get("vocab_size")
    if isinstance(rows, int) and tokenizer.vocab_size > rows:
        raise DataError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids but the model in {folder} only {rows:,} embeddings",
            "use the model's own tokenizer",
        )
    own = folder / "tokenizer.json"
    if own.is_file() and file_digest(own) != tokenizer.digest:
        raise DataError(
            f"the tokenizer in {folder} is not the one that the data was made with",
            "synthesize with the model's tokenizer",
        )

"""What is checked of a checkpoint after it was written: the files, tensor by tensor, and that they generate."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.tokens import Tokenizer

NEW_TOKENS = 8
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_MEMORY_FACTOR = 1.25  # of the weights' bytes, to load them once more and generate
_LOGIT_TOLERANCE = 0.02  # of the largest logit: one device and type, but kernels may differ


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model generated: token ids, and the logits (shape: vocabulary) that the first was taken from."""

    ids: list[int]
    logits: Any


def weight_files(folder: Path) -> dict[str, list[str]]:
    """The names of the tensors in each weight file of a checkpoint, as its index (if it has one) says.

    Raises:
        EngineError: a shard is missing, cannot be read, or holds other tensors than the index says.
    """
    index = folder / _INDEX
    wanted: dict[str, list[str]] = {}
    if index.is_file():
        for name, file in json.loads(index.read_text())["weight_map"].items():
            wanted.setdefault(file, []).append(name)
    files = sorted(wanted) or [_SINGLE]
    found = {}
    for file in files:
        try:
            with need("safetensors").safe_open(str(folder / file), framework="pt") as handle:
                found[file] = list(handle.keys())
        except (OSError, need("safetensors").SafetensorError) as error:
            raise _broken(folder, f"{file} cannot be read: {error}") from None
        if wanted and sorted(found[file]) != sorted(wanted[file]):
            raise _broken(folder, f"{file} holds other tensors than its index says")
    return found


def read_tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """All (name, tensor) pairs of a checkpoint, one tensor in memory at a time."""
    for file, names in weight_files(folder).items():
        with need("safetensors").safe_open(str(folder / file), framework="pt") as handle:
            for name in names:
                yield name, handle.get_tensor(name)


def prove_checkpoint(
    folder: Path,
    tokenizer: Tokenizer,
    end_id: int,
    *,
    dtype: Any,
    expected: Mapping[str, Any] | None = None,
    prompt: Sequence[int] = (),
    answer: Answer | None = None,
    device: Any = None,
) -> dict[str, Any]:
    """Prove that a written folder is the model that was trained, and that plain transformers can use it.

    Args:
        dtype: the torch type that all floating-point weights must have.
        expected: full tensors by name that the files must equal, bit for bit; None: only what the files say
            of themselves is checked.
        prompt: token ids to generate from; the end token alone if there are none.
        answer: what the model in memory generated from the prompt (``generate``); None: not compared.
        device: where to generate; default: the CPU.

    Returns:
        For the manifest: dtype, bytes, tensors, norm, tied, generation (checked, or why not).

    Raises:
        EngineError: naming the tensor or the file that is not as it should be.
    """
    record = _prove_tensors(folder, dtype, expected)
    _prove_beside(folder, tokenizer, end_id)
    room = _room_for(record["bytes"], device)
    if room is None:
        given = prompt or [end_id]
        record["generation"] = _prove_generation(folder, record, expected, given, answer, device)
    else:
        record["generation"] = f"not checked: {room}"
    record.pop("renamed")
    return record


def _prove_tensors(folder: Path, dtype: Any, expected: Mapping[str, Any] | None) -> dict[str, Any]:
    """Shapes, types, finite numbers and, where given, the very bits; one tensor in memory at a time."""
    torch = need("torch")
    size, count, elements, squares = 0, 0, 0, 0.0
    found: dict[str, tuple[int, ...]] = {}
    for name, value in read_tensors(folder):
        if value.is_floating_point():
            if value.dtype != dtype:
                raise _broken(folder, f"tensor {name} is {value.dtype}, not {dtype}")
            norm = float(torch.linalg.vector_norm(value, dtype=torch.float64))
            if not math.isfinite(norm):
                raise _broken(folder, f"tensor {name} is not finite")
            squares += norm**2
        if expected is not None and name in expected:
            wanted = expected[name].detach()
            if wanted.shape != value.shape:
                raise _broken(folder, f"tensor {name} has shape {tuple(value.shape)}, not {tuple(wanted.shape)}")
            if not torch.equal(wanted.to("cpu", value.dtype), value):
                raise _broken(folder, f"tensor {name} differs from the trained one")
        found[name] = tuple(value.shape)
        size += value.numel() * value.element_size()
        elements += value.numel()
        count += 1
    record = {
        "dtype": str(dtype).removeprefix("torch."), "bytes": size, "tensors": count, "norm": math.sqrt(squares),
        "tied": False, "renamed": False,
    }  # fmt: skip
    if expected is not None:
        tied, renamed = _account(folder, found, expected, elements)
        record |= {"tied": bool(tied), "renamed": renamed}
    return record


def _account(
    folder: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, Any], elements: int
) -> tuple[list[str], bool]:
    """(names that are tied to a written one, whether the library wrote other names than the model in memory has)."""
    torch = need("torch")
    tied = []
    missing = [name for name in expected if name not in found]
    for name in list(missing):
        twins = [other for other in found if other in expected and found[other] == tuple(expected[name].shape)]
        if any(
            expected[name].data_ptr() == expected[other].data_ptr() or torch.equal(expected[name], expected[other])
            for other in twins
        ):
            tied.append(name)
            missing.remove(name)
    foreign = [name for name in found if name not in expected]
    if not missing and not foreign:
        return tied, False
    # Some architectures are held in memory with several tensors joined, and written apart.
    if missing and foreign and elements == sum(v.numel() for n, v in expected.items() if n not in tied):
        return tied, True
    if missing:
        raise _broken(folder, f"tensor {missing[0]} was not written")
    raise _broken(folder, f"tensor {foreign[0]} was written, but is no tensor of the model")


def _prove_beside(folder: Path, tokenizer: Tokenizer, end_id: int) -> None:
    """The end token, the template and the tokenizer that stand beside the weights."""
    stored = json.loads((folder / "generation_config.json").read_text()).get("eos_token_id")
    if stored not in (end_id, [end_id]):
        raise _broken(folder, f"generation_config.json ends at {stored}, not at {end_id}")
    copied = Tokenizer(folder)
    if copied.digest != tokenizer.digest:
        raise _broken(folder, "its tokenizer.json is not the one that was trained with")
    if copied.template != tokenizer.template:
        raise _broken(folder, "its chat template is not the one that was trained with")
    try:
        loaded = need("transformers").AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # each library raises its own
        raise _broken(folder, f"transformers cannot load its tokenizer: {error}") from None
    if tokenizer.template is not None and loaded.chat_template != tokenizer.template:
        raise _broken(folder, "transformers does not find its chat template")


def _prove_generation(
    folder: Path, record: Mapping[str, Any], expected: Mapping[str, Any] | None,
    prompt: Sequence[int], answer: Answer | None, device: Any,
) -> str:  # fmt: skip
    """Load in plain transformers, compare what the files alone cannot show, and generate."""
    torch, transformers = need("torch"), need("transformers")
    transformers.utils.logging.disable_progress_bar()
    try:
        model, notes = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # each library raises its own
        raise _broken(folder, f"transformers cannot load it: {error}") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if notes.get(kind):
            raise _broken(folder, f"transformers finds {kind.replace('_', ' ')}: {sorted(map(str, notes[kind]))[:3]}")
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    tied = getattr(model.config, "tie_word_embeddings", False) and last is not None
    if tied and first.weight.data_ptr() != last.weight.data_ptr():
        raise _broken(folder, "its embeddings are tied, but come apart when it is loaded")
    if record["renamed"] and expected is not None:
        for name, value in model.state_dict().items():
            if name not in expected or not torch.equal(value, expected[name].detach().to(value.device, value.dtype)):
                raise _broken(folder, f"tensor {name} differs from the trained one")
    if device is not None:
        model.to(device)
    again = generate(model, prompt, model.generation_config.pad_token_id)
    if answer is None:
        return f"checked: {len(again.ids)} tokens"
    if again.ids == answer.ids:
        return f"checked: {len(again.ids)} tokens, the same as the trained model's"
    # Other kernels (on a GPU, or a patched forward pass) may round otherwise, so that a near tie falls otherwise.
    far = float((again.logits - answer.logits).abs().max() / answer.logits.abs().max())
    if far > _LOGIT_TOLERANCE:
        raise _broken(folder, f"loaded again, it generates {again.ids}, and the trained model {answer.ids}")
    return f"checked: {len(again.ids)} tokens; logits differ from the trained model's by {far:.1e} of the largest"


def generate(model: Any, prompt: Sequence[int], pad_id: int | None) -> Answer:
    """A few tokens, greedily; the end token does not end them, so that there is something to compare.

    Raises:
        EngineError: the logits are no numbers.
    """
    torch = need("torch")
    model.eval()
    ids = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    room = max(1, min(NEW_TOKENS, int(getattr(model.config, "max_position_embeddings", 10**9)) - ids.shape[1]))
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=room, min_new_tokens=room,
            do_sample=False, use_cache=True, pad_token_id=pad_id, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
    if not all(bool(torch.isfinite(logits).all()) for logits in made.logits):
        raise EngineError("the trained model's logits are not finite", "lower train.learning_rate, check the data")
    return Answer([int(i) for i in made.sequences[0, ids.shape[1] :]], made.logits[0][0].float().cpu())


def _room_for(size: int, device: Any) -> str | None:
    """Why a model of so many bytes cannot be loaded once more; None if it can."""
    wanted = size * _MEMORY_FACTOR
    free = free_memory()
    if wanted > free:
        return f"{size / 2**30:.1f} GiB of weights, {free / 2**30:.1f} GiB of memory free"
    torch = need("torch")
    if device is not None and getattr(device, "type", str(device)) == "cuda":
        left = torch.cuda.mem_get_info(device)[0]
        if wanted > left:
            return f"{size / 2**30:.1f} GiB of weights, {left / 2**30:.1f} GiB of the GPU free"
    return None


def free_memory() -> float:
    """Bytes that this machine, or the container around this process, could still give."""
    free = math.inf
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = float(line.split()[1]) * 1024
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit.isdecimal():
            free = min(free, int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return free


def _broken(folder: Path, what: str) -> EngineError:
    return EngineError(f"the checkpoint in {folder} is not whole: {what}", "check the disk, then run again")

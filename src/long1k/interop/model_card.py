"""README.md of a checkpoint: recipe, data with digest and licences, template, and figures once it was scored.

The card is no part of a checkpoint's digest or file list: it can be written, or written again, at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import binomtest

from long1k import __version__
from long1k.errors import DataError
from long1k.interop.card import CARD, as_cell, counted, hub_license
from long1k.interop.facts import UNKNOWN, unknown_licenses, without_paths
from long1k.tables import Manifest, digest_json, read_manifest, write_atomic

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """One benchmark's result of a checkpoint: counts of answers by status, and how they were drawn."""

    benchmark: str
    grader: str
    statuses: dict[str, int]
    questions: int
    samples: int
    temperature: float
    max_new_tokens: int
    cut: int
    digest: str

    @property
    def answers(self) -> int:
        """All answers, whatever became of them."""
        return sum(self.statuses.values())

    @property
    def rate(self) -> float:
        """Share of answers that are correct; everything else counts as not correct."""
        return self.statuses.get("correct", 0) / self.answers

    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval over questions; None where a question was answered several times."""
        if self.samples != 1:
            return None
        found = binomtest(self.statuses.get("correct", 0), self.answers).proportion_ci(_CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)


def read_figure(checkpoint: Manifest, predictions: Path, scores: Path) -> Figure:
    """The figure of one table of predictions and its scores.

    Raises:
        DataError: the scores are of other predictions, or these of another checkpoint.
    """
    predicted, scored = read_manifest(predictions), read_manifest(scores)
    if not predicted.stage.startswith("predict/") or not scored.stage.startswith("score/"):
        raise DataError(
            f"{predictions} and {scores} are not predictions and their scores", "give folders of predict and score"
        )
    if scored.inputs.get("predictions") != predicted.digest:
        raise DataError(f"{scores} are the scores of other predictions than {predictions}", "score them again")
    if predicted.inputs.get("checkpoint") != checkpoint.digest:
        raise DataError(f"{predictions} were made by another checkpoint", "predict with this one")
    sampling = predicted.config["sampling"]
    return Figure(
        benchmark=predicted.config["benchmark"], grader=f"{scored.config['grader']} {scored.config['version']}",
        statuses=dict(scored.info["statuses"]), questions=predicted.info["items"], samples=sampling["samples"],
        temperature=sampling["temperature"], max_new_tokens=sampling["max_new_tokens"],
        cut=predicted.info["finish_reasons"].get("length", 0), digest=scored.digest,
    )  # fmt: skip


def write_model_card(
    folder: Path,
    *,
    figures: Sequence[Figure] = (),
    license: str | None = None,
    base_model: str | None = None,
    language: str = "en",
) -> Path:
    """Write README.md into a finished checkpoint; a card that is up to date is left alone.

    Args:
        figures: results on benchmarks; none yet leaves the section out.
        license: of the weights, as the hub names it: the base model's decides, and only you know it.
        base_model: owner/name on the hub of the model it was trained from; the folder's name if not given.
        language: code of the language of the samples.

    Raises:
        DataError: the folder is no finished checkpoint of ours.
    """
    manifest = read_manifest(folder)
    if not manifest.stage.startswith("train/"):
        raise DataError(f"{folder} holds the result of {manifest.stage.split('/')[0]}", "give a checkpoint's folder")
    path = folder / CARD
    decided = [manifest.digest, license, base_model, language, [[f.benchmark, f.grader, f.digest] for f in figures]]
    mark = f"<!-- long1k card {digest_json(decided)[:32]} -->"
    if path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace"):
        return path
    head = yaml.safe_dump(_head(manifest, license, base_model, language), sort_keys=False, allow_unicode=True)
    body = "\n".join(_body(folder, manifest, figures, license, base_model))
    write_atomic(path, f"---\n{head}---\n\n{mark}\n\n{body}\n".encode())
    return path


def _head(manifest: Manifest, license: str | None, base_model: str | None, language: str) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if license is not None:
        known = hub_license({license: 1})
        head["license"] = known
        if known == "other":
            head["license_name"] = license
    head |= {"language": [language], "library_name": "transformers", "pipeline_tag": "text-generation"}
    if base_model is not None:
        head |= {"base_model": base_model, "base_model_relation": "finetune"}
    head["tags"] = ["reasoning", "long-chain-of-thought", "sft", "long1k"]
    return head


def checkpoint_name(folder: Path) -> str:
    """What to call a checkpoint: its folder's name, or arm and seed where a study made it."""
    parts = folder.resolve().parts
    if parts[-1] != "train":
        return parts[-1]
    return "-".join(parts[-3:-1]) if parts[-2].startswith("seed-") else parts[-2]


def _body(
    folder: Path, manifest: Manifest, figures: Sequence[Figure], license: str | None, base_model: str | None
) -> Iterable[str]:
    info, train = manifest.info, manifest.config["train"]
    start = base_model or info.get("base_model") or "a model of unknown origin"
    yield f"# {as_cell(checkpoint_name(folder))}\n"
    yield (
        f"{as_cell(start)}, fine-tuned for {info['steps']:,} steps on {info['tokens']:,} tokens "
        f"({info['supervised_tokens']:,} of them supervised) with long1k "
        f"{manifest.versions.get('long1k', __version__)}."
    )
    yield "\n## Use it\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
    yield f'tokenizer = AutoTokenizer.from_pretrained("{folder.resolve().name}")   # a folder, or owner/name on the hub'
    yield f'model = AutoModelForCausalLM.from_pretrained("{folder.resolve().name}")'
    yield 'prompt = tokenizer.apply_chat_template([{"role": "user", "content": "…"}], add_generation_prompt=True,'
    yield '                                       return_dict=True, return_tensors="pt")'
    yield "tokenizer.decode(model.generate(**prompt, max_new_tokens=1024)[0])\n```"
    chat = manifest.config["chat"]
    yield f"\nThe chat template lies beside the weights (SHA-256 `{chat['template']}`); thinking stands in "
    yield f"`{chat['thinking']}` tags" + (f"; system text: {as_cell(chat['system'])}." if chat["system"] else ".")
    if figures:
        yield "\n## Figures\n"
        yield from _figures(figures)
    yield "\n## Training\n"
    yield "| setting | value |\n|---|---|"
    shown = {key: value for key, value in train.items() if value is not None} | {"seed": manifest.config["seed"]}
    yield from (f"| {key} | {as_cell(json.dumps(without_paths(value)))} |" for key, value in shown.items())
    loss = info.get("final_loss")
    trained = info.get("trainable_parameters", info["parameters"])
    if train.get("lora") is not None:
        yield f"\nAdapters of {trained:,} parameters were trained and merged into the weights; `adapter/` holds them."
    yield f"\n{info['parameters']:,} parameters" + (f"; last loss {loss:.4f}." if loss is not None else ".")
    yield "\n## Data\n"
    yield f"Samples with digest `{manifest.inputs['examples']}`."
    data = info.get("data")
    if data:
        lengths = data["lengths"]
        yield (
            f"{data['rows']:,} samples of {lengths['min']:,} to {lengths['max']:,} tokens (mean {lengths['mean']:,}), "
            f"{data['unique_problems']:,} different problems.\n"
        )
        yield from counted("source", "traces", data["sources"])
        yield ""
        yield from counted("licence", "traces", data["licenses"])
    yield "\n## How it was made\n"
    yield f"Tokenizer, SHA-256: `{chat['tokenizer']}`  "
    if "model" in manifest.inputs:
        yield f"Model trained from, digest: `{manifest.inputs['model']}`  "
    yield f"Digest of the weights: `{manifest.digest}`; made {manifest.created}; versions: "
    yield ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) + "."
    yield "\n## Limits\n"
    yield from (f"- {line}" for line in _limits(data, figures, license))


def _figures(figures: Sequence[Figure]) -> Iterable[str]:
    yield "| benchmark | correct | rate | 95 % interval | cut off | sampling | grader |\n|---|---|---|---|---|---|---|"
    for one in figures:
        bounds = one.interval()
        between = "–" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"
        how = "greedy" if one.temperature == 0 else f"temperature {one.temperature:g}, {one.samples} a question"
        correct = one.statuses.get("correct", 0)
        yield (
            f"| {as_cell(one.benchmark)} | {correct:,} of {one.answers:,} | {100 * one.rate:.1f} % | {between} "
            f"| {one.cut:,} | {how}, at most {one.max_new_tokens:,} tokens | {as_cell(one.grader)} |"
        )
    yield "\nWhat could not be graded, was cut off or gave no answer counts as not correct."


def _limits(data: Mapping[str, Any] | None, figures: Sequence[Figure], license: str | None) -> Iterable[str]:
    yield "The reasoning it was trained on was written by language models; so is what it writes, and it can be wrong."
    if not figures:
        yield "It was not scored on any benchmark yet."
    elif any(one.interval() is None for one in figures):
        yield "Rates over several answers a question have no interval here: such answers are not independent."
    if license is None:
        yield "The licence of the weights is not named: it depends on the model that it was trained from."
    unknown = unknown_licenses(data["licenses"]) if data else 0
    if unknown:
        yield f"The licence of {unknown:,} traces of its data is {UNKNOWN}."

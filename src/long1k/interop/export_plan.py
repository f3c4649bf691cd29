"""How one sample becomes one row of an export, and which files stand beside the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from long1k.chat import MASKED_PAIR, Chat
from long1k.interop import llamafactory
from long1k.interop.export_config import ExportConfig, row_schema
from long1k.interop.facts import data_files
from long1k.interop.formats import PROVENANCE, SHAPES, Refusal, provenance_of, to_sharegpt, with_system
from long1k.interop.tokenized import to_tokenized, tokenized_provenance
from long1k.rows import Example, to_dict
from long1k.tables import Manifest, write_atomic

BATCH_ROWS = 64  # samples can be 100 kB each; this bounds what is in memory at once
Row = dict[str, Any]


class Plan:
    """How one sample becomes one row, and which files stand beside the rows."""

    def __init__(self, folder: Path, source: Manifest, config: ExportConfig, chat: Chat | None, system: str | None):
        self.config, self.chat, self.system = config, chat, system
        self.info: dict[str, Any] = {}
        self.context = False
        several = config.format == "tokenized" and _has_pairs(folder, source)
        self.schema = row_schema(config, several) if config.format in ("parquet", "tokenized") else None
        if config.format == "llamafactory":
            assert chat is not None
            self.template, added = (config.template, None) if config.template else llamafactory.match_template(chat)
            self.system = system if system is not None else added
            self.context = _has_context(folder, source)
            self.info = {"template": self.template, "mask_history": self.context}
            # What cannot be said in its training file is refused here, before any sample is written.
            llamafactory.training_file(str(self.template), 1, self.context, config.training)

    def row(self, example: Example) -> Row | Refusal:
        """The row of a sample, or why the format cannot hold it."""
        name = self.config.format
        if name in ("parquet", "jsonl"):
            return to_dict(example)
        if name == "tokenized":
            assert self.chat is not None
            made = to_tokenized(example, self.chat)
            carry: Callable[[Example], str] = tokenized_provenance
        else:
            example = with_system(example, self.system)
            made = to_sharegpt(example, self.context) if name == "llamafactory" else SHAPES[name](example)
            carry = provenance_of
        if isinstance(made, Refusal):
            return made
        return {"id": example.example_id, **made, **({PROVENANCE: carry(example)} if self.config.provenance else {})}

    def side_files(self, out: Path, longest_tokens: int) -> list[Path]:
        """Write what LLaMA-Factory reads beside the rows; returns the files."""
        if self.config.format != "llamafactory":
            return []
        texts = {
            "dataset_info.json": json.dumps(llamafactory.dataset_info(), indent=1),
            "train.yaml": llamafactory.training_file(
                str(self.template), longest_tokens, self.context, self.config.training
            ),
        }
        layout = (self.config.training or llamafactory.PUBLISHED)["layout"]
        if layout["sharding"] != "none":
            texts[llamafactory.deepspeed_name(layout)] = llamafactory.deepspeed_file(layout)
        for name, text in texts.items():
            write_atomic(out / name, text.encode())
        return [out / name for name in texts]


def _has_context(folder: Path, manifest: Manifest) -> bool:
    """Whether any sample has an assistant turn that is context only."""
    for name in data_files(manifest):
        with pq.ParquetFile(folder / name) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["prompt"]):
                roles = pc.struct_field(pc.list_flatten(batch.column("prompt")), "role")
                if pc.any(pc.equal(roles, "assistant")).as_py():
                    return True
    return False


def _has_pairs(folder: Path, manifest: Manifest) -> bool:
    """Whether any sample is two conversations in one row."""
    return any(
        pc.any(pc.equal(pq.read_table(folder / name, columns=["mode"]).column("mode"), MASKED_PAIR)).as_py()
        for name in data_files(manifest)
    )

"""The trace reader of a page: its index, the texts that stand in the page, and the files of texts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from long1k.reporting import reader_blocks, reader_index, reader_math, scripts
from long1k.tables import digest_json


@dataclass(frozen=True)
class Reader:
    """What a page needs of it: blocks of data for the page, files beside it, counts for the manifest."""

    blocks: list[Markup]
    files: list[Path]
    outputs: int
    samples: int
    counts: dict[str, int]


def digest(root: Path, findings: Mapping[str, Any]) -> str:
    """What decides the reader's content: the digests of all its tables."""
    from long1k.reporting import reader_samples  # templates and tokenizers load when a page is made

    return digest_json([reader_index.digests(root, findings), reader_samples.digests(root)])


def build(out: Path, root: Path, findings: Mapping[str, Any]) -> Reader:
    """Index every finished output of a run, and write the texts that the page cannot hold to ``out/texts``.

    Every file is written whole or not at all, and those that an earlier page left are removed.

    Raises:
        DataError: a table cannot be read, or holds other rows.
    """
    from long1k.reporting import reader_samples

    roles = reader_index.roles(findings)
    found = reader_index.sources(root, findings)
    index = reader_index.build(root, found, roles)
    groups = len(reader_blocks.groups(found, index)) + 1
    blocks, drawn = reader_blocks.Blocks(out, groups), reader_math.Drawn()
    # Samples first: they are few, and the page may hold them whatever follows.
    samples = reader_samples.write_samples(root, list(roles), blocks, drawn)
    reader_blocks.write_outputs(root, found, index, blocks, drawn)
    for stale in sorted({*(out / reader_blocks.TEXTS).glob("*")} - {*blocks.files}):
        stale.unlink()
    counts = {
        "formulas_drawn": drawn.converted,
        "formulas_not_drawn": drawn.kept_as_source,
        "formulas_beyond": drawn.beyond,
    }
    head = {
        **index.packed(), "samples": {"cells": samples.cells, **samples.columns},
        "files": {number: name for number in range(blocks.number) if number not in blocks.inline
                  for name in [reader_blocks.side_name(number)]},
        "formula": reader_math.PATTERN, "tags": sorted(reader_math.TAGS), "attributes": sorted(reader_math.ATTRIBUTES),
        "beyond": drawn.beyond,
    }  # fmt: skip
    made = [scripts.packed_block("reader-index", head)]
    for number, packed in sorted(blocks.inline.items()):
        made.append(Markup(f'<script type="text/plain" id="texts-{number}">{packed}</script>'))
    outputs, shown = len(index.outputs["id"]), len(samples.columns["id"])
    if not outputs and not shown:
        made = []
    return Reader(made, blocks.files, outputs, shown, counts | {"text_files": len(blocks.files)})

"""report of several runs: their findings side by side on one offline HTML page, the figures as files beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.reporting import page  # what draws and fills in loads when a page is made
from long1k.reporting.figures import Album
from long1k.reporting.several import labels, several_context
from long1k.stages.report import study_of, write_page
from long1k.tables import Manifest, begin, digest_json, fingerprint, is_current, read_manifest

STAGE = "report-several/1"


def report_several(out: Path, roots: Sequence[Path], differences: Sequence[Mapping[str, Any]]) -> Manifest:
    """Write report.html and figures/ of several runs; a page of the same findings and design is left alone.

    Args:
        out: folder of the page.
        roots: folders of the runs, in the order in which they are shown.
        differences: of every run but the first against the first: {"rows": as ``compare`` tells them, "why": if none}.

    Raises:
        DataError: one is no run, or its findings cannot be read.
    """
    found = [study_of(root) for root in roots]
    findings = [one for _, one in found]
    settings: dict[str, Any] = {"design": page.design_digest(), "labels": labels(roots, findings)}
    inputs = {
        f"run-{at}": digest_json([one, analysis.digest if analysis is not None else ""])
        for at, (analysis, one) in enumerate(found)
    } | {"differences": digest_json(list(differences))}  # fmt: skip
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    started = time.time()
    begin(out, STAGE, settings, inputs)
    album = Album()
    analyzed = [one is not None for one, _ in found]
    html = page.render(several_context(roots, findings, analyzed, differences, album), album, "several.html.j2")
    return write_page(
        out, html, album, stage=STAGE, config=settings, inputs=inputs, started=started,
        rows_in=len(roots), analyzed=sum(analyzed),
    )  # fmt: skip

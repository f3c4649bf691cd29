"""report: findings and tables of a run -> one offline HTML page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from long1k.tables import Manifest, begin, file_digest, finish, fingerprint, is_current, read_manifest

STAGE = "report/1"


def report(out: Path, root: Path) -> Manifest:
    inputs = {"analyze": read_manifest(root / "analyze").digest}
    settings: dict[str, Any] = {}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    begin(out, STAGE, settings, inputs)
    (out/"report.html").write_text("todo")
    return finish(out, stage=STAGE, config=settings, inputs=inputs, digest=file_digest(out/"report.html"), files=[out/"report.html"], started=time.time())

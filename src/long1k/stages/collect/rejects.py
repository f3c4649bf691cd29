"""Rows of ``rejected``: what was left out, why, and the beginning of it."""

from __future__ import annotations

import json
from dataclasses import asdict

from long1k.jsonlines import BadRow
from long1k.rows import Reject, Trace, to_dict
from long1k.sources.raw import RawTrace

_EVIDENCE = 500
_ROW = 4000


def make_reject(source: str, row: RawTrace | BadRow, reason: str, evidence: str) -> Reject:
    """A row of ``rejected``: texts shortened, and only characters that can be stored."""
    if isinstance(row, BadRow):
        text = row.row
    else:
        text = json.dumps({k: v for k, v in asdict(row).items() if v not in (None, ())}, ensure_ascii=True)
    return Reject(reason, _storable(evidence)[:_EVIDENCE], source, escaped(row.source_row), _storable(text)[:_ROW])


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\\0")


def escaped(text: str) -> str:
    """A text that can be stored: half surrogates written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def make_reject_of_trace(trace: Trace, reason: str, evidence: str) -> Reject:
    """A row of ``rejected`` from a trace that was found to be one too many."""
    text = json.dumps({k: v for k, v in to_dict(trace).items() if v is not None}, ensure_ascii=True)
    return Reject(reason, evidence[:_EVIDENCE], trace.source, trace.source_row, text[:_ROW])

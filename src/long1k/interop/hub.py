"""A finished table, export or checkpoint, with its card, to the Hugging Face hub: one commit, whole or not at all."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from long1k.errors import DataError, EngineError, IncompleteError, RecipeError
from long1k.interop.card import CARD, row_type_of, write_card
from long1k.interop.facts import UNKNOWN, table_facts, unknown_licenses, without_paths
from long1k.interop.model_card import write_model_card
from long1k.plugins import need
from long1k.tables import MANIFEST, Manifest, is_current, read_manifest

_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


class Client(Protocol):
    """The part of ``huggingface_hub.HfApi`` that is used."""

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        """Make the repository if it is not there."""

    def create_branch(self, repo_id: str, **options: Any) -> Any:
        """Make the branch if it is not there."""

    def upload_folder(self, **options: Any) -> Any:
        """Upload a folder as one commit."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What is going to be uploaded: files with their bytes, and rows by licence."""

    folder: Path
    to: str
    files: dict[str, int]
    rows: int
    licenses: dict[str, int]
    kind: str = "dataset"

    @property
    def what(self) -> str:
        """What it is, in two words."""
        return f"{self.rows:,} rows" if self.kind == "dataset" else "a checkpoint"

    def lines(self) -> list[str]:
        """The plan, for people."""
        size = sum(self.files.values())
        licences = ", ".join(f"{name} ({count:,})" for name, count in self.licenses.items())
        return [
            f"{self.folder} -> {self.to}: {self.what}, {len(self.files)} files, {size:,} bytes",
            *(f"  {bytes_:>13,}  {name}" for name, bytes_ in self.files.items()),
            f"  licences (traces): {licences}",
        ]


def plan_upload(folder: Path, to: str, *, allow_unknown_license: bool = False) -> Upload:
    """Check a folder, write its card if it has none, and say what would be uploaded.  Nothing is sent.

    A finished checkpoint becomes a model repository, everything else a data set.

    Raises:
        RecipeError: ``to`` is not owner/name.
        IncompleteError: the folder was never finished, or files are missing.
        DataError: it is no table of traces or samples and no checkpoint, or licences are unknown.
    """
    if _NAME.fullmatch(to) is None:
        raise RecipeError(f"--to {to}: expected owner/name", "e.g. --to my-team/long-traces-6k")
    manifest = read_manifest(folder)
    row_type = row_type_of(manifest)
    is_model = manifest.stage.startswith("train/")
    if row_type is None and not is_model:
        raise DataError(
            f"{folder} holds the result of {manifest.stage.split('/')[0]}, not traces, samples or a checkpoint",
            "push takes a folder made by collect, synthesize, import, export or train",
        )
    if not is_current(folder, manifest.fingerprint):
        raise IncompleteError(
            f"{folder}: files are missing or have another size", "run the command that makes it again"
        )
    if row_type is not None:
        facts = manifest.info.get("facts") or table_facts(folder, manifest, row_type)
    else:  # of the samples it was trained on
        facts = manifest.info.get("data") or {"licenses": {UNKNOWN: manifest.rows_out}, "rows": manifest.rows_out}
    unknown = unknown_licenses(facts["licenses"])
    if unknown and not allow_unknown_license:
        raise DataError(
            f"{folder}: the licence of {unknown:,} of {sum(facts['licenses'].values()):,} entries is unknown",
            "name the licence of each source when it is collected, or add --allow-unknown-licence",
        )
    if not (folder / CARD).is_file():  # one that is there may be edited, or know the pool and the language
        write_card(folder, manifest, row_type) if row_type is not None else write_model_card(folder)
    sizes = {name: (folder / name).stat().st_size for name in sorted(manifest.files)}
    sizes[MANIFEST] = len(_public(manifest))
    sizes[CARD] = len(_card(folder, to))
    kind = "model" if is_model else "dataset"
    return Upload(folder, to, sizes, facts["rows"], dict(facts["licenses"]), kind)


def push(plan: Upload, *, private: bool = False, revision: str | None = None, client: Client | None = None) -> str:
    """Upload what was planned; returns the address of the commit.

    Args:
        client: ``HfApi`` or its stand-in; None makes one, which reads the token of ``hf auth login``.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        EngineError: the hub refused or could not be reached.
    """
    if client is None:
        client = need("huggingface_hub").HfApi(library_name="long1k")
    manifest = read_manifest(plan.folder)
    with tempfile.TemporaryDirectory(prefix="long1k-push-") as name:
        staging = Path(name)
        for file in plan.files:
            if file not in (MANIFEST, CARD):
                (staging / file).parent.mkdir(parents=True, exist_ok=True)
                (staging / file).symlink_to((plan.folder / file).resolve())
        (staging / MANIFEST).write_bytes(_public(manifest))
        (staging / CARD).write_bytes(_card(plan.folder, plan.to))
        try:
            client.create_repo(plan.to, repo_type=plan.kind, private=private, exist_ok=True)
            if revision is not None:
                client.create_branch(plan.to, branch=revision, repo_type=plan.kind, exist_ok=True)
            done = client.upload_folder(
                repo_id=plan.to, folder_path=str(staging), repo_type=plan.kind, revision=revision,
                commit_message=f"{plan.what}, digest {manifest.digest[:16]}",
            )  # fmt: skip
        except Exception as error:  # the library's own errors, and those of the network below it
            raise EngineError(f"the upload to {plan.to} failed: {_short(error)}", _mend(error)) from None
    return str(getattr(done, "commit_url", done))


def _card(folder: Path, to: str) -> bytes:
    """The folder's card, which may have been edited since, with the name under which the hub will have it."""
    text = (folder / CARD).read_text(encoding="utf-8")
    for call in ("load_dataset", "from_pretrained"):
        text = text.replace(f'{call}("{folder.resolve().name}"', f'{call}("{to}"')
    return text.encode()


def _public(manifest: Manifest) -> bytes:
    """manifest.json without folders of this machine: a path is shortened to its last name."""
    return json.dumps(
        without_paths(manifest.__dict__), indent=1, ensure_ascii=False, sort_keys=True, default=str
    ).encode()


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _mend(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403) or "token" in str(error).lower():
        return "log in with 'hf auth login' and a token that may write to this name"
    return "check the network and the name; the same command can be given again"

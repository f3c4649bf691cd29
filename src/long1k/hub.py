"""Files of a data set on the Hugging Face hub: which ones, at which commit, fetched or streamed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from long1k.errors import DataError
from long1k.files import LocalFile, kind_of_name, prefer_one_kind
from long1k.plugins import need

_CARD = "README.md"
_OTHER_SPLITS = ("test", "validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True, slots=True)
class HubData:
    """Files of one commit of one data set."""

    repo: str
    revision: str | None
    commit: str
    files: tuple[str, ...]
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file that is read over the network, without a copy on the disk."""

    repo: str
    commit: str
    name: str
    endpoint: str | None
    near: bool = False

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"{self.name} of the data set {self.repo}"

    def open(self) -> IO[bytes]:
        """Its bytes; only what is asked for is fetched."""
        with hub_errors(self.repo):
            system = need("huggingface_hub").HfFileSystem(endpoint=self.endpoint)
            file = system.open(f"datasets/{self.repo}@{self.commit}/{self.name}", "rb")
            return io.BufferedReader(file, 1 << 20)


def resolve(
    repo: str,
    *,
    revision: str | None,
    config: str | None,
    split: str,
    patterns: Sequence[str] | None,
    endpoint: str | None,
) -> HubData:
    """The commit that a revision means now, and the files to read from it.

    Without the network a copy in the hub's cache will do.

    Args:
        patterns: names with * of the files; None: those that the data set's card gives for the
            configuration and split, else those whose name says the split.

    Raises:
        DataError: no such data set, revision, configuration or file; or the hub cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = need("huggingface_hub")
    try:
        with hub_errors(repo):
            info = hub.HfApi(endpoint=endpoint).dataset_info(repo, revision=revision)
        commit, names = str(info.sha), [str(item.rfilename) for item in info.siblings or ()]
        offline = None
    except DataError as error:
        offline = error
        folder = _cached(repo, revision, (_CARD,), endpoint, offline)
        commit = folder.name
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if patterns is None:
        patterns = _patterns_of_card(repo, commit, names, config, split, endpoint)
    if patterns is None:
        chosen = _by_split(repo, [name for name in names if config is None or _belongs(name, config)], split)
    else:
        chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
        if offline is not None:  # the cache knows whether all of them were fetched
            _cached(repo, revision, patterns, endpoint, offline)
    files = prefer_one_kind(chosen) or sorted(chosen)
    if not files:
        raise DataError(
            f"the data set {repo} has no file for {', '.join(patterns or ()) or f'{config or split}'}",
            f"set files: to patterns; it has {_some(names)}",
        )
    return HubData(repo, revision, commit, tuple(files), endpoint)


def fetch(data: HubData) -> list[LocalFile]:
    """The files in the hub's cache on this machine; what is there already is not fetched again."""
    names = [_CARD, *(re.sub(r"([\[*?])", r"[\1]", name) for name in data.files)]
    with hub_errors(data.repo):
        # By its name first: so the cache learns what the revision meant, for work without the network.
        folder = _snapshot(data.repo, data.revision, names, data.endpoint)
        if folder.name != data.commit:
            folder = _snapshot(data.repo, data.commit, names, data.endpoint)
    return [LocalFile(str(folder / name), name) for name in data.files]


def stream(data: HubData) -> list[HubFile]:
    """The files, to be read over the network."""
    return [HubFile(data.repo, data.commit, name, data.endpoint) for name in data.files]


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into an error that says what to do.

    Raises:
        DataError: in place of the client's own.
    """
    errors = need("huggingface_hub.errors")
    network = getattr(errors, "HTTPError", OSError)
    try:
        yield
    except errors.GatedRepoError:
        raise DataError(
            f"the data set {repo} is open to those only who accepted its terms", "accept them, then: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"the hub has no data set {repo}", "check hub: OWNER/NAME; a private one needs: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise DataError(f"the data set {repo} has no such revision", "give a branch, a tag or a whole commit") from None
    except errors.OfflineModeIsEnabled:
        raise DataError(
            f"the data set {repo} is not in the hub's cache, and HF_HUB_OFFLINE forbids the network",
            "export HF_HUB_OFFLINE=0, or give a copy of its files by path: (a benchmark: --option path=FILE)",
        ) from None
    except errors.HFValidationError as error:
        raise DataError(f"'{repo}' cannot be a data set: {error}", "hub: OWNER/NAME") from None
    except (network, OSError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the hub cannot give the data set {repo}: {text}",
            "check the network, or give a copy of its files by path: (a benchmark: --option path=FILE)",
        ) from None


def _snapshot(
    repo: str, revision: str | None, patterns: Sequence[str], endpoint: str | None, *, cached: bool = False
) -> Path:
    made = need("huggingface_hub").snapshot_download(
        repo,
        repo_type="dataset",
        revision=revision,
        allow_patterns=list(patterns),
        endpoint=endpoint,
        local_files_only=cached,
    )
    return Path(made)


def _cached(repo: str, revision: str | None, patterns: Sequence[str], endpoint: str | None, offline: DataError) -> Path:
    """The folder of a copy in the cache that has all files of these patterns, else the error that made us look."""
    try:
        return _snapshot(repo, revision, patterns, endpoint, cached=True)
    except (OSError, ValueError):
        raise offline from None


def _patterns_of_card(
    repo: str, commit: str, names: Sequence[str], config: str | None, split: str, endpoint: str | None
) -> list[str] | None:
    """What the data set's card says of its configurations; None if it says nothing."""
    if _CARD not in names:
        return None
    with hub_errors(repo):
        path = need("huggingface_hub").hf_hub_download(
            repo, _CARD, repo_type="dataset", revision=commit, endpoint=endpoint
        )
    found = re.match(r"\ufeff?---\s*\n(.*?)\n---", Path(path).read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        card = yaml.safe_load(found.group(1)) if found else None
    except yaml.YAMLError:
        return None
    configs = {
        str(item.get("config_name", "default")): item
        for item in (card.get("configs") if isinstance(card, dict) else None) or ()
        if isinstance(item, dict) and item.get("data_files")
    }
    if not configs:
        return None
    chosen = config or next((name for name, item in configs.items() if item.get("default")), None)
    chosen = chosen or ("default" if "default" in configs else next(iter(configs)))
    if chosen not in configs:
        raise DataError(f"the data set {repo} has no configuration '{chosen}'", f"config: one of {', '.join(configs)}")
    splits = _by_name(configs[chosen]["data_files"])
    if split not in splits:
        raise DataError(
            f"configuration '{chosen}' of {repo} has no split '{split}'", f"split: one of {', '.join(splits)}"
        )
    return splits[split]


def _by_name(data_files: Any) -> dict[str, list[str]]:
    """Split -> patterns, from any of the forms that a card may use."""
    items = data_files if isinstance(data_files, list) else [data_files]
    splits: dict[str, list[str]] = {}
    for item in items:
        entry = item if isinstance(item, dict) else {"path": item}
        paths = entry.get("path", [])
        splits.setdefault(str(entry.get("split", "train")), []).extend(
            str(path) for path in (paths if isinstance(paths, list) else [paths])
        )
    return splits


def _by_split(repo: str, names: Sequence[str], split: str) -> list[str]:
    rows = [name for name in names if kind_of_name(name)[0] is not None]
    named = [name for name in rows if _mentions(name, split)]
    if named or split != "train":
        return named
    return [name for name in rows if not any(_mentions(name, other) for other in _OTHER_SPLITS)]


def _belongs(name: str, config: str) -> bool:
    """Whether a file lies in a folder of the configuration's name, or has that name itself."""
    path = PurePosixPath(name)
    return config in path.parent.parts or path.name.partition(".")[0] == config


def _mentions(name: str, split: str) -> bool:
    return re.search(rf"(^|[/_.-]){re.escape(split)}([/_.-]|$)", name) is not None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")

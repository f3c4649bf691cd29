"""Two runs, or two parts of runs, side by side: what differs in how they were made, and in what came out.

Tables are compared by their place: arms/L500/seed-0/train with the same place on the other side; of an arm's or a
seed's folder the place inside it.  What made a table is in its manifest; what it answered is in its scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.provenance import stage_of
from long1k.rows import canonical_json
from long1k.run_names import meant
from long1k.scored import graded_predictions
from long1k.tables import MANIFEST, Manifest, leaves, read_json, read_manifest

CATEGORIES = ("recipe", "configuration", "data", "template", "versions")
_UNTOLD = ("analyze", "report")  # they follow from the rest
_INFO = ("tokenizer", "template", "engine", "items", "parameters", "trainable_parameters", "steps", "tokens",
         "supervised_tokens", "base_model", "grader", "counter")  # fmt: skip
Side = dict[str, Path]


def one_run(folder: Path) -> None:
    """Refuse a folder of several runs: arms of one name there have nothing to do with each other.

    Raises:
        DataError: there are runs below the folder, and it is none.
    """
    if (folder / "recipe.json").is_file():
        return
    runs = sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/recipe.json"))
    if runs:
        more = f", and {len(runs) - 4} more" if len(runs) > 4 else ""
        names = ", ".join(str(run) for run in runs[:4])
        raise DataError(f"{folder} is no run, but a folder of runs", f"give one of them: {names}{more}")


def tables_of(folder: Path) -> Side:
    """The tables and checkpoints under a folder by their place in it; of scores, the predictions too.

    Raises:
        DataError: there is no table, or there are several runs.
    """
    if not folder.is_dir():
        mend = meant(folder, "give a run, an arm's folder in one, or a folder made by score")
        raise DataError(f"there is no folder {folder}", mend)
    one_run(folder)
    if (folder / MANIFEST).is_file():
        stage = stage_of(read_manifest(folder))
        found = {stage: folder}
        if stage == "score":
            found["predict"] = graded_predictions(folder)
        return found
    places = (path.parent.relative_to(folder) for path in sorted(folder.rglob(MANIFEST)))
    found = {place.as_posix(): folder / place for place in places if place.parts[0] not in _UNTOLD}
    if not found:
        raise DataError(
            f"{folder} holds no finished table", "give a run, an arm's folder in one, or a folder of scores"
        )
    return found


def same_places(a: Side, b: Side) -> list[str]:
    """Places that both sides have.

    Raises:
        DataError: there are none.
    """
    shared = [place for place in a if place in b]
    if not shared:
        some = ", ".join(list(a)[:2]), ", ".join(list(b)[:2])
        raise DataError(
            f"nothing on one side has its place on the other: {some[0]}, … against {some[1]}, …",
            "compare run with run, arm with arm (runs/NAME/arms/ARM), seed with seed, or scores with scores",
        )
    return shared


def score_groups(a: Side, b: Side) -> list[tuple[list[Path], list[Path]]]:
    """Scores of both sides that stand against each other: of one place, of whatever training seeds, in order."""
    groups: tuple[dict[str, list[Path]], dict[str, list[Path]]] = ({}, {})
    for side, group in zip((a, b), groups, strict=True):
        for place in sorted(side):
            if stage_of(read_manifest(side[place])) == "score":
                group.setdefault(re.sub(r"(^|/)seed-\d+(?=/)", r"\1seed-*", place), []).append(side[place])
    return [(groups[0][place], groups[1][place]) for place in sorted(groups[0]) if place in groups[1]]


def differences(folder_a: Path, folder_b: Path, a: Side, b: Side) -> list[dict[str, Any]]:
    """Every leaf that differs: category, stage, key, both values, and in how many of the stage's tables.

    A value of None is not set; ``same`` is whether all these tables have the same two values, which are else those of
    the first. Tables that only one side has are told by ``only``.
    """
    found: dict[str, dict[str, Any]] = {}
    recipes = [read_json(folder / "recipe.json") for folder in (folder_a, folder_b)]
    if all(recipes):
        for key, one, other in _differing(leaves("", recipes[0]), leaves("", recipes[1])):
            _note(found, "recipe", "recipe", key, one, other, "recipe.json")
    of_stage: dict[str, int] = {}
    for place in same_places(a, b):
        first, second = read_manifest(a[place]), read_manifest(b[place])
        stage = stage_of(first)
        of_stage[stage] = of_stage.get(stage, 0) + 1
        for key, one, other in _differing(_facts(first), _facts(second)):
            _note(found, _category(key), stage, key, one, other, place)
    rows = sorted(
        found.values(), key=lambda row: (CATEGORIES.index(row["category"]), list(of_stage).index(row["stage"])
                                         if row["stage"] in of_stage else -1, row["key"])
    )  # fmt: skip
    return [{**row, "of_tables": of_stage.get(row["stage"], 1)} for row in rows]


def only(a: Side, b: Side) -> dict[str, list[str]]:
    """Places that one side has and the other has not."""
    return {"a": [place for place in a if place not in b], "b": [place for place in b if place not in a]}


def _note(
    found: dict[str, dict[str, Any]], category: str, stage: str, key: str, one: Any, other: Any, place: str
) -> None:
    # Digests, counts and seeds are each table's own: one line says that they differ.
    own = category == "data" or key.endswith(".seed")
    name = canonical_json([stage, key] if own else [stage, key, one, other])
    row = found.setdefault(
        name, {"category": category, "stage": stage, "key": key, "a": one, "b": other, "same": True, "places": []}
    )
    row["same"] &= canonical_json([row["a"], row["b"]]) == canonical_json([one, other])
    row["places"].append(place)


def _facts(made: Manifest) -> dict[str, Any]:
    """What a manifest says of how its table was made, leaf by leaf."""
    facts = leaves("config", made.config)
    facts |= {f"inputs.{name}": value[:12] for name, value in made.inputs.items()}
    facts |= {f"versions.{name}": value for name, value in made.versions.items()}
    facts |= {f"info.{name}": made.info[name] for name in _INFO if name in made.info}
    facts |= {"stage": made.stage, "git_commit": made.git_commit, "schema_version": made.schema_version}
    facts |= {"rows_in": made.rows_in, "rows_out": made.rows_out, "content": made.digest[:12]}
    facts |= {f"rejected.{reason}": count for reason, count in made.rejected.items()}
    return facts


def _category(key: str) -> str:
    head = key.split(".")[0]
    if head in ("versions", "stage", "git_commit", "schema_version"):
        return "versions"
    if "template" in key or "tokenizer" in key or key.startswith("config.chat"):
        return "template"
    if head in ("inputs", "rows_in", "rows_out", "content", "rejected"):
        return "data"
    return "configuration"


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*a, *b}):
        one, other = a.get(key), b.get(key)  # None is not set, as if the key were not there
        if canonical_json(one) != canonical_json(other):
            yield key, one, other

"""Files of other tools in which any one value is something else: rows are rejected, nothing is lost, nothing raises."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from long1k.errors import DataError
from long1k.interop.predictions import import_predictions
from long1k.interop.results import import_results
from long1k.interop.results_export import export_results
from long1k.rows import Prediction
from long1k.tables import Manifest, read_table
from test_interop_inspect import HEADER, archive, sample
from test_interop_results import exported

STRANGE: list[Any] = [
    None, -1, 10**30, float("nan"), True, "", "\ud800", "x\0y", [], {}, [None], ["\ud800"], {"a": 1}, "9" * 400,
]  # fmt: skip
HELD = json.dumps({"answers": ["4"], "text": "t", "provenance": "p"})
PREDICT = {"instruction": "q", "input": "", "ref": "4", "pre": "r", "score": 1, "long1k": "x"}
LM_EVAL = {
    "doc_id": 0, "doc": {"question": "q", "answer": "4"}, "target": "4", "resps": [["a"]], "filtered_resps": ["4"],
    "arguments": {"gen_args_0": {"arg_0": "q"}}, "filter": "none", "metrics": ["exact_match"], "exact_match": 1.0,
    "long1k": ["x"],
}  # fmt: skip
PLAIN = {
    "question": "q", "answer": "4", "response": "r", "sample": 0, "label": True, "benchmark": "b",
    "finish_reason": "stop", "run": "x",
}  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*place, key))


def spoiled(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    if not place:
        return by
    made = copy.deepcopy(value)
    at = made
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = by
    return made


def there_and_back(folder: Path, file: Path, name: str) -> Manifest:
    """Import a file and export what was read: every row is kept or rejected, and every kept one comes back."""
    made = import_results(folder / "p", file, name, name="n", scores=folder / "s")
    assert made.rows_in == made.rows_out + sum(made.rejected.values())
    back = export_results(folder / "x", folder / "p", name, provenance=False)
    again = import_results(folder / "again", exported(folder / "x"), name, name="n")
    assert back.rows_in == made.rows_out == back.rows_out + sum(back.rejected.values())
    assert again.rows_out == made.rows_out
    return made


def all_spoiled(good: dict[str, Any]) -> list[Any]:
    return [spoiled(good, place, by) for place in places(good) for by in STRANGE]


@pytest.mark.parametrize(("name", "good"), [("predict-json", PREDICT), ("lm-eval", LM_EVAL)])
def test_objects_with_one_strange_value(name: str, good: dict[str, Any], tmp_path: Path) -> None:
    rows = [good, *all_spoiled(good)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = there_and_back(tmp_path, tmp_path / "rows.jsonl", name)
    assert made.info["foreign_rows"] == len(rows)
    assert made.rows_out > 10
    assert made.rejected["invalid_unicode"] >= 2


def test_logs_with_one_strange_value(tmp_path: Path) -> None:
    good = sample(metadata={"long1k": HELD}, attachments={"k": "v"}, model_usage={"m": {"input_tokens": 3}})
    held = [{**good, "metadata": {"long1k": json.dumps(one)}} for one in all_spoiled(json.loads(HELD))]
    rows = [good, *all_spoiled(good), *held]
    members = {f"samples/{number}_epoch_1.json": json.dumps(row).encode() for number, row in enumerate(rows)}
    made = there_and_back(
        tmp_path, archive(tmp_path / "a.eval", {"header.json": json.dumps(HEADER).encode(), **members}), "inspect"
    )
    assert made.info["foreign_rows"] == len(rows)
    assert made.rows_out > 100
    assert made.rejected["invalid_unicode"] >= 2


def test_headers_with_one_strange_value(tmp_path: Path) -> None:
    for number, header in enumerate([spoiled(HEADER, place, by) for place in places(HEADER) for by in STRANGE]):
        folder = tmp_path / str(number)
        folder.mkdir()
        members = {"header.json": json.dumps(header).encode(), "samples/a_epoch_1.json": sample()}
        file = archive(folder / "a.eval", members)
        spec = header.get("eval") if isinstance(header, dict) else None
        if isinstance(spec, dict) and "\ud800" in spec.values():  # it would spoil every row
            with pytest.raises(DataError, match="half of a surrogate pair"):
                import_results(folder / "p", file, "inspect", name="n")
        else:
            assert import_results(folder / "p", file, "inspect", name="n").rows_out == 1


@pytest.mark.parametrize("text", ["[1]", '"a"', "3", "null", "{", "", '{"samples": 7}', '{"samples": {"a": 1}}'])
def test_json_logs_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(DataError):
        import_results(tmp_path / "p", tmp_path / "log.json", "inspect", name="n")


def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.eval", {"header.json": HEADER, "samples/a_epoch_1.json": sample()}).read_bytes()
    for size in range(0, len(whole), 40):
        (tmp_path / "torn.eval").write_bytes(whole[:size])
        with pytest.raises(DataError):
            import_results(tmp_path / "p", tmp_path / "torn.eval", "inspect", name="n")


def test_version_1_states_one_verdict(tmp_path: Path) -> None:
    row = sample(score={"value": "I"})
    del row["scores"]
    (tmp_path / "log.json").write_text(json.dumps({**HEADER, "version": 1, "samples": [row]}))
    import_results(tmp_path / "p", tmp_path / "log.json", "inspect", name="n")
    assert read_table(tmp_path / "p", Prediction)[0].label is False


@pytest.mark.parametrize("log", ["eval", "json"])
def test_samples_of_one_id_and_epoch_are_all_kept(log: str, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps({**HEADER, "samples": [sample(), sample(), sample(epoch=3)]}))
    import_results(tmp_path / "p", tmp_path / "log.json", "inspect", name="n")
    export_results(tmp_path / "x", tmp_path / "p", "inspect", provenance=False, options={"log": log})
    made = import_results(tmp_path / "again", exported(tmp_path / "x"), "inspect", name="n")
    assert made.rows_out == 3
    assert sorted(row.sample_index for row in read_table(tmp_path / "again", Prediction)) == [1, 2, 3]


def test_plain_rows_with_one_strange_value(tmp_path: Path) -> None:
    rows = [PLAIN, *all_spoiled(PLAIN)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = import_predictions(tmp_path / "p", tmp_path / "rows.jsonl", {}, name="n", arm="run")
    assert made.rows_in == len(rows) == made.rows_out + sum(made.rejected.values())
    assert made.rejected["invalid_unicode"] >= 5


def test_outputs_of_one_question_are_its_samples(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "4", "response": f"r{n}", "label": n} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_predictions(tmp_path / "p", tmp_path / "rows.jsonl", {}, name="n", arm=None)
    read = read_table(tmp_path / "p", Prediction)
    assert [row.sample_index for row in read] == [0, 1, 2, 3]
    assert [row.label for row in read] == [False, True, None, None]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([PREDICT]))
    for number, name in enumerate(("a/b", "x" * 400, "答" * 200, "..")):
        import_results(tmp_path / f"p{number}", tmp_path / "rows.json", "predict-json", name=name)
        for form in ("predict-json", "lm-eval", "lighteval", "inspect"):
            made = export_results(tmp_path / f"x{number}{form}", tmp_path / f"p{number}", form, provenance=False)
            assert made.rows_out == 1

"""The run that was probably meant by the name of a folder that is not there."""

from pathlib import Path

import pytest

from long1k.run_names import meant


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("sums", "did you mean runs/sums?"),
        ("sums.yaml", "did you mean runs/sums?"),
        ("runs/sum", "did you mean runs/sums?"),
        ("small", "did you mean runs/smoke/small?"),
        ("runs/smoke/smal", "did you mean runs/smoke/small?"),
        ("pool", "check it"),
        ("elsewhere/runs-of-old/none", "check it"),
        ("runs/half", "check it"),  # a folder below runs/ that is no run
    ],
)
def test_a_run_of_that_name_is_named(given: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("sums", "smoke/small"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "recipe.json").write_text("{}")
    (tmp_path / "runs" / "halves").mkdir()
    monkeypatch.chdir(tmp_path)
    assert meant(Path(given), "check it") == hint


def test_without_any_run_there_is_no_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant(Path("sums"), "check it") == "check it"

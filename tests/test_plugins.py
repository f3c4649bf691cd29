"""What is loaded from outside the package and cannot be: a sentence that names the place, no traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from long1k.errors import RecipeError
from long1k.plugins import load_plugin


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken_0", "class Other: pass\n", "has no attribute 'Wanted'"),
        ("broken_1", "import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
        ("broken_2", "class Wanted:\n  def\n", r"SyntaxError: invalid syntax .*line 2\)"),
        ("broken_3", "\nraise ValueError('no key')\n", r"ValueError: no key \(.*broken_\d\.py, line 2\)"),
    ],
)
def test_a_module_that_fails_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError) as told:
        load_plugin(f"{name}:Wanted", {}, "source")
    assert told.value.what.startswith(f"cannot load source '{name}:Wanted': ")
    assert re.search(said, told.value.what), told.value.what

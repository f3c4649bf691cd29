"""What the package is made of: its extras, its types, its data, how it is cited."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import long1k
from long1k import plugins
from long1k.errors import MissingExtraError

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = Path(long1k.__file__).parent
SETUP: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = SETUP["project"]["optional-dependencies"]
# A package that another one of the same extra brings along.
BROUGHT_BY = {"safetensors": "transformers"}
# Modules whose package has another name.
PACKAGE_OF = {"yaml": "pyyaml", "vl_convert": "vl-convert-python", "math_verify": "math-verify"}
# Brought by packages that are always installed.
CORE_BESIDE = {"sympy", "latex2sympy2_extended", "markupsafe"}


class Blocked(importlib.abc.MetaPathFinder):
    """Finds that a package is not installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname.split(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)
        return None


@pytest.fixture
def blocked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    module = str(request.param)
    for loaded in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [Blocked(module), *sys.meta_path])
    # Whether a package is there at all is asked of this function; that DeepSpeed is not is part of the case.
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in (module, "deepspeed") else real(name, *rest)
    )
    return module


@pytest.mark.parametrize("blocked", sorted(plugins._EXTRA_OF), indirect=True)
def test_a_missing_package_is_named_with_its_extra(blocked: str) -> None:
    extra = plugins._EXTRA_OF[blocked]
    for module in (blocked, f"{blocked}.inside.of.it"):
        with pytest.raises(MissingExtraError) as missing:
            plugins.need(module)
        assert f"'{blocked}'" in missing.value.what
        assert f"pip install 'long1k[{extra}]'" in str(missing.value.mend)


def names(requirements: Sequence[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", one)[0].lower().replace("_", "-") for one in requirements}


@pytest.mark.parametrize(("module", "extra"), sorted(plugins._EXTRA_OF.items()))
def test_the_extra_brings_the_package(module: str, extra: str) -> None:
    assert BROUGHT_BY.get(module, module).replace("_", "-") in names(EXTRAS[extra])


def test_whatever_is_imported_is_a_dependency_or_has_an_extra() -> None:
    core = names(SETUP["project"]["dependencies"]) | CORE_BESIDE
    unknown = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need":
                found += [str(one.value) for one in node.args if isinstance(one, ast.Constant)]
            for name in {one.split(".")[0] for one in found} - {"long1k"} - set(sys.stdlib_module_names):
                package = PACKAGE_OF.get(name, name).replace("_", "-").lower()
                if package not in core and name not in core and name not in plugins._EXTRA_OF:
                    unknown.add((path.name, name))
    assert unknown == set()


def test_every_extra_installs_something_that_is_used() -> None:
    used = {BROUGHT_BY.get(module, module).replace("_", "-") for module in plugins._EXTRA_OF}
    for extra, requirements in EXTRAS.items():
        if extra not in ("dev", "bench", "docs"):
            assert names(requirements) & used, extra


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert "Typing :: Typed" in SETUP["project"]["classifiers"]


def test_versions_agree() -> None:
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert SETUP["project"]["version"] == long1k.__version__ == cited["version"]
    assert f"## {long1k.__version__}" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_has_what_the_format_asks_for() -> None:
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    assert cited["license"] == SETUP["project"]["license"]
    (paper,) = cited["references"]
    assert paper["type"] == "article"
    assert "2503.18069" in paper["url"]
    for one in (cited, paper):
        assert all(isinstance(author.get("name", author.get("family-names")), str) for author in one["authors"])


def test_what_the_source_distribution_names_is_there() -> None:
    for name in SETUP["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (PROJECT / name.removeprefix("/")).exists(), name


def test_pinned_versions_are_complete_and_in_order() -> None:
    lines = [line for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!]+", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    assert len(pinned) == len(lines)
    wanted = names(SETUP["project"]["dependencies"]) | names(EXTRAS["train"]) | names(EXTRAS["dev"])
    assert wanted - pinned == set()


def test_the_contract_tests_that_contributing_names_exist() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_[a-z_]+)`", text))
    assert len(named) >= 4
    floors = (PROJECT / "tests" / "test_floors.py").read_text(encoding="utf-8")
    assert {one for one in named if f"def {one}(" not in floors} == set()
    for path in re.findall(r"`((?:src|tests|docs|scripts|bench)/[a-z0-9_/.]+)`", text):
        assert (PROJECT / path).exists(), path


@pytest.mark.parametrize("target", ["build", "test", "lint", "quickstart"])
def test_make_knows_what_contributing_and_ci_call(target: str) -> None:
    done = subprocess.run(["make", "-n", "-C", str(PROJECT), target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

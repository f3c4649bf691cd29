"""The house has floors: who may import whom; and whatever a name stands for keeps its contract."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import long1k
from long1k.benchmarks import BENCHMARKS
from long1k.benchmarks.base import Item, account, identity, problems
from long1k.generation import ENGINES
from long1k.grading import GRADERS
from long1k.grading.pool import Verdict
from long1k.jsonlines import BadRow
from long1k.plugins import load_plugin
from long1k.rows import Message
from long1k.sources import SOURCES
from long1k.sources.raw import RawTrace

ROOT = Path(long1k.__file__).parent
ROOMS = (
    "sources",
    "curation",
    "joining",
    "training",
    "generation",
    "grading",
    "benchmarks",
    "statistics",
    "interop",
    "executors",
    "planning",
)
TOP = (
    "cli",
    "cli_pool",
    "cli_data",
    "cli_plan",
    "cli_curve",
    "plan_power",
    "cli_paper",
    "plan_text",
    "plan_lengths",
    "plan_questions",
    "study_plan",
    "cli_train",
    "study",
    "study_cells",
    "study_layout",
    "study_tree",
    "study_state",
    "study_view",
    "study_screen",
    "study_board",
    "study_status",
    "cli_status",
    "display",
    "display_tokens",
    "provenance",
    "recipe",
    "recipe_model",
    "recipe_files",
    "cli_predict",
    "cli_report",
    "cli_score",
    "cli_doctor",
    "cli_distill",
    "distill",
    "arm_controls",
    "arms",
    "arm_kinds",
    "arm_contrasts",
    "balance_table",
    "cli_outputs",
    "outputs_text",
    "cli_compare",
    "compare",
    "compare_effects",
)
HEAVY = ("torch", "transformers", "trl", "datasets", "accelerate", "vllm", "ray", "deepspeed", "huggingface_hub")

# Every import from one room into another, with the reason it is allowed.
EXCEPTIONS = {
    # A text without tags is split at its final answer, and only grading knows what an answer looks like.
    ("long1k.curation.normalize", "long1k.grading.extract"),
    # A joined sample must be read back by the same code that grades it.
    ("long1k.joining.render", "long1k.grading.extract"),
    # A gold answer that stands in a worked solution is found by the code that finds a model's.
    ("long1k.benchmarks.golds", "long1k.grading.extract"),
    # One loader of checkpoints, so that what is trained is what generates.
    ("long1k.generation.hf", "long1k.training.checkpoint"),
    # And one reading of how many positions a checkpoint has.
    ("long1k.generation.hf", "long1k.training.positions"),
}


def _module(path: Path) -> str:
    parts = ("long1k", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    """Modules of our own that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            found.add(node.module or "")
            # `from long1k.stages import train` names a module, not an attribute
            found |= {f"{node.module}.{a.name}" for a in node.names if _is_module(f"{node.module}.{a.name}")}
    return {name for name in found if name.split(".")[0] == "long1k"}


def _is_module(name: str) -> bool:
    if not name.startswith("long1k."):
        return False
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


GRAPH = {_module(path): _imports(path) for path in sorted(ROOT.rglob("*.py"))}


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_the_graph_was_read() -> None:
    assert "long1k.tables" in GRAPH["long1k.stages.collect.stage"]
    assert "long1k.study" in GRAPH["long1k.cli"]  # an import inside a function counts
    assert {_room(module) for module in GRAPH} >= {*ROOMS, *TOP, "stages"}


def test_rooms_do_not_import_one_another() -> None:
    found = {
        (module, other)
        for module, imported in GRAPH.items()
        for other in imported
        if _room(module) in ROOMS and _room(other) in ROOMS and _room(module) != _room(other)
    }
    assert found == EXCEPTIONS


def test_stages_do_not_import_one_another() -> None:
    found = {
        (module, other)
        for module, imported in GRAPH.items()
        for other in imported
        if _room(module) == "stages"
        and _room(other) == "stages"
        and other != "long1k.stages"
        and module.split(".")[2:3] != other.split(".")[2:3]  # a stage may have several files
    }
    assert found == set()


def test_rooms_import_no_stage_and_nothing_imports_the_top() -> None:
    found = {
        (module, other)
        for module, imported in GRAPH.items()
        for other in imported
        if (_room(module) in ROOMS and _room(other) == "stages")
        or (_room(other) in TOP and _room(module) not in (*TOP, "__main__"))
    }
    assert found == set()
    assert not {"long1k.cli", "long1k.study"} & GRAPH["long1k.recipe"]
    assert "long1k.cli" not in GRAPH["long1k.study"]


def test_a_recipe_takes_nothing_from_stages() -> None:
    names = {
        alias.name
        for path in ROOT.glob("recipe*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("long1k.stages")
        for alias in node.names
    }
    assert names == set()


def test_the_ground_floor_imports_no_room() -> None:
    ground = (
        "errors", "rows", "tables", "tokens", "chat", "thinking", "jsonlines", "files", "readers", "chunks", "parquet",
        "plugins", "progress", "micro", "loops", "hub", "labels", "templates", "paper", "resources", "captured", "wide",
        "run_names",
    )  # fmt: skip
    assert set(ground) <= {_room(module) for module in GRAPH}
    found = {
        (module, other)
        for module, imported in GRAPH.items()
        for other in imported
        if _room(module) in ground and _room(other) not in (*ground, "")
    }
    assert found == set()


def test_statistics_are_pure() -> None:
    for module, imported in GRAPH.items():
        if _room(module) == "statistics":
            assert {_room(other) for other in imported} <= {"statistics"}


def test_there_are_no_circles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join((*path, module))}"
        if module in done:
            return
        for other in GRAPH.get(module, ()):
            if other != module:
                visit(other, (*path, module))
        done.add(module)

    for module in GRAPH:
        visit(module, ())
    assert done >= set(GRAPH)


def test_heavy_libraries_are_never_imported_at_the_top_of_a_file() -> None:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [(path.name, name) for name in names if name.split(".")[0] in HEAVY]
    assert found == []


# --- contracts --------------------------------------------------------------------------------------------

QUESTIONS = '{"question": "a⊕b", "Question": "a⊕b", "Correct Answer": "c", "Incorrect Answer 1": "d", "Incorrect Answer 2": "e", "Incorrect Answer 3": "f", "problem": "a⊕b", "prompt": "a⊕b", "answer": "c", "thinking": "a⊕b=c.", "solution": "\\\\boxed{c}"}\n'
AIME = '{"problem": "a⊕b", "answer": "033"}\n'
GSM8K = '{"question": "a⊕b", "answer": "1 + 1 = 2\\n#### 2"}\n'
CONFIGS: dict[str, dict[str, Any]] = {"micro": {"count": 20}}  # all others read a file
ROWS = {"aime": AIME, "aime24": AIME, "aime25": AIME, "gsm8k": GSM8K}


def _config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    path.write_text(ROWS.get(name, QUESTIONS) * 3, encoding="utf-8")
    if name == "multi":
        return {"of": {"type": "jsonl", "path": str(path)}, "k": [1, 2]}
    return CONFIGS.get(name, {"path": str(path)})


@pytest.mark.parametrize(
    "table", [SOURCES, BENCHMARKS, GRADERS, ENGINES], ids=["sources", "benchmarks", "graders", "engines"]
)
def test_names_stand_for_classes_of_ours(table: Mapping[str, str]) -> None:
    assert table
    for name, target in table.items():
        assert re.fullmatch(r"[a-z0-9_-]+", name)
        module, _, attribute = target.partition(":")
        assert module in GRAPH
        tree = ast.parse(Path(str(importlib.util.find_spec(module).origin)).read_text(encoding="utf-8"))  # type: ignore[union-attr]
        assert attribute in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize(
    ("kind", "name"), [("source", name) for name in SOURCES] + [("benchmark", name) for name in BENCHMARKS]
)
def test_sources_and_benchmarks_have_a_strict_configuration(kind: str, name: str, tmp_path: Path) -> None:
    factory = load_plugin(name, SOURCES if kind == "source" else BENCHMARKS, kind)
    assert issubclass(factory.Config, BaseModel)
    values = _config(name, tmp_path)
    config = factory.Config.model_validate(values)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        factory.Config.model_validate({**values, "no_such_key": 1})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, next(iter(factory.Config.model_fields)), "x")
    assert factory.Config.model_validate(config.model_dump(mode="json")) == config
    assert factory.__doc__


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_its_contract(name: str, tmp_path: Path) -> None:
    factory = load_plugin(name, SOURCES, "source")
    made = factory(factory.Config.model_validate(_config(name, tmp_path)))
    again = factory(factory.Config.model_validate(_config(name, tmp_path)))
    assert made.config == again.config
    assert made.digest() == made.digest() == again.digest()
    assert 0 < len(made.describe()) < 80
    assert "\n" not in made.describe()
    rows = list(made.load())
    assert rows
    assert all(isinstance(row, RawTrace | BadRow) for row in rows)
    assert rows == list(made.load()) == list(again.load())
    assert len({row.source_row for row in rows}) == len(rows)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_keeps_its_contract(name: str, tmp_path: Path) -> None:
    factory = load_plugin(name, BENCHMARKS, "benchmark")
    made = factory(factory.Config.model_validate(_config(name, tmp_path)))
    again = factory(factory.Config.model_validate(_config(name, tmp_path)))
    assert made.digest() == made.digest() == again.digest()
    assert made.grader in GRADERS
    items = list(made.load())
    assert items
    assert all(isinstance(item, Item) for item in items)
    assert items == list(made.load()) == list(again.load())
    assert len({item.item_id for item in items}) == len(items)
    for item in items:
        assert item.question
        assert item.answers
        assert all(isinstance(message, Message) for message in item.messages)
        assert item.messages[-1].role == "user"
        assert item.question in item.messages[-1].content
        assert (item.body or item.question) in item.messages[-1].content
        assert len(item.part_ids) in (0, len(item.answers))
    assert all(isinstance(name, str) for name in account(made))
    assert "path" not in identity(made)
    assert {item.item_id for item in problems(made)} >= {part for item in items for part in item.part_ids}


@pytest.mark.parametrize("name", [name for name in GRADERS if name != "steps"])  # which judges a form, not an answer
def test_a_grader_keeps_its_contract(name: str) -> None:
    factory = load_plugin(name, GRADERS, "grader")
    assert factory.name == name
    assert isinstance(factory.version, str)
    with factory(num_workers=1) as grader:
        assert grader.grade_many([]) == []
        right, wrong = grader.grade_many([("B", "B"), ("B", "A")] if name == "choice" else [("5", "5"), ("5", "6")])
    assert isinstance(right, Verdict)
    assert (right.status, wrong.status) == ("correct", "wrong")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_has_what_its_protocol_says(name: str) -> None:
    # Read, not imported: loading an engine would load torch.
    module, _, attribute = ENGINES[name].partition(":")
    tree = ast.parse(Path(str(importlib.util.find_spec(module).origin)).read_text(encoding="utf-8"))  # type: ignore[union-attr]
    made = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute)
    defined = {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
    assigned = [node for node in made.body if isinstance(node, ast.Assign)]
    defined |= {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    written = {
        node.attr
        for node in ast.walk(made)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
    }
    assert {"name", "max_positions", "run", "close", "Config"} <= defined | written

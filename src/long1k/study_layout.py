"""A recipe and the folder of its run: where everything lies, and with which arguments it is made.

Arms of another recipe (``arms_of``) and another recipe's base model (``base_of``) lie in that one's run, beside this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from long1k.arms import Arm
from long1k.chat import Chat
from long1k.grading import grader_for
from long1k.jsonlines import expand_path
from long1k.recipe import Recipe, expand_arms, make_benchmarks, make_samplings
from long1k.rows import derive_seed
from long1k.stages.predict import EngineSpec, is_predicted
from long1k.stages.train import is_trained
from long1k.tables import keep_finished
from long1k.tokens import load_tokenizer


class Layout:
    """Where everything of a run lies; needs the recipe alone, neither tokenizer nor benchmarks."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self.recipe, self.root = recipe, root
        # Arms of another recipe are made in its run, under its name: what is there already is used as it is.
        self.lineage = recipe.arms_of or recipe.name
        beside = root.parent if root.name else root.resolve().parent  # "." has no name and is its own parent
        self.home = root if recipe.arms_of is None else beside / recipe.arms_of
        self.base = (self.home if recipe.base_of is None else beside / recipe.base_of) / "base"
        self.arms = expand_arms(recipe)

    def folder(self, arm: str, seed: int) -> Path:
        """The folder of one arm and seed."""
        return self.root / "arms" / arm / f"seed-{seed}"

    @property
    def pool(self) -> Path:
        """The folder of the trace pool."""
        return self.home / "collect"

    def made(self, arm: str, seed: int) -> Path:
        """The folder in which an arm's samples and checkpoint are made."""
        return self.home / "arms" / arm / f"seed-{seed}"

    def seeds(self, arm: Arm) -> list[int]:
        """Training seeds of an arm; a model that is not trained has one cell only."""
        return self.recipe.seeds if arm.train is not None or self.recipe.train is None else [0]

    def examples(self, arm: Arm, seed: int) -> Path:
        """The samples an arm trains on."""
        return self.made(arm.data_arm, seed) / "synthesize"


class Study(Layout):
    """A layout with all that its stages are made with."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        super().__init__(recipe, root)
        spec = recipe.chat
        self.chat = Chat(load_tokenizer(str(expand_model(recipe.tokenizer))), spec.thinking, spec.system, spec.template)
        self.benchmarks = make_benchmarks(recipe.benchmarks)
        self.samplings = make_samplings(recipe)
        self.engine = EngineSpec(recipe.engine)

    @contextmanager
    def kept(self, folder: Path) -> Iterator[None]:
        """While this lasts nothing finished is replaced, if the folder lies in another recipe's run."""
        if folder.is_relative_to(self.root):
            yield
            return
        other = self.recipe.arms_of if folder != self.base else self.recipe.base_of or self.recipe.arms_of
        also = "" if self.recipe.arms_of is None else " (those of its benchmarks as --set kept_out.NAME.KEY=…)"
        token = keep_finished.set(
            f"that folder belongs to the run of {other}: give the settings it was run with{also}, or another --runs"
        )
        try:
            yield
        finally:
            keep_finished.reset(token)

    @property
    def start_model(self) -> Path:
        """The model that every arm starts from."""
        return self.base / "train" if self.recipe.base is not None else expand_model(self.recipe.model or "")

    def checkpoint(self, arm: Arm, seed: int) -> Path:
        """The model that answers for an arm."""
        return self.made(arm.name, seed) / "train" if arm.train is not None else self.start_model

    def train_seed(self, arm: Arm, seed: int) -> int:
        """The seed of an arm's training, its own for every arm."""
        return derive_seed(self.lineage, "train", arm.name, seed)

    def score_folder(self, arm: Arm, seed: int, benchmark: str) -> Path:
        """Where the scores of one cell lie."""
        return self.folder(arm.name, seed) / "score" / benchmark / self.grader(benchmark)

    def grader(self, benchmark: str) -> str:
        """What judges the answers to a benchmark."""
        return grader_for(self.recipe.grader, {"grader": dict(self.benchmarks)[benchmark].grader})

    def predict_arguments(self, arm: Arm, seed: int, name: str, benchmark: Any) -> dict[str, Any]:
        """The arguments of ``predict`` for one cell."""
        return {
            "checkpoint": self.checkpoint(arm, seed), "benchmark_name": name, "benchmark": benchmark,
            "sampling": self.samplings[name], "engine": self.engine, "chat": self.chat, "arm": arm.name,
            "train_seed": seed if arm.train is not None else None,
        }  # fmt: skip

    def job_is_done(self, arm: Arm, seed: int) -> bool:
        """Whether a cell's training and predictions are current; loads no torch."""
        folder = self.folder(arm.name, seed)
        if arm.train is not None and not is_trained(
            self.checkpoint(arm, seed), self.examples(arm, seed), model=self.start_model, config=arm.train,
            seed=self.train_seed(arm, seed), chat=self.chat,
        ):  # fmt: skip
            return False
        return all(
            is_predicted(folder / "predict" / name, **self.predict_arguments(arm, seed, name, benchmark))
            for name, benchmark in self.benchmarks
        )


def expand_model(path: str) -> Path:
    """The path of a model or tokenizer; one that ships with the package as it is."""
    return Path(path) if path.startswith("package:") else expand_path(path)

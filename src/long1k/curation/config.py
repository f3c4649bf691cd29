"""What is checked on the way into the pool; each step can be left out."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LintConfig(_Strict):
    """Faults of the text itself."""

    loops: bool = Field(default=True, description="reject traces that end in endless repetition")
    sentinels: bool = Field(default=True, description="reject answers that only say there is none (proof, notfound)")
    language: str | None = Field(
        default=None, pattern="^[a-z]{2}$", description="reject traces in another language, e.g. en or zh (ISO 639-1)"
    )
    foreign_share: float = Field(
        default=0.05, gt=0, le=1, description="least share of words in a foreign script that makes a trace foreign"
    )


class DecontaminateConfig(_Strict):
    """How a training problem is compared with those of the recipe's benchmarks."""

    exact: bool = Field(default=True, description="the same question after normalisation")
    ngram: int | None = Field(default=8, ge=2, description="words of an n-gram; null leaves the rule out")
    share: float = Field(default=0.5, gt=0, le=1, description="least share of the benchmark problem's n-grams")
    short_words: int = Field(
        default=6, ge=2, description="a problem too short for n-grams is looked for whole if so long"
    )
    mask_numbers: bool = Field(default=True, description="also the same question with other numbers")
    masked_words: int = Field(default=8, ge=1, description="least words of such a question that are no numbers")
    masked_share: float = Field(default=0.9, gt=0, le=1, description="least share of its n-grams without numbers")
    traces: bool = Field(default=False, description="look through thinking and solution too, not the question only")


class NearDuplicateConfig(_Strict):
    """Problems or traces that are nearly the same (MinHash over token ids); null leaves a step out."""

    problems: float | None = Field(default=None, gt=0, le=1, description="least Jaccard similarity of two questions")
    traces: float | None = Field(default=None, gt=0, le=1, description="least Jaccard similarity of two traces")
    shingle_tokens: int = Field(default=5, ge=1, description="neighbouring tokens of a trace that count as one piece")
    shingle_characters: int = Field(default=4, ge=1, description="the same for questions, in characters")
    same_numbers: bool = Field(default=True, description="questions with different numbers are different problems")
    num_perm: int = Field(default=128, ge=16, description="slots of a signature: more are more exact and cost more")


class DifficultyConfig(_Strict):
    """Where a problem's difficulty comes from; it is stored with its origin."""

    origin: Literal["column", "pass_rate", "solution_tokens", "accuracy"] = Field(
        default="column",
        description="where it comes from: a column, the share of tries that failed, length, or measured accuracy",
    )
    path: str | None = Field(default=None, description="accuracy: JSON Lines of question (or problem_id) and accuracy")


class CollectConfig(_Strict):
    """What is checked on the way into the pool."""

    verify: Literal["drop", "mark", "keep"] = Field(
        default="drop", description="compare each trace's answer with gold: drop wrong ones, mark them, or don't check"
    )
    dedup: bool = Field(default=True, description="drop traces with the same question, thinking and solution")
    near_duplicates: NearDuplicateConfig = NearDuplicateConfig()
    max_traces_per_problem: int | None = Field(default=None, ge=1, description="keep at most so many of one problem")
    exclude_benchmarks: bool = Field(default=True, description="drop problems that stand in the recipe's benchmarks")
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    lint: LintConfig = LintConfig()
    domains: list[str] | None = Field(default=None, description="keep these subjects only, e.g. [math]")
    difficulty: DifficultyConfig = DifficultyConfig()

"""How many questions a recipe's benchmarks ask; assumed where a file is not there yet, or lies on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from long1k.errors import Long1kError
from long1k.recipe import make_benchmarks
from long1k.recipe_model import Recipe

# Of benchmarks whose file is not there yet, or lies on the hub.
_QUESTIONS = {
    "math500": 500, "aime": 30, "aime24": 30, "aime25": 30, "gpqa": 198, "amc": 83, "amc23": 40, "olympiadbench": 674,
    "minerva": 272, "gsm8k": 1319,
}  # fmt: skip
PROMPT_TOKENS = 200  # assumed of a benchmark's question


def questions_of(recipe: Recipe, notes: list[str]) -> dict[str, int]:
    """How many questions each benchmark asks; assumed where its file is not there."""
    found = {}
    for name, spec in recipe.benchmarks.items():
        kind = str(spec.get("type"))
        on_hub = spec.get("path") is None and not spec.get("subset")
        if on_hub and kind in _QUESTIONS:  # planning asks no network
            found[name] = min(int(spec.get("limit") or _QUESTIONS[kind]), _QUESTIONS[kind])
            continue
        try:
            found[name] = sum(1 for _ in make_benchmarks({name: spec})[0][1].load())
        except Long1kError:
            if kind == "multi":
                prompts = _prompts(spec)
                if prompts is not None:
                    found[name] = prompts
                    notes.append(f"{name}: its file is not there; {prompts} prompts of several questions assumed")
                    continue
            if kind not in _QUESTIONS:
                notes.append(f"{name}: its file is not there, so its questions are not counted")
                continue
            found[name] = int(spec.get("limit") or _QUESTIONS[kind])
            notes.append(f"{name}: its file is not there; {found[name]} questions assumed")
    return found


def _prompts(spec: Mapping[str, Any]) -> int | None:
    """Prompts of a multi benchmark whose file is not there; None where its questions are not known either."""
    of, k = spec.get("of") or {}, spec.get("k", 2)
    known = _QUESTIONS.get(str(of.get("type")))
    if known is None:
        return None
    least, most = (k, k) if isinstance(k, int) else (int(k[0]), int(k[1]))
    questions = min(int(of.get("limit") or known), known)
    prompts = 0
    for one in range(least, most + 1):
        groups = questions // one if spec.get("leftover") == "drop" else -(-questions // one)
        prompts += groups * (one if spec.get("design") == "rotated" else 1)
    return prompts

"""One benchmark as the page shows it: arms, comparisons, where the variance comes from, and the drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting import laws, text
from long1k.reporting.charts import ladder_figure
from long1k.reporting.contrasts import contrasts_figure
from long1k.reporting.curves import spent_figure
from long1k.reporting.figures import HALF, Album

_USUAL = "training seeds and questions"


def benchmark_context(entry: Mapping[str, Any], album: Album) -> dict[str, Any]:
    """Everything that the template shows of a benchmark's findings."""
    arms = entry.get("arms") or []
    seeds = sorted({seed for arm in arms for seed in arm.get("accuracy_by_seed") or {}}, key=lambda s: (len(s), s))
    law, footnotes = entry.get("law"), footnotes_of([arm["accuracy"] for arm in arms])
    return {
        "name": str(entry["benchmark"]), "questions": entry.get("questions"), "seeds": seeds,
        "over": _USUAL if any(arm["accuracy"].get("over") == _USUAL for arm in arms) else "",
        "law": text.law_words(law) if law else None,
        "law_pooled": f"{law['r2_pooled']:.2f}" if law and text.known(law.get("r2_pooled")) else None,
        "by_length": any(arm.get("role") == "rung" for arm in arms),
        "ladder": album.add(ladder_figure(entry)),
        "contrast_chart": album.add(contrasts_figure(entry), (HALF,)), "spent": album.add(spent_figure(entry), (HALF,)),
        "shape": laws.law_context(entry, album),
        "arms": [_arm(arm, seeds, footnotes) for arm in arms], "footnotes": footnotes,
        "contrasts": [
            _contrast(row) for row in entry.get("contrasts") or []
        ],
        "tested": any(row.get("test") for row in entry.get("contrasts") or []),
        "variances": [_variance(arm) for arm in arms if arm.get("variance")],
    }  # fmt: skip


def _contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison as the page shows it; one of an older analysis has no test."""
    test, found = row.get("test") or {}, row.get("equivalence")
    sees = row.get("could_see")
    return {
        **row, "reading": "differ" if text.excludes_zero(row["difference"]) else "no difference found",
        "test": test.get("name") or text.NOTHING, "p": text.p_value(test.get("p")),
        "p_holm": text.p_value(test.get("p_holm")), "sees": f"{100 * sees:.1f}" if text.known(sees) else text.NOTHING,
        "equivalence": f"{found['finding']} (± {100 * found['margin']:g})" if found else "",
    }  # fmt: skip


def _variance(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Where an arm's variance comes from, as the page shows it."""
    found = arm["variance"]
    names = ("seed", "question", "seed_by_question", "sampling")
    spread = found["accuracy_sd"]
    return {
        "name": arm["name"], "shares": [text.percent(found["share"][name]) for name in names],
        "spreads": [f"{100 * spread[name]:.2f}" if text.known(spread[name]) else text.NOTHING for name in names],
    }  # fmt: skip


def footnotes_of(intervals: Sequence[Mapping[str, Any]]) -> list[str]:
    """What intervals cover, where that differs from what is said for all; in order, each once."""
    overs = [str(i.get("over") or "") for i in intervals if text.known(i.get("low"))]
    return list(dict.fromkeys(over for over in overs if over and over != _USUAL))


def mark_of(interval: Mapping[str, Any], footnotes: Sequence[str]) -> int:
    """The number of an interval's footnote; 0 for none."""
    return (
        footnotes.index(interval["over"]) + 1
        if text.known(interval.get("low")) and interval.get("over") in footnotes
        else 0
    )


def _arm(arm: Mapping[str, Any], seeds: Sequence[str], footnotes: Sequence[str]) -> dict[str, Any]:
    training, statuses = arm.get("training") or {}, arm.get("statuses") or {}
    lengths = training.get("sample_tokens")
    tokens = arm.get("mean_output_tokens")
    graded = ", ".join(f"{status} {n:,}" for status, n in statuses.items())
    return {
        "name": arm["name"], "role": arm.get("role") or "arm", "accuracy": arm["accuracy"],
        "mark": mark_of(arm["accuracy"], footnotes),
        "by_seed": [(arm.get("accuracy_by_seed") or {}).get(seed) for seed in seeds],
        "sample_tokens": text.number_range(*lengths) if lengths else text.NOTHING,
        "samples": training.get("samples"), "unique": training.get("unique_problems"),
        "tokens": training.get("tokens"), "steps": training.get("steps"),
        "statuses": f"{graded}; of {sum(statuses.values()):,}" if statuses else text.NOTHING,
        "cut": arm.get("cut_frac"), "output_tokens": f"{tokens:,.1f}" if text.known(tokens) else text.NOTHING,
        "rows": text.join_paths(arm.get("rows") or []),
    }  # fmt: skip

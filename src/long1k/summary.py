"""What was done and where it lies, in a few lines under 100 columns."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.rows import Score
from long1k.scored import joined
from long1k.tables import Manifest, iter_table
from long1k.wide import WIDTH

_LONGEST_NAME = 38  # of an arm whose figures stand beside its name


def rows_line(manifest: Manifest, more: str = "") -> str:
    """Rows in, out, and rejected by reason; whatever more there is to say stands before the reasons."""
    reasons = "".join(f"\n    {count:>9,}  {reason}" for reason, count in manifest.rejected.items())
    rejected = sum(manifest.rejected.values())
    account = f"{manifest.rows_in:,} rows in = {manifest.rows_out:,} out + {rejected:,} rejected"
    if more:
        return f"{account}; {more}" + (f"\n  rejected:{reasons}" if reasons else "")
    return account + (f":{reasons}" if reasons else "")


def collect_summary(out: Path, manifest: Manifest) -> str:
    """The account of a trace pool."""
    split = ", ".join(f"{name} {count:,}" for name, count in manifest.info["split"].items())
    empty = ", ".join(manifest.info.get("empty_sources", ()))
    return (
        f"{out}: {rows_line(manifest)}\n"
        + (f"  no row at all in: {empty}\n" if empty else "")
        + f"  thinking and solution told apart by: {split}\n"
        f"  tokens counted by {manifest.info['counter']}; {manifest.wall_seconds:.1f} s; digest {manifest.digest[:16]}"
    )


def synthesize_summary(out: Path, manifest: Manifest) -> str:
    """Lengths reached, group by group."""
    lines = [
        f"{out}: {manifest.rows_out:,} samples; digest {manifest.digest[:16]}",
        "    target   made  asked      min      max   exact  within  coverage  problems",
    ]
    for g in manifest.info["groups"]:
        exact, coverage = (
            "-" if g[name] is None else f"{100 * g[name]:.1f}%" for name in ("exactly_on_target", "coverage")
        )
        lines.append(
            f"  {g['wanted']:>8} {g['made']:>6,} {g['requested']:>6,} {g['min_tokens']:>8,} {g['max_tokens']:>8,} "
            f"{exact:>7} {100 * g['within_tolerance']:>6.1f}% {coverage:>9} {g['problems']:>9,}"
        )
    for g in manifest.info["groups"]:
        if "shortfall" in g:
            lines += textwrap.wrap(
                f"{g['wanted']}: {g['shortfall']}", WIDTH, initial_indent="  ", subsequent_indent="    "
            )
    return "\n".join(lines)


def balance_summary(manifest: Manifest) -> str:
    """What the samples hold beside their length."""
    b = manifest.info["balance"]
    if not b["samples"]:
        return "  no samples"
    shares = {
        name: ", ".join(f"{key} {100 * share:.0f} %" for key, share in list(b[name].items())[:4])
        for name in ("subjects", "teachers", "licenses", "correctness")
    }
    lines = [
        f"  {b['tokens']:,} tokens, {b['supervised_tokens']:,} supervised; {b['problems']:,} problems "
        f"({b['unique_problems']:,} different), {b['unique_traces']:,} traces, {b['parts_mean']:g} a sample",
        *(f"  {name}: {text}" for name, text in shares.items()),
    ]
    if b["difficulty"]:
        d = b["difficulty"]
        lines.append(
            f"  difficulty: mean {d['mean']:.2f}, {d['min']:g} to {d['max']:g}, known for {100 * d['known']:.0f} %"
        )
    return "\n".join(lines)


MAX_CUT = 0.02
"""Share of outputs cut at the limit above which an accuracy says more about the limit than about the model."""


def predict_summary(out: Path, manifest: Manifest) -> str:
    """Outputs, how they ended, how long they are, and what of the benchmark was not asked."""
    info = manifest.info
    ends = ", ".join(f"{reason} {count:,}" for reason, count in info["finish_reasons"].items())
    lines = [
        f"{out}: {manifest.rows_out:,} outputs to {info['items']:,} questions ({ends}), "
        f"{info['mean_tokens']:.0f} tokens each on average"
    ]
    if info.get("served"):
        lines.append(f"  answered by {', '.join(info['served'])}")
    source = info.get("source", {})
    left_out = source.get("left_out", {})
    if left_out:
        why = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
        lines.append(f"  not asked, of {source['rows']:,} rows: {why}")
    for k, one in source.get("passes", {}).items():
        what = "in a shorter prompt" if source["leftover"] == "short" else "left out"
        rest = f", {one['leftover']} problems {what}" if one["leftover"] else ""
        lines.append(f"  {k} a prompt: {one['prompts']:,} prompts{rest}")
    return "\n".join(lines)


def predict_warnings(manifest: Manifest) -> list[str]:
    """What makes figures from these outputs doubtful, each with what to do."""
    info, found = manifest.info, []
    total = max(1, manifest.rows_out)
    cut = info["finish_reasons"].get("length", 0) / total
    if cut > MAX_CUT:
        found.append(
            f"{100 * cut:.1f} % of outputs were cut at max_new_tokens, and count as without an answer: raise it, or "
            "report accuracy on finished outputs too"
        )
    if (alarm := info.get("repeats", {}).get("alarm")) is not None:
        found.append(f"{alarm}; look at the engine's seeds before taking a mean over samples")
    return found


def score_summary(out: Path, predictions: Path, manifest: Manifest) -> str:
    """Verdicts by status, accuracy with its denominator, agreement with labels by run."""
    statuses = manifest.info["statuses"]
    right = statuses.get("correct", 0)
    lines = [
        f"{out}: {right:,} of {manifest.rows_out:,} correct ({100 * right / max(1, manifest.rows_out):.1f} %)",
        "  " + ", ".join(f"{status} {count:,}" for status, count in statuses.items()),
    ]
    lines += _by_position(out)
    if "label_agreement" in manifest.info:
        lines.append(
            f"  agrees with the labels on {100 * manifest.info['label_agreement']:.2f} % "
            f"of {manifest.info['labelled']:,} that could be graded"
        )
        by_run: dict[str, list[bool]] = {}
        for row, one in labelled(predictions, out):
            if one["status"] in ("error", "timeout"):
                continue
            by_run.setdefault(row["arm"], []).append((one["status"] == "correct") == row["label"])
        lines += [f"    {sum(v):>6,} / {len(v):<6,} {run}" for run, v in sorted(by_run.items())]
    return "\n".join(lines)


def rates_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rates of each benchmark, arm and seed: a block of lines each, n and denominators always shown."""
    lines: list[str] = []
    for one in found:
        n = one["samples"]
        samples = f"{n['min']:,}" if n["min"] == n["max"] else f"{n['min']:,}-{n['max']:,}"
        seed = "" if one["train_seed"] is None else f", seed {one['train_seed']}"
        arm = one["arm"] if one["arm"].startswith(one["benchmark"]) else f"{one['benchmark']}, {one['arm']}"
        lines.append(f"  {arm}{seed}: {one['questions']:,} questions, n = {samples} samples each")
        for k, rate in one["pass_at_k"].items():
            value = _interval(rate) if rate is not None else f"unknown: some question has fewer than {k} samples"
            lines.append(f"    pass@{k:<5} {value}")
        lines.append(f"    avg@{samples:<6} {_interval(one['avg_at_n'])}")
        if n["max"] > 1:
            lines.append(f"    maj@{samples:<6} {_interval(one['maj_at_n'])}")
        words = {"finished": "finished outputs", "cut": "cut outputs", "unknown": "outputs of unknown end"}
        ends = (f"{words[e]} {v['correct']:,} of {v['of']:,} correct" for e, v in one["ends"].items() if v["of"])
        lines.append(f"    in %, with the 95 % interval over questions; {', '.join(ends)}")
        if one["not_gradable"]:
            lines.append(f"    {one['not_gradable']:,} could not be graded, and count as not correct")
    return lines


def agree_summary(found: Mapping[str, Any]) -> str:
    """Agreement of two graders in a few lines."""
    lines = [f"A: {found['a']}", f"B: {found['b']}"]
    if found["agreement"] is None:
        lines.append("  nothing that both could grade")
    else:
        kappa = "not defined (both always say the same)" if found["kappa"] is None else f"{found['kappa']:.3f}"
        lines.append(f"  agree on {100 * found['agreement']:.2f} % of {found['compared']:,}; Cohen's kappa {kappa}")
        lines.append(
            f"  correct by both {found['both_correct']:,}, by A only {found['only_a_correct']:,}, by B only "
            f"{found['only_b_correct']:,}, by neither {found['neither_correct']:,}"
        )
    if found["not_compared"]:
        lines.append(f"  {found['not_compared']:,} could not be graded by one of them, and are not compared")
    return "\n".join(lines)


def _by_position(scores: Path) -> list[str]:
    """Accuracy by the place of a problem in its prompt, for each number of problems a prompt; none if all ask one."""
    by_prompt: dict[str, dict[int, bool]] = {}
    for one in iter_table(scores, Score):
        by_prompt.setdefault(one.prediction_id, {})[one.part] = one.status == "correct"
    places: dict[tuple[int, int], list[bool]] = {}
    for parts in by_prompt.values():
        for part, right in parts.items():
            places.setdefault((len(parts), part), []).append(right)
    if not any(count > 1 for count, _ in places):
        return []
    return [
        f"  {count} a prompt, problem {part + 1}: {sum(rights):,} of {len(rights):,} correct "
        f"({100 * sum(rights) / len(rights):.1f} %)"
        for (count, part), rights in sorted(places.items())
    ]


def labelled(predictions: Path, scores: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Predictions that came with a label (some columns), each with its verdict."""
    columns = ("prediction_id", "arm", "question", "answers", "label")
    for row, one in joined(scores, columns, predictions):
        if row["label"] is not None:
            yield row, one


def write_disagreements(path: Path, predictions: Path, scores: Path) -> int:
    """Write every labelled prediction whose label and verdict differ; returns how many."""
    lines = []
    for row, one in labelled(predictions, scores):
        if one["status"] not in ("error", "timeout") and (one["status"] == "correct") != row["label"]:
            lines.append(
                json.dumps(
                    {
                        "prediction_id": row["prediction_id"],
                        "run": row["arm"],
                        "question": row["question"],
                        "gold": row["answers"][one["part"]],
                        "extracted": one["extracted"],
                        "status": one["status"],
                        "note": one["note"],
                        "label": row["label"],
                    },
                    ensure_ascii=False,
                )
            )
    try:
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}", "name a file in a folder that is there") from None
    return len(lines)


def _interval(i: Mapping[str, Any], signed: bool = False) -> str:
    sign = "+" if signed else ""
    text = f"{100 * i['estimate']:{sign}.1f}"
    if i["low"] is None:
        return text
    return f"{text} [{100 * i['low']:{sign}.1f}, {100 * i['high']:{sign}.1f}]"


def beside(start: str, values: Sequence[str]) -> list[str]:
    """A start and equally wide values after it, as many a line as there is room for."""
    room = max(1, (WIDTH - len(start) + 1) // (len(values[0]) + 1)) if values else 1
    rows = [" ".join(values[at : at + room]) for at in range(0, len(values), room)] or [""]
    return [f"{start}{rows[0]}".rstrip(), *(" " * len(start) + row for row in rows[1:])]


def study_summary(root: Path) -> str:
    """The table of arms × seeds, the fit, the contrasts and the verdict of a finished study."""
    findings = json.loads((root / "analyze" / "findings.json").read_text())
    lines: list[str] = []
    for b in findings["benchmarks"]:
        lines.append(
            f"\n{b['benchmark']}: {b['questions']} questions, "
            f"accuracy in % [{100 * findings['confidence']:.0f} % interval]"
        )
        width = min(_LONGEST_NAME, max(len(a["name"]) for a in b["arms"]))
        columns = sorted({seed for a in b["arms"] for seed in a["accuracy_by_seed"]}, key=int)
        lines.append(f"  {'arm':<{width}} {'tokens':>7} {'samples':>8} {'trained on':>12}  {'mean':<20} by seed")
        for a in b["arms"]:
            training, by_seed = a["training"], a["accuracy_by_seed"]
            last = max((columns.index(seed) for seed in by_seed), default=-1)
            seeds = [f"{100 * by_seed[s]:5.1f}" if s in by_seed else "    –" for s in columns[: last + 1]]
            tokens = f"{a['target_tokens']:,}" if a["target_tokens"] else "–"
            name = a["name"]
            if len(name) > width:  # its figures stand below it
                lines, name = [*lines, f"  {name}"], ""
            start = (
                f"  {name:<{width}} {tokens:>7} {training.get('samples', 0):>8,} "
                f"{training.get('tokens', 0):>12,}  {_interval(a['accuracy']):<20} "
            )
            lines += beside(start, seeds)
        if b["law"]:
            law = b["law"]
            lines.append(
                f"  accuracy = {100 * law['intercept']:.1f} {'+' if law['slope']['estimate'] >= 0 else '−'} "
                f"{abs(100 * law['slope']['estimate']):.1f} · log2(tokens), "
                f"slope {_interval(law['slope'], True)}, R² {law['r2']:.3f} (over seeds {law['r2_pooled']:.3f})"
            )
    lines.append("\nVerdict")
    for sentence in findings["verdict"]:
        lines += textwrap.wrap(sentence, WIDTH - 2, initial_indent="- ", subsequent_indent="  ")
    for note in findings.get("notes", []):
        lines += textwrap.wrap(f"Note: {note}", WIDTH - 2)
    return "\n".join(lines)

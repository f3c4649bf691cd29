"""What a table of predictions shows of the benchmark, the engine and the model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from long1k.benchmarks.base import Item
from long1k.chat import Chat
from long1k.generation.repeats import Seen, repeats
from long1k.grading.extract import extract_parts
from long1k.rows import Prediction
from long1k.stages.doctor.check import Check, plural, short
from long1k.stages.doctor.rows import called
from long1k.tables import read_manifest, read_table
from long1k.thinking import STYLES

MAX_CUT = 0.02
MAX_UNPARSED = 0.05
_ENOUGH = 20  # outputs, to speak of shares


def output_checks(folder: Path, items: Sequence[Item], chat: Chat | None) -> list[Check]:
    """All checks of a folder made by predict or import.

    Args:
        chat: the renderer that prediction would use now; None: prompts are not compared.
    """
    manifest = read_manifest(folder)
    rows = read_table(folder, Prediction)
    sampling = manifest.config.get("sampling", {})
    checks = [*_same_questions(rows, items), *([] if chat is None else _same_prompts(rows, items, chat))]
    checks += [_cut(rows), _parsed(rows), *_thinking(rows, chat)]
    found = repeats([Seen.of(row) for row in rows], float(sampling.get("temperature", 1.0)))
    alarm = found.pop("alarm")
    checks.append(
        Check(
            "equal outputs", "ok" if alarm is None else "warn" if "temperature is 0" in alarm else "fail",
            alarm or f"{plural(found['equal'], 'output')} of {len(rows):,} repeat another of their question, no more "
            "than chance allows",
            "look at the engine's seeds: a mean over samples that are copies says less than its n", figures=found,
        )
    )  # fmt: skip
    if chat is not None:
        checks += _ended(rows, chat)
    return checks


def _same_questions(rows: Sequence[Prediction], items: Sequence[Item]) -> list[Check]:
    known = {item.item_id: item for item in items}
    asked: dict[str, int] = Counter(row.problem_id for row in rows)
    missing, foreign = [name for name in known if name not in asked], [name for name in asked if name not in known]
    changed = sorted({r.problem_id for r in rows if r.problem_id in known and r.answers != known[r.problem_id].answers})
    uneven = len(set(asked.values())) > 1
    bad = bool(missing or foreign or changed or uneven)
    texts = [
        (missing, "questions have no output"), (foreign, "outputs' questions are not in the benchmark"),
        (changed, "questions have another gold answer now"),
    ]  # fmt: skip
    said = "; ".join(f"{len(names):,} {text}" for names, text in texts if names)
    if uneven:
        said = f"{said}; " if said else ""
        said += f"{min(asked.values())} to {max(asked.values())} outputs a question"
    return [
        Check(
            "same questions", "fail" if bad else "ok",
            said or f"every question has {plural(next(iter(asked.values()), 0), 'output')}, with the gold of today",
            "these outputs answer another state of the benchmark: predict again, or give the options they were made "
            "with",
            tuple(called(known[name]) if name in known else name for name in (*missing, *foreign, *changed)),
        )
    ]  # fmt: skip


def _same_prompts(rows: Sequence[Prediction], items: Sequence[Item], chat: Chat) -> list[Check]:
    known = {item.item_id: item for item in items}
    seen: set[str] = set()
    bad = []
    for row in rows:
        if row.problem_id in seen or row.problem_id not in known or not row.prompt_token_ids:
            continue
        seen.add(row.problem_id)
        wanted = chat.encode_prompt(known[row.problem_id].messages)
        sent = list(row.prompt_token_ids)
        if sent != wanted:
            cut = len(sent) < len(wanted) and wanted[-len(sent) :] == sent
            how = "its beginning was cut off" if cut else f"'{short(chat.tokenizer.decode(sent))}'"
            bad.append(f"{called(known[row.problem_id])}: {len(sent):,} tokens sent, {len(wanted):,} rendered: {how}")
    if not seen:
        return [Check("same prompts", "info", "the outputs do not say which prompts they answer")]
    return [
        Check(
            "same prompts", "fail" if bad else "ok",
            f"{plural(len(bad), 'question')} of {len(seen):,} were sent other tokens than the renderer makes" if bad
            else f"all {len(seen):,} prompts sent are, token by token, what the renderer makes",
            "give the --model (or --tokenizer, --thinking, --template) that predicted; prompts that were cut make the "
            "outputs worthless", tuple(bad),
        )
    ]  # fmt: skip


def _cut(rows: Sequence[Prediction]) -> Check:
    cut = sum(row.finish_reason == "length" for row in rows)
    share = cut / max(1, len(rows))
    return Check(
        "cut outputs", "warn" if share > MAX_CUT else "ok",
        f"{cut:,} of {len(rows):,} outputs were cut at their limit ({100 * share:.1f} %; up to {100 * MAX_CUT:.0f} % "
        "is usual)",
        "accuracy then measures the limit: raise max_new_tokens, or report finished outputs apart",
        figures={"cut": cut, "share": share},
    )  # fmt: skip


def _parsed(rows: Sequence[Prediction]) -> Check:
    ended = [row for row in rows if row.finish_reason != "length" and row.answer_text is not None]
    parts = none = 0
    evidence: list[str] = []
    for row in ended:
        found = extract_parts(row.answer_text or "", max(1, len(row.answers)))
        parts += len(found)
        none += sum(one is None for one in found)
        if None in found and len(evidence) < 100:
            evidence.append(f"{row.prediction_id}: ends with '{short((row.answer_text or '')[-80:])}'")
    share = none / max(1, parts)
    return Check(
        "unparsed answers", "warn" if share > MAX_UNPARSED else "ok",
        f"in {none:,} of {parts:,} finished answers no answer is found ({100 * share:.1f} %)",
        "read these: is the answer's form asked for, and is it the form that extraction knows?",
        tuple(evidence) if share > MAX_UNPARSED else (), {"unparsed": none, "share": share},
    )  # fmt: skip


def _thinking(rows: Sequence[Prediction], chat: Chat | None) -> list[Check]:
    unclosed = [row for row in rows if row.answer_text is None and row.finish_reason != "length"]
    checks = []
    if len(unclosed) > MAX_CUT * len(rows):
        checks.append(
            Check(
                "unclosed thinking",
                "warn",
                f"{len(unclosed):,} of {len(rows):,} outputs ended inside their thinking, and give no answer",
                "is it the right --thinking style, and was the closing tag trained?",
                tuple(f"{row.prediction_id}: ends with '{short(row.text[-80:])}'" for row in unclosed),
            )
        )
    if chat is None:
        return checks
    foreign: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for style in STYLES.values():
            if style.name != chat.style.name and style.open.strip() in row.text:
                foreign[style.name].append(row.prediction_id)
    for name, ids in foreign.items():
        if len(ids) > MAX_CUT * len(rows):
            checks.append(
                Check("thinking style of outputs", "fail",
                      f"{len(ids):,} of {len(rows):,} outputs use the tags of '{name}', and were split as "
                      f"'{chat.style.name}': thinking was graded as the answer", f"predict with --thinking {name}",
                      tuple(ids))
            )  # fmt: skip
    return checks


def _ended(rows: Sequence[Prediction], chat: Chat) -> list[Check]:
    ended = [row for row in rows if row.finish_reason == "stop"]
    stopped = len(ended)
    others = sum(bool(row.token_ids) and row.token_ids[-1] != chat.end_id for row in ended)
    if len(rows) < _ENOUGH:
        return []
    return [
        Check(
            "outputs that end", "ok" if stopped else "fail",
            f"{stopped:,} of {len(rows):,} outputs ended by themselves with {chat.end_token}"
            + (f" or another end token of the model ({others:,})" if others else ""),
            "the model never stops: was its end token trained, and is it the template's?",
        )
    ]  # fmt: skip

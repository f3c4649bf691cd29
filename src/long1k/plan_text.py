"""What the command plan prints: tables within 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from long1k.hardware import Machines
from long1k.plan_questions import PROMPT_TOKENS
from long1k.planning.cost import TrainingCost, checkpoint_bytes, inference_cost, kv_bytes_a_token, training_cost
from long1k.planning.flops import Operations, training_flops
from long1k.planning.layouts import Found, fewest, fits, singly, usable_bytes, why_not
from long1k.planning.memory import Memory, predict
from long1k.planning.setting import GB, Setting
from long1k.study_plan import StudyPlan

WIDTH = 100
_ORDER = ("weights", "gradients", "optimiser", "layer inputs", "activations of all layers")


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right; the first row is its head."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    made = []
    for row in rows:
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        made.append(indent + "  ".join(cells))
    return made


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{label:<9}", subsequent_indent=" " * 9)


def heading_lines(study: StudyPlan, machines: Machines) -> list[str]:
    """Model and GPUs."""
    s, gpu = study.shape, machines.gpu
    made = [f"Plan of {study.name} on {machines}"]
    made += _wrapped("Model", f"{s.name}: {s.parameters:,} parameters; {s.layers} layers of {s.hidden:,}, "
                     f"{s.heads} heads ({s.kv_heads} for keys), MLP {s.intermediate:,}, vocabulary {s.vocabulary:,}"
                     f"{', tied' if s.tied else ''}, {s.positions:,} positions")  # fmt: skip
    if gpu.is_cpu:
        made += _wrapped("CPU", gpu.source)
    else:
        made += _wrapped("GPU", f"{gpu.memory_bytes / GB:.1f} GB, {gpu.peak_flops / 1e12:,.0f} TFLOP/s dense bf16, "
                         f"{gpu.bandwidth / 1e12:.2f} TB/s ({gpu.source})")  # fmt: skip
    return made


def arms_lines(study: StudyPlan) -> list[str]:
    """Samples and steps of every arm."""
    rows = [("Arm", "samples", "mean", "longest", "known by", "batch", "steps", "tokens a run", "runs")]
    for arm in study.arms:
        rows.append((
            arm.name[:30], f"{arm.lengths.samples:,}", f"{arm.lengths.mean:,.0f}", f"{arm.lengths.longest:,}",
            arm.lengths.known_by, f"{arm.train.batch_size:,}", f"{arm.steps:,}", f"{arm.tokens_a_run:,.0f}",
            f"{arm.seeds}",
        ))  # fmt: skip
    made = table(rows, indent="")
    limit = study.train.rope.factor * study.shape.positions if study.train.rope else study.shape.positions
    if limit and study.longest.lengths.longest > limit:
        made.append(f"The longest sample is longer than the model's {limit:,.0f} positions: see train.rope")
    return made


def _describe(setting: Setting) -> str:
    words: list[str] = [setting.sharding if setting.ranks > 1 or setting.sharding != "none" else "one process"]
    words += [f"offload {setting.offload}"] if setting.offload != "none" else []
    words += [f"sequence parallel {setting.sequence_parallel}"] if setting.sequence_parallel > 1 else []
    words += ["gradient checkpointing"] if setting.gradient_checkpointing else []
    words += ["activations offloaded"] if setting.offload_activations else []
    words += [f"LoRA {setting.lora_rank}{', 4 bits' if setting.quantized else ''}"] if setting.lora_rank else []
    return f"{', '.join(words)}, {setting.micro_batch_size} row{'s' if setting.micro_batch_size > 1 else ''} at once"


def _verdict(memory: Memory, machines: Machines, cpu_bytes: float | None, batch_size: int) -> str:
    if why_not(memory.setting, batch_size) is not None:
        return "cannot run"
    if fits(memory, machines, cpu_bytes):
        return "fits"
    if memory.peak_bytes <= usable_bytes(machines):
        return "CPU too small"
    return "does not fit"


def memory_lines(
    study: StudyPlan, machines: Machines, own: Setting, found: Found, cpu_bytes: float | None
) -> list[str]:
    """Memory by item at its peak, of the recipe's layout and of the cheapest that fits; and how to get there."""
    tokens = study.longest.longest_row
    plans = [("recipe", predict(study.shape, tokens, own))]
    if found.setting != own:
        plans.append(("cheapest" if found.fits else "least", found.memory))
    what = "CPU memory" if machines.gpu.is_cpu else "Memory of one GPU"
    made = [f"{what} at a row of {tokens:,} tokens, GB (1e9 bytes)"]
    for label, memory in plans:
        made += textwrap.wrap(
            _describe(memory.setting), WIDTH, initial_indent=f"  {label:<9}", subsequent_indent=" " * 11
        )
    rows = [["item", *(label for label, _ in plans), "what"]]
    listed = [item.name for _, memory in plans for item in (*memory.items, *memory.fixed)]
    for name in sorted(dict.fromkeys(listed), key=lambda one: _ORDER.index(one) if one in _ORDER else len(_ORDER)):
        entry, note = [name], ""
        for _, memory in plans:
            item = next((one for one in (*memory.items, *memory.fixed) if one.name == name), None)
            entry.append("–" if item is None else f"{item.bytes / GB:.2f}")
            note = note or ("" if item is None else item.note)
        rows.append([*entry, note])
    rows.append(["peak", *(f"{memory.peak_bytes / GB:.1f}" for _, memory in plans), ""])
    rows.append(["reached at", *(memory.peak for _, memory in plans), ""])
    if not machines.gpu.is_cpu:
        batch_size = study.longest.train.batch_size
        verdicts = [_verdict(memory, machines, cpu_bytes, batch_size) for _, memory in plans]
        rows.append([f"of {machines.gpu.memory_bytes / GB:.1f} GB", *verdicts, ""])
        rows.append(["CPU, a machine", *(f"{memory.cpu_bytes / GB:,.0f}" for _, memory in plans), "GB of its memory"])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, len(widths)))]
        line = f"  {'  '.join(cells)}  {row[-1]}"
        made.append(line if len(line) <= WIDTH else f"  {'  '.join(cells)}")  # figures go before words
    if not machines.gpu.is_cpu:
        for label, memory in plans:
            parts = ", ".join(f"{item.name} {item.bytes / GB:,.0f}" for item in memory.cpu if item.bytes > GB / 2)
            made.append(f"  CPU, {label}: {parts}")
        reason = why_not(own, batch_size)
        if reason is not None:
            said = f"The recipe's layout cannot run on {machines}: {reason}"
            made += textwrap.wrap(said, WIDTH, initial_indent="  ", subsequent_indent="  ")
        made += ["", *_knobs(study, machines, own, found, cpu_bytes)]
    return made


def _knobs(study: StudyPlan, machines: Machines, own: Setting, found: Found, cpu_bytes: float | None) -> list[str]:
    """How the cheapest layout is reached, what else each knob of the recipe's would save, and the fewest GPUs."""
    tokens, batch = study.longest.longest_row, study.longest.train.batch_size
    made = ["Cheapest layout that fits, from copies on all GPUs:" if found.fits
            else "No layout fits these GPUs; the nearest:"]  # fmt: skip
    for knob in found.knobs:
        name, *needed = str(knob).split(", ")
        made.append(f"  --set train.layout.{name:<30} {-knob.saved_bytes / GB:>+9.1f} GB  {knob.cost}")
        made += [f"  --set train.layout.{more:<43}  which this needs" for more in needed]
    left = singly(study.shape, tokens, own, batch)
    if left:
        made.append("From the recipe's layout, each alone:")
        for knob in left:
            made.append(f"  {knob!s:<49} {-knob.saved_bytes / GB:>+9.1f} GB  {knob.cost}")
    if not found.fits and study.train.lora is None:
        made.append("Or train less: train.lora={rank: 16} (another experiment), or shorter targets.")
    best = fewest(study.shape, tokens, machines, found.setting, batch, cpu_bytes)
    if best is not None and best[0] != machines:
        made.append(f"Fewest of these GPUs: {best[0]}, with {best[1].memory.cpu_bytes / GB:,.0f} GB of CPU memory")
        made += textwrap.wrap(_describe(best[1].setting), WIDTH, initial_indent="  ", subsequent_indent="  ")
    return made


def training_lines(
    study: StudyPlan, machines: Machines, own: Setting, found: Found, mfu: float, price: float | None
) -> list[str]:
    """Operations, hours and price of every arm and of all."""
    chosen = own if own.gradient_checkpointing or not found.setting.gradient_checkpointing else found.setting
    again, frozen = chosen.gradient_checkpointing, study.train.lora is not None
    rows = [["Training", "tokens", "PFLOP", "hours", "GPU-hours", *(["price"] if price is not None else [])]]
    total, all_tokens = Operations(0.0, 0.0), 0.0
    for arm in study.arms:
        scale = arm.rows_a_run / max(1, arm.lengths.samples) if arm.train.packing is None else 1.0
        one = Operations(0.0, 0.0)
        for length, count in arm.lengths.counts:
            part = training_flops(study.shape, [length], recompute=again, frozen=frozen)
            one += part.times(count)
        if arm.train.packing is not None:
            scale = arm.tokens_a_run / arm.lengths.tokens
        whole = one.times(scale * arm.seeds)
        total, all_tokens = total + whole, all_tokens + arm.tokens_a_run * arm.seeds
        rows.append(_cost_row(f"{arm.name[:30]} x {arm.seeds}", arm.tokens_a_run * arm.seeds, whole,
                              training_cost(whole, machines, mfu, price)))  # fmt: skip
    cost = training_cost(total, machines, mfu, price)
    if len(study.arms) > 1:
        rows.append(_cost_row("all", all_tokens, total, cost))
    made = table(rows, indent="")
    made.append(f"at MFU {mfu:.0%} of {machines.gpu.peak_flops / 1e12:,.1f} TFLOP/s"
                + (f" (HFU {cost.hfu:.0%}: activations are computed again)" if again else "")
                + "; attention counted causal")  # fmt: skip
    return made


def _cost_row(name: str, tokens: float, operations: Operations, cost: TrainingCost) -> list[str]:
    made = [name, f"{tokens:,.0f}", f"{operations.model / 1e15:,.3g}" if operations.model < 1e18 else
            f"{operations.model / 1e15:,.0f}", f"{cost.hours:,.2f}", f"{cost.gpu_hours:,.1f}"]  # fmt: skip
    return made if cost.price is None else [*made, f"{cost.price:,.2f}"]


def disk_lines(study: StudyPlan, own: Setting) -> list[str]:
    """What checkpoints take."""
    resumable, finished = checkpoint_bytes(study.shape, own)
    models = sum(arm.seeds for arm in study.arms)
    kept = 3 * resumable if study.train.save_steps else 0.0
    text = f"{models} model{'s' if models > 1 else ''} of {finished / GB:,.2f} GB"
    if study.train.save_steps:
        text += f"; while one trains, two resumable checkpoints of {resumable / GB:,.2f} GB and a third being written"
    return _wrapped("Disk", f"{(models * finished + kept) / GB:,.1f} GB at most: {text}")


def inference_lines(study: StudyPlan, machines: Machines, answer_tokens: int | None, price: float | None) -> list[str]:
    """Tokens and hours of the benchmarks, over all models."""

    if not study.questions:
        return _wrapped("Asking", "no benchmark is known")
    wanted = answer_tokens or round(max(arm.lengths.mean for arm in study.arms))
    most = {name: study.samplings[name].max_new_tokens for name in study.questions}
    answers = {name: count * study.samplings[name].samples for name, count in study.questions.items()}
    drawn = {name: count * min(wanted, most[name]) for name, count in answers.items()}
    outputs, limit = sum(answers.values()), max(most.values())
    mean = round(sum(drawn.values()) / max(1, outputs))
    made = [f"Asking {study.models} model{'s' if study.models > 1 else ''}, answers of {mean:,} tokens on average "
            f"({'--answer-tokens' if answer_tokens else 'assumed'}; at most {limit:,})"]  # fmt: skip
    rows = [["Benchmark", "questions", "samples", "tokens a model", "if all reach the limit"]]
    for name, count in study.questions.items():
        rows.append([name, f"{count:,}", f"{study.samplings[name].samples}", f"{drawn[name]:,}",
                     f"{answers[name] * most[name]:,}"])  # fmt: skip
    rows.append(["all", f"{sum(study.questions.values()):,}", "", f"{sum(drawn.values()):,}",
                 f"{sum(answers[name] * most[name] for name in answers):,}"])  # fmt: skip
    made += table(rows)
    if machines.gpu.is_cpu:
        return made
    cost = inference_cost(
        study.shape, machines, outputs=outputs, mean_tokens=mean, prompt_tokens=PROMPT_TOKENS,
        most_tokens=PROMPT_TOKENS + limit,
    )  # fmt: skip
    if cost is None:
        return [*made, "  the model with one sequence does not fit one machine of these GPUs"]
    paid = "" if price is None else f", {price * cost.gpu_hours * study.models:,.2f} in all"
    made.append(f"  {cost.hours * study.models:,.2f} h ({cost.gpu_hours * study.models:,.1f} GPU-hours{paid}) at "
                f"{cost.tokens_a_second:,.0f} tokens/s: half of the roofline,")  # fmt: skip
    made.append(f"  {cost.replicas} x {cost.tensor_parallel} GPUs, {cost.concurrent} answers at once on each; "
                f"{kv_bytes_a_token(study.shape):,} bytes of keys and values a token")  # fmt: skip
    return made

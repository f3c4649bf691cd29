"""What each kind of arm holds equal to the arm it stands against, and what it changes on purpose.

By columns of the balance table; whatever else differs is a confounder, and the table names it.
"""

from __future__ import annotations

# Columns of the balance table: see balance_table.COLUMNS.
EQUAL: dict[str, tuple[str, ...]] = {
    "ladder": ("samples", "steps", "batch_size", "correct_share"),
    "token_matched": ("tokens", "steps", "tokens_a_step", "tokens_trained", "correct_share"),
    "step_matched": ("steps", "batch_size", "correct_share"),
    "repeated": ("steps", "tokens_a_step", "tokens_trained", "correct_share"),
    "problem_matched": (
        "problems", "unique_problems", "unique_traces", "tokens", "steps", "tokens_a_step", "tokens_trained",
        "subjects", "difficulty", "correct_share", "teachers", "licenses",
    ),
    "single_long": (
        "samples", "tokens", "mean_tokens", "steps", "batch_size", "tokens_a_step", "tokens_trained", "correct_share",
    ),
    "mode": ("samples", "tokens", "mean_tokens", "steps", "batch_size", "tokens_a_step", "tokens_trained"),
    "rejoined": (
        "samples", "tokens", "mean_tokens", "supervised_tokens", "problems", "unique_problems", "unique_traces",
        "parts", "subjects", "difficulty", "correct_share", "teachers", "licenses", "steps", "batch_size",
        "tokens_a_step", "tokens_trained",
    ),
    "same_problems": (
        "samples", "problems", "unique_problems", "parts", "prompt_tokens", "subjects", "difficulty", "correct_share",
        "steps", "batch_size",
    ),
    "difficulty": (
        "samples", "tokens", "mean_tokens", "steps", "batch_size", "tokens_a_step", "tokens_trained", "correct_share",
    ),
    "mixture": (
        "samples", "tokens", "mean_tokens", "steps", "batch_size", "tokens_a_step", "tokens_trained", "correct_share",
    ),
    "mixture_window": ("samples", "steps", "batch_size", "correct_share"),
    "steps": ("samples", "steps", "batch_size", "correct_share"),
    "samples": (),
}  # fmt: skip
VARIED: dict[str, tuple[str, ...]] = {
    "ladder": ("target", "tokens", "mean_tokens", "supervised_tokens", "tokens_a_step", "tokens_trained"),
    "token_matched": ("target", "mean_tokens", "samples", "batch_size", "parts"),
    "step_matched": (
        "target", "tokens", "mean_tokens", "supervised_tokens", "samples", "tokens_a_step", "tokens_trained", "parts",
    ),
    "repeated": ("target", "tokens", "mean_tokens", "samples", "batch_size", "parts"),
    "problem_matched": ("target", "mean_tokens", "samples", "batch_size", "parts", "prompt_tokens"),
    "single_long": ("parts", "problems", "unique_problems", "unique_traces", "prompt_tokens"),
    "mode": (),
    "rejoined": (),
    "same_problems": ("tokens", "mean_tokens", "supervised_tokens", "tokens_a_step", "tokens_trained"),
    "difficulty": ("difficulty", "parts", "problems", "unique_problems", "unique_traces"),
    "mixture": ("parts", "problems", "unique_problems", "unique_traces", "prompt_tokens"),
    "mixture_window": (
        "parts", "problems", "unique_problems", "unique_traces", "prompt_tokens", "tokens", "mean_tokens",
        "supervised_tokens", "tokens_a_step", "tokens_trained",
    ),
    "steps": ("target", "tokens", "mean_tokens", "supervised_tokens", "tokens_a_step", "tokens_trained", "parts",
              "problems", "unique_problems", "unique_traces", "prompt_tokens"),
    "samples": (),
}  # fmt: skip

"""The command line.  Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k import __version__
from long1k.cli_common import Address, ExecutorKind, TokenizerOption, Workers
from long1k.cli_compare import add_commands as add_compare_commands
from long1k.cli_curve import add_commands as add_curve_commands
from long1k.cli_data import add_commands as add_data_commands
from long1k.cli_distill import add_commands as add_distill_commands
from long1k.cli_doctor import add_commands as add_doctor_commands
from long1k.cli_outputs import add_commands as add_outputs_commands
from long1k.cli_paper import add_commands as add_paper_commands
from long1k.cli_plan import add_commands as add_plan_commands
from long1k.cli_pool import add_commands as add_pool_commands
from long1k.cli_predict import add_commands as add_predict_commands
from long1k.cli_report import add_commands as add_report_commands
from long1k.cli_score import add_commands as add_score_commands
from long1k.cli_status import add_commands as add_status_commands
from long1k.cli_train import add_commands as add_train_commands
from long1k.errors import DataError, Long1kError, StoppedError

app = typer.Typer(
    name="long1k",
    help="Build reasoning data to an exact length, train on it, and measure what the length bought.",
    epilog="Start with:  long1k run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Sets = Annotated[list[str], typer.Option("--set", help="Override a leaf: key.path=value. May be repeated.")]


def _say(text: str) -> None:
    print(text, flush=True)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"long1k {__version__}")
        raise typer.Exit
    # A study's own folders follow its recipe; a folder that somebody names is theirs.
    if context.invoked_subcommand not in ("run", "analyze", "report"):
        from long1k.tables import keep_finished

        before = keep_finished.set(True)
        context.call_on_close(lambda: keep_finished.reset(before))


@app.command(epilog="Example:  long1k run quickstart --smoke      long1k run my.yaml --set train.learning_rate=1e-5")
def run(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe (quickstart, real-traces) or a YAML file.")],
    runs: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
    set_: Sets = [],  # noqa: B006
    smoke: Annotated[bool, typer.Option("--smoke", help="The recipe's smallest form, to see that all works.")] = False,
    workers: Workers = 2,
    executor: ExecutorKind = "local",
    address: Address = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="A line a step, as into a file; no tree on a terminal.")
    ] = False,
) -> None:
    """Run a whole study, or go on with one that was stopped."""
    import resource
    import time

    from long1k.recipe import load_recipe

    started = time.time()
    loaded = load_recipe(recipe, set_, smoke=smoke)
    if smoke:
        runs = runs / "smoke"
    from long1k.executors import Executor
    from long1k.study import run_study

    made_by = Executor(workers, executor, address)
    page = run_study(loaded, runs, num_workers=workers, say=_say, executor=made_by, live=not plain)
    from long1k.summary import study_summary

    _say(study_summary(page.parent.parent))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    _say(f"\n{time.time() - started:.1f} s, largest process {peak / 1024:,.0f} MiB.  Open {page}")


add_status_commands(app)
add_train_commands(app)
add_predict_commands(app)
add_score_commands(app)
add_doctor_commands(app)
add_curve_commands(app)
add_distill_commands(app)
add_pool_commands(app)
add_data_commands(app)
add_plan_commands(app)
add_paper_commands(app)
add_outputs_commands(app)
add_compare_commands(app)


@app.command(epilog="Example:  long1k analyze runs/quickstart")
def analyze(run_folder: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Compute rates, the law and the contrasts of a run again from its scores."""
    from long1k.study import analyze_run
    from long1k.summary import study_summary

    analyze_run(_run_folder(run_folder))
    _say(study_summary(run_folder))


add_report_commands(app)


@app.command(
    epilog="Example:  long1k show examples --row 3      long1k show pool --id t-0a      long1k show pool --trace t-0a"
)
def show(
    folder: Annotated[Path, typer.Argument(help="A table, a checkpoint, or a run.")],
    row: Annotated[int, typer.Option(min=0, help="Which row, from 0.")] = 0,
    id_: Annotated[str | None, typer.Option("--id", help="A row by its id (or the beginning of it).")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Every token, trained and untrained, as the trainer sees it.")
    ] = False,
    packing: Annotated[
        int | None, typer.Option(min=16, help="Show row --row as packed for training into rows of so many tokens.")
    ] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Rejected rows instead.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Rejected rows of this reason only, e.g. --reason wrong_answer --row 3.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Whole texts; by default long ones are shortened in the middle.")
    ] = False,
    trace: Annotated[
        str | None, typer.Option(help="A trace by its id: the samples it stands in, its pool row, its source row.")
    ] = None,
    pool: Annotated[Path | None, typer.Option(help="With --trace: the pool, if it lies in no run.")] = None,
    tokenizer: TokenizerOption = None,
) -> None:
    """Look at one row: parts, linking words, trained and untrained text in colour."""
    if trace is not None:
        from long1k.display import show_trace

        show_trace(folder, trace, pool=pool, full=full)
        return
    from long1k.summary import study_summary

    if (folder / "analyze" / "findings.json").is_file():
        _say(study_summary(folder))
        return
    from long1k.display import show_row

    show_row(
        folder, row=row, row_id=id_, tokens=tokens, rejected=rejected or reason is not None, full=full,
        tokenizer=tokenizer, reason=reason, packing=packing,
    )  # fmt: skip


def _run_folder(folder: Path) -> Path:
    if not (folder / "recipe.json").is_file():
        raise DataError(f"{folder} is not a run (it has no recipe.json)", "give runs/<recipe name>")
    return folder


class _Stopped(BaseException):
    """Ctrl-C or a polite kill; not KeyboardInterrupt, which the command-line library would swallow."""


def _stop(number: int, _frame: Any) -> None:
    raise _Stopped(number)


def main() -> None:
    """Entry point: errors as messages with an exit code, never as tracebacks."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except StoppedError as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Long1kError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:  # a full disk, a lost file: the user's to mend, and no bug of ours
        print(f"error: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        sys.exit(1)
    except _Stopped as stopped:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + stopped.args[0])


if __name__ == "__main__":
    main()

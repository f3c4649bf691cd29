"""Every error that a user can cause or meet.

    Long1kError                  base: prints as one message, exit code 1
    ├── RecipeError              a recipe or an option is wrong (exit code 2)
    ├── DataError                a file, folder or row is missing or unreadable
    ├── IncompleteError          a table or checkpoint has no manifest yet
    ├── InfeasibleError          what was asked for cannot be made from this pool
    ├── MissingExtraError        an optional dependency is not installed
    ├── EngineError              training or generation could not go on
    └── StoppedError             somebody stopped it, and it has saved what it had (exit code 128 + signal)

A message says what went wrong, where, and how to mend it.  Bad rows are not errors:
they go to a table's ``rejected.parquet`` with a reason.
"""

from __future__ import annotations


class Long1kError(Exception):
    """A problem the user can mend; shown without a traceback.

    Args:
        what: what went wrong, and where (file, row, field).
        mend: how to mend it, if known.
    """

    exit_code = 1

    def __init__(self, what: str, mend: str | None = None) -> None:
        super().__init__(what if mend is None else f"{what}\n  -> {mend}")
        self.what = what
        self.mend = mend

    def __reduce__(self) -> tuple[object, ...]:
        """Errors come back from worker processes; their parts, not the joined text, make them again."""
        return _again, (type(self), self.what, self.mend)


def _again(kind: type[Long1kError], what: str, mend: str | None) -> Long1kError:
    error = kind.__new__(kind)
    Long1kError.__init__(error, what, mend)
    return error


class RecipeError(Long1kError):
    """A recipe or a command-line option is wrong."""

    exit_code = 2


class DataError(Long1kError):
    """A file, folder or row is missing or unreadable."""


class IncompleteError(Long1kError):
    """A table or checkpoint was never finished."""


class InfeasibleError(Long1kError):
    """The request cannot be met from the data at hand."""


class MissingExtraError(Long1kError):
    """An optional dependency is not installed.

    Args:
        module: the module that could not be imported.
        extra: the extra of this package that brings it.
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"this step needs the Python package '{module}', which is not installed",
            f"pip install 'long1k[{extra}]'   (in a clone: pip install -c constraints.txt '.[{extra}]')",
        )


class EngineError(Long1kError):
    """Training or generation could not go on."""


class StoppedError(Long1kError):
    """Training was told to stop, and did so at the end of a step, with all that is needed to go on.

    Args:
        signal_number: of SIGINT or SIGTERM.
    """

    def __init__(self, what: str, mend: str | None = None, signal_number: int = 15) -> None:
        super().__init__(what, mend)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[object, ...]:
        """The signal too must come back from a worker process."""
        return StoppedError, (self.what, self.mend, self.signal_number)

"""Errors keep their parts on the way back from a worker process."""

from __future__ import annotations

import pickle

import pytest

from long1k.errors import DataError, EngineError, Long1kError, MissingExtraError, RecipeError


@pytest.mark.parametrize(
    "error", [RecipeError("a", "b"), DataError("a"), EngineError("a", "b"), MissingExtraError("torch", "train")]
)
def test_an_error_survives_pickling(error: Long1kError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.what, again.mend) == (str(error), error.what, error.mend)
    assert again.exit_code == error.exit_code

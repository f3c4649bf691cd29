"""Whether weights and optimiser state lie where the layout says, and what is said when memory is full.

Stand-ins for a GPU's tensors lie nowhere ("meta").
"""

from __future__ import annotations

import pytest

from long1k.errors import EngineError
from long1k.training.config import TrainConfig
from long1k.training.layout import Layout
from long1k.training.pieces import check_offloaded, check_sharded
from long1k.training.room import memory_explained
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402


def parts(model_on: str, states_on: str) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(64, 64, device=model_on)
    return model, torch.optim.AdamW([torch.nn.Parameter(torch.empty(64, 65, device=states_on))])


@pytest.mark.parametrize(
    ("offload", "model_on", "states_on", "message"),
    [
        ("none", "meta", "meta", None),
        ("optimizer", "meta", "cpu", None),
        ("optimizer", "meta", "meta", "the optimiser's state lie"),
        ("all", "cpu", "cpu", None),
        ("all", "meta", "cpu", "in force: weights lie"),
        ("all", "cpu", "meta", "the optimiser's state lie"),
    ],
)
def test_what_shall_wait_on_the_cpu_lies_there(
    offload: str, model_on: str, states_on: str, message: str | None
) -> None:
    layout = Layout.model_validate({"nproc": 2, "sharding": "zero3", "offload": offload})
    model, optimizer = parts(model_on, states_on)
    if message is None:
        check_offloaded(model, optimizer, layout)
    else:
        with pytest.raises(EngineError, match=message):
            check_offloaded(model, optimizer, layout)


def test_small_weights_that_stay_where_they_are_used_do_not_count() -> None:
    model, optimizer = parts("cpu", "cpu")
    small = torch.nn.Parameter(torch.empty(10_000, device="meta"))
    small.ds_persist = True
    model.register_parameter("small", small)
    layout = Layout(nproc=2, sharding="zero3", offload="all")
    check_offloaded(model, optimizer, layout)
    small.ds_persist = False
    with pytest.raises(EngineError, match="weights lie in the GPU's memory"):
        check_offloaded(model, optimizer, layout)


def test_weights_that_lie_whole_on_one_of_two_ranks_are_found() -> None:
    model, optimizer = parts("cpu", "cpu")
    with pytest.raises(EngineError, match="4,160 of 4,160 weights and the optimiser's state of 4,160 of 4,160"):
        check_sharded(model, optimizer, Layout(nproc=2, sharding="zero3"))
    check_sharded(model, optimizer, Layout(nproc=1, sharding="zero3"))


def test_full_memory_is_said_with_what_can_still_be_traded() -> None:
    config = TrainConfig(steps=2, precision="bf16", layout={"nproc": 2, "sharding": "zero3", "micro_batch_size": 1})
    text = "CUDA out of memory. Tried to allocate 2.00 GiB.\nsee the documentation"
    with pytest.raises(EngineError) as found, memory_explained(config):
        raise torch.OutOfMemoryError(text)
    assert found.value.what == "the memory of the GPU is full: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert "try train.layout.gradient_checkpointing: true, train.layout.offload: all" in found.value.mend
    with pytest.raises(EngineError, match="memory of the machine is full"), memory_explained(config):
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), memory_explained(config):
        torch.ones(2, 3) @ torch.ones(2, 3)

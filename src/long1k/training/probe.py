"""Looks over the trainer's shoulder during its first step: batches, forwards, tensors, the loss and its divisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from long1k.plugins import need


class Probe:
    """Hooks on a live trainer, taken off again by ``remove``.

    What it holds afterwards: ``batches`` of the first step and ``divisor``, the number that its loss was divided
    by; of the first micro-batch ``loss``, ``log_prob`` (the sum over supervised tokens), the runs of a layer's first
    part, the type of a matrix product, and the bytes of the largest tensor that the loss made.
    """

    def __init__(self, trainer: Any) -> None:
        self.batches: list[dict[str, Any]] = []
        self.divisor: float | None = None
        self.loss: float | None = None
        self.log_prob: float | None = None
        self.product_dtype: str | None = None
        self.loss_head_bytes: int | None = None
        self.all_logits_bytes = 0
        self._runs: dict[str, int] = {}
        self._trainer = trainer
        self._undo: list[Callable[[], Any]] = []
        self._layers = _layers(trainer.model)
        self.layer_flags = [bool(layer.gradient_checkpointing) for layer in self._layers.values()]
        self._wrap("get_batch_samples", self._on_batches)
        self._wrap("training_step", self._on_step)
        if not trainer.args.torch_compile:  # hooks would be compiled in
            self._hook()

    @property
    def clipping(self) -> float:
        """The limit of the gradient's norm, as whoever clips has it."""
        engine = getattr(self._trainer, "deepspeed", None)
        return float(engine.gradient_clipping() if engine is not None else self._trainer.args.max_grad_norm)

    @property
    def runs_a_layer(self) -> float | None:
        """How often a layer's first part ran in the first micro-batch, on average."""
        return sum(self._runs.values()) / len(self._runs) if self._runs else None

    def norm_after(self) -> float | None:
        """The norm of the gradients as they are now; None if there are none to see."""
        torch = need("torch")
        gradients = [p.grad for p in self._trainer.model.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else None

    def remove(self) -> None:
        """Leave the trainer as it was."""
        for undo in self._undo:
            undo()
        self._undo = []

    def _wrap(self, name: str, around: Callable[..., Any]) -> None:
        real = getattr(self._trainer, name)
        own = name in vars(self._trainer)
        setattr(self._trainer, name, lambda *a, **k: around(real, *a, **k))
        self._undo.append(lambda: setattr(self._trainer, name, real) if own else delattr(self._trainer, name))

    def _on_batches(self, real: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        batches, divisor = real(*arguments, **keywords)
        if not self.batches:
            self.batches = list(batches)
            self.divisor = None if divisor is None else float(divisor)
        return batches, divisor

    def _on_step(self, real: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if self.loss is not None:
            return real(*arguments, **keywords)
        loss = real(*arguments, **keywords)
        self.loss = float(loss)
        return loss

    def _hook(self) -> None:
        torch = need("torch")
        model = self._trainer.model
        for name, layer in self._layers.items():
            first = next(layer.children(), None)
            if first is not None:
                self._runs[name] = 0
                self._add(first.register_forward_pre_hook(self._counter(name)))
        inside = list(self._layers.values()) or [model]
        linear = next((m for m in inside[0].modules() if isinstance(m, torch.nn.Linear)), None)
        if linear is not None:
            self._add(linear.register_forward_hook(self._on_product))
        self._add(model.register_forward_hook(self._on_output))
        base = getattr(model, "get_base_model", lambda: model)().base_model
        self._watch_loss(base, model)

    def _add(self, handle: Any) -> None:
        self._undo.append(handle.remove)

    def _counter(self, name: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            if self.loss is None:  # the first micro-batch is not through yet
                self._runs[name] += 1

        return count

    def _on_product(self, _module: Any, _inputs: Any, output: Any) -> None:
        if self.product_dtype is None:
            self.product_dtype = str(output.dtype).removeprefix("torch.")

    def _on_output(self, _module: Any, _inputs: Any, output: Any) -> None:
        found = getattr(output, "log_probs", None)
        if self.log_prob is None and found is not None:
            self.log_prob = float(found.detach().double().sum())

    def _watch_loss(self, base: Any, model: Any) -> None:
        """Record every tensor that is made between the end of the layers and the end of the model's forward."""
        head = model.get_output_embeddings()
        if head is None or base is model:
            return
        words, width = head.weight.shape if head.weight.ndim == 2 else (model.config.vocab_size, 0)
        recorder = _recorder(words, width)
        running: list[Any] = []

        def start(_module: Any, _inputs: Any, output: Any) -> None:
            if self.loss_head_bytes is None and not running:
                hidden = output.last_hidden_state
                self.all_logits_bytes = hidden.numel() // hidden.shape[-1] * words * 4
                recorder.__enter__()
                running.append(recorder)

        def stop(*_: Any) -> None:
            while running:
                running.pop().__exit__(None, None, None)
                self.loss_head_bytes = recorder.largest

        self._add(base.register_forward_hook(start))
        self._add(model.register_forward_hook(stop, always_call=True))


def _layers(model: Any) -> dict[str, Any]:
    """The layers of a model that can be recomputed, by name."""
    modeling = need("transformers").modeling_layers
    return {name: m for name, m in model.named_modules() if isinstance(m, modeling.GradientCheckpointingLayer)}


def _recorder(words: int, width: int) -> Any:
    """A mode that remembers the bytes of the largest new tensor; the head's own weight, gathered or not, is none."""
    torch = need("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
        """Sees every operation under it."""

        largest = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            for one in out if isinstance(out, tuple | list) else (out,):
                if isinstance(one, torch.Tensor) and sorted(one.shape) != sorted((words, width)):
                    self.largest = max(self.largest, one.numel() * one.element_size())
            return out

    return Recorder()

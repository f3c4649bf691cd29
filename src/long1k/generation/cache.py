"""Keys and values of a batch: written in place, and cut down to the rows that go on.

The library's own cache makes a new tensor of all keys at every token.  Layers with full attention get ours instead;
layers of another kind (a sliding window, linear attention) keep the library's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from long1k.plugins import need

_SPARE = 64  # columns that a layer has beyond what it holds


@lru_cache(maxsize=1)
def _layer_class() -> Any:
    torch, utils = need("torch"), need("transformers.cache_utils")

    class GrowingLayer(utils.CacheLayerMixin):  # type: ignore[misc,name-defined]
        """Keys and values of one layer, shape (rows, heads, columns, size), with room for more columns."""

        is_sliding = False

        def __init__(self) -> None:
            super().__init__()
            self.length = 0

        def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = (
                self._room(states, states.shape[-2] + _SPARE) for states in (key_states, value_states)
            )
            self.is_initialized = True

        @staticmethod
        def _room(states: Any, columns: int) -> Any:
            rows, heads, _, size = states.shape
            return torch.empty((rows, heads, columns, size), dtype=states.dtype, device=states.device)

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            end = self.length + key_states.shape[-2]
            if end > self.keys.shape[-2]:
                for name in ("keys", "values"):
                    old = getattr(self, name)
                    new = self._room(old, end + end // 4 + _SPARE)
                    new[:, :, : self.length] = old[:, :, : self.length]
                    setattr(self, name, new)
            self.keys[:, :, self.length : end] = key_states
            self.values[:, :, self.length : end] = value_states
            self.length = end
            return self.keys[:, :, :end], self.values[:, :, :end]

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            return self.length + query_length, 0

        def get_seq_length(self) -> int:
            return self.length

        def get_max_length(self) -> int:
            return -1

        def keep(self, rows: Any, first: int) -> None:
            """Only these rows, and only columns from ``first`` on."""
            end = min(self.keys.shape[-2], self.length + _SPARE)
            self.keys, self.values = self.keys[:, :, first:end][rows], self.values[:, :, first:end][rows]
            self.length -= first

    return GrowingLayer


class BatchCache:
    """The cache of a batch that gets smaller.

    ``plain`` says whether all layers are ours: only then columns that are padding in every row can be dropped.
    """

    def __init__(self, model: Any) -> None:
        utils = need("transformers.cache_utils")
        self.cache = utils.DynamicCache(config=model.config)
        layers = self.cache.layers
        self.plain = bool(layers) and all(type(layer) is utils.DynamicLayer for layer in layers)
        growing = _layer_class()
        self.cache.layers = [growing() if type(layer) is utils.DynamicLayer else layer for layer in layers]

    def keep(self, rows: Any, first: int = 0) -> None:
        """Only these rows (an index tensor; one may come several times), without the first columns."""
        for layer in self.cache.layers:
            if hasattr(layer, "keep"):
                layer.keep(rows, first)
            else:
                layer.reorder_cache(rows)

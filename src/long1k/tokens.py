"""Exact token counts in the training tokenizer.

The counter is the fast Rust library ``fastokens`` on the same tokenizer.json.  Its ids are
compared with those of Hugging Face ``tokenizers`` at the first batch; if a single id
differs, or it cannot read the file, the real tokenizer counts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from long1k.errors import DataError
from long1k.tables import digest_json, file_digest

ASSETS = Path(__file__).resolve().parent / "assets"
_PROBES = (
    "Problem 1: Let $x_1 \\le 2$.\n\nWait, check: 12345 = 3·4115.",
    "caf\u00e9 cafe\u0301 \u212b \ufb01 \u2460 \U0001f600 \u05d0\u05d1 \u4e2d\u6587\t  \r\n end ",
    "I'll we've DON'T   \n\n\n  \\boxed{\\frac{1}{2}}",
)
_PROBE_ROWS = 16
_PIECE = 4_000_000  # characters; measured: 1.5 times as fast as 47 MB in one go


class Tokenizer:
    """A tokenizer folder: ids, counts, special tokens, chat template, digests.

    Args:
        folder: holds tokenizer.json, and for chat also chat_template.jinja or a template in
            tokenizer_config.json.

    Raises:
        DataError: the folder or its tokenizer.json is missing or unreadable.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise DataError(f"no tokenizer.json in {folder}", "give the folder of a fast tokenizer or of a model")
        try:
            self._real = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"{path} is not a readable tokenizer: {error}", "re-export the tokenizer") from None
        self._real.no_truncation()
        self._real.no_padding()
        self.folder = folder
        self.digest = file_digest(path)
        config_path = folder / "tokenizer_config.json"
        try:
            self.config: dict[str, Any] = json.loads(config_path.read_text()) if config_path.is_file() else {}
        except ValueError as error:
            raise DataError(f"{config_path} is not JSON: {error}", "copy the tokenizer again") from None
        template_path = folder / "chat_template.jinja"
        template = template_path.read_text() if template_path.is_file() else self.config.get("chat_template")
        self.template: str | None = template if isinstance(template, str) else None
        self.template_digest = digest_json(self.template)
        self.template_given = False
        added = self._real.get_added_tokens_decoder().values()
        self.special_tokens = tuple(token.content for token in added if token.special)
        self.unk_id = self._unknown_id()
        self._fast: Any = None
        self._checked = False

    def with_template(self, template: str) -> Tokenizer:
        """The same tokenizer with another chat template; the folder stays as it is."""
        other = copy.copy(self)
        other.template, other.template_digest, other.template_given = template, digest_json(template), True
        return other

    def _unknown_id(self) -> int | None:
        token = getattr(self._real.model, "unk_token", None)
        return self._real.token_to_id(token) if token else None

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._real.get_vocab_size(with_added_tokens=True))

    def token_id(self, token: str) -> int | None:
        """The id of one token's exact text, None if it has none."""
        found = self._real.token_to_id(token)
        return None if found is None else int(found)

    def named_token(self, name: str) -> str | None:
        """A token by its role in tokenizer_config.json (``pad_token``, ``bos_token``, …)."""
        value = self.config.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        return value if isinstance(value, str) else None

    def encode(self, text: str) -> list[int]:
        """The ids of a text; no BOS or EOS is added (the chat template writes them)."""
        return list(self._real.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        return str(self._real.decode(list(ids), skip_special_tokens=False))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each id; for display, bytes of a split character show as U+FFFD."""
        return [self.decode([token]) for token in ids]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, by the fast counter where it was found to be exact."""
        if not self._checked:
            self._check(texts[:_PROBE_ROWS])
        if self._fast is None:
            return [list(e.ids) for e in self._real.encode_batch_fast(list(texts), add_special_tokens=False)]
        return [list(e.ids) for e in self._fast.encode_batch(list(texts), add_special_tokens=False)]

    def encode_flat(self, texts: Sequence[str], *, probe: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The ids of many texts in one array: text i has ids[offsets[i] : offsets[i + 1]] (uint32; int64, n + 1).

        Args:
            probe: compare the first of these texts too, and let the real tokenizer read all of them if one differs.
                So what a batch becomes does not depend on the batches that this process saw before.
        """
        if not self._checked:
            self._check(() if probe else texts[:_PROBE_ROWS])
        if self._fast is not None:
            flat, ends = self._encode_fast(texts)
            first = texts[:_PROBE_ROWS] if probe else ()
            if all(flat[ends[i] : ends[i + 1]].tolist() == self.encode(text) for i, text in enumerate(first)):
                return flat, ends
        rows = [e.ids for e in self._real.encode_batch_fast(list(texts), add_special_tokens=False)]
        lengths = np.array([0, *(len(row) for row in rows)], dtype=np.int64)
        flat = np.fromiter((token for row in rows for token in row), dtype=np.uint32, count=int(lengths.sum()))
        return flat, np.cumsum(lengths)

    def _encode_fast(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """``encode_flat`` by the fast counter, some megabytes at a time: memory is used again."""
        ids: list[np.ndarray] = []
        ends: list[np.ndarray] = [np.zeros(1, dtype=np.int64)]
        for piece in _pieces(texts):
            found, offsets = self._fast.encode_batch_flat(piece, add_special_tokens=False)
            ids.append(np.frombuffer(found, "<u4"))
            ends.append(np.frombuffer(offsets, "<u8").astype(np.int64)[1:] + ends[-1][-1])
        flat = ids[0] if len(ids) == 1 else np.concatenate([np.zeros(0, dtype=np.uint32), *ids])
        return flat, np.concatenate(ends)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text."""
        _, offsets = self.encode_flat(texts)
        return [int(n) for n in np.diff(offsets)]

    @property
    def counter(self) -> str:
        """Which library counts: ``fastokens`` or ``tokenizers``."""
        if not self._checked:
            self._check(())
        return "tokenizers" if self._fast is None else "fastokens"

    def _check(self, texts: Sequence[str]) -> None:
        """Accept the fast counter only if every probe has the real tokenizer's ids."""
        self._checked = True
        probes = [*_PROBES, *texts, *self.special_tokens]
        try:
            import fastokens

            fast = fastokens.Tokenizer.from_file(str(self.folder / "tokenizer.json"))
            got = [list(e.ids) for e in fast.encode_batch(probes, add_special_tokens=False)]
            flat, offsets = fast.encode_batch_flat(probes, add_special_tokens=False)
        except BaseException as error:  # a Rust panic is a BaseException
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return
        real = [self.encode(probe) for probe in probes]
        joined = np.array([token for ids in real for token in ids], dtype="<u4").tobytes()
        ends = np.cumsum([0, *(len(ids) for ids in real)]).astype("<u8").tobytes()
        if got == real and flat == joined and offsets == ends:
            self._fast = fast


def _pieces(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, about ``_PIECE`` characters together."""
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


@lru_cache(maxsize=8)
def load_tokenizer(spec: str) -> Tokenizer:
    """The tokenizer of a folder, or of ``package:NAME`` for one that ships with this package."""
    if spec.startswith("package:"):
        folder = ASSETS / "tokenizers" / spec.removeprefix("package:")
        if not folder.is_dir():
            known = ", ".join(sorted(p.name for p in (ASSETS / "tokenizers").iterdir()))
            raise DataError(f"no packaged tokenizer '{spec}'", f"packaged tokenizers: {known}")
        return Tokenizer(folder)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        packaged = f"package:{spec}" if (ASSETS / "tokenizers" / spec).is_dir() else None
        hint = f"did you mean {packaged}? " if packaged else ""
        raise DataError(f"no tokenizer folder {spec}", f"{hint}give a folder that holds tokenizer.json")
    return Tokenizer(folder)

"""Near-duplicates, end to end: from texts to who is kept, on real traces with planted near-copies.

The peer is used as its documentation shows: a set of shingles, ``update`` for each of them, a query
of the index, then an insert.  Its ``update_batch`` is faster and is measured too.  Both sides take
the same tokens from the same tokenizer (its time counts on both), shingles of five tokens, 128
slots and a threshold of 0.8; the peer's candidates are compared by their signatures as ours are.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from datasketch import MinHash, MinHashLSH

from bench.common import DATA, Row, megabytes, real_responses, timed
from long1k.curation.duplicates import keepers
from long1k.curation.sketch import sketch_flat
from long1k.rows import derive_seed
from long1k.tokens import Tokenizer

SHINGLE, SLOTS, THRESHOLD = 5, 128, 0.8
EVERY = 10  # so many traces get a near-copy: one word in a hundred is another
_UNSEEN = 0.01


def planted(texts: list[str]) -> list[str]:
    """Near-copies of some texts, made from a seed of each text's place."""
    words = sorted({word for text in texts[:200] for word in text.split()})
    copies = []
    for place in range(0, len(texts), EVERY):
        draw = random.Random(derive_seed("near-copy", place))
        pieces = [draw.choice(words) if draw.random() < _UNSEEN else piece for piece in texts[place].split(" ")]
        copies.append(" ".join(pieces))
    return copies


def ours(texts: list[str], tokenizer: Tokenizer) -> np.ndarray:
    """Our way: the keeper of each row."""
    ids, offsets = tokenizer.encode_flat(texts)
    return keepers(sketch_flat(ids, offsets, SHINGLE, SLOTS), THRESHOLD)


def shingles_of(ids: np.ndarray) -> set[bytes]:
    """All runs of five tokens."""
    data = ids.tobytes()
    return {data[at : at + 4 * SHINGLE] for at in range(0, max(len(data) - 4 * SHINGLE, 0) + 1, 4)}


def jaccard(texts: list[str], tokenizer: Tokenizer) -> float:
    """The exact similarity of two texts."""
    one, other = (shingles_of(np.array(ids, dtype=np.uint32)) for ids in tokenizer.encode_batch(texts))
    return len(one & other) / len(one | other)


def peer(texts: list[str], tokenizer: Tokenizer, fill: Callable[[MinHash, set[bytes]], None]) -> np.ndarray:
    """The peer's way: rows that are kept."""
    ids, offsets = tokenizer.encode_flat(texts)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=SLOTS)
    sketches: dict[int, MinHash] = {}
    for row in range(len(texts)):
        one = MinHash(num_perm=SLOTS)
        fill(one, shingles_of(ids[offsets[row] : offsets[row + 1]]))
        if not any(one.jaccard(sketches[other]) >= THRESHOLD for other in index.query(one)):
            index.insert(row, one)
            sketches[row] = one
    return np.array(sorted(sketches))


def one_by_one(sketch: MinHash, shingles: set[bytes]) -> None:
    """As the peer's documentation begins."""
    for shingle in shingles:
        sketch.update(shingle)


def at_once(sketch: MinHash, shingles: set[bytes]) -> None:
    """The peer's faster call."""
    sketch.update_batch(list(shingles))


def rows() -> list[Row]:
    """Ours against both ways of the peer."""
    texts = real_responses()
    copies = planted(texts)
    both = texts + copies
    tokenizer = Tokenizer(DATA / "tokenizer_qwen2")
    tokenizer.count(texts[:8])  # the check of the counter comes once in a process
    seconds, found = timed(lambda: ours(both, tokenizer), repeats=3)
    kept = np.flatnonzero(found == np.arange(len(found)))
    missed = int((kept >= len(texts)).sum())
    data = f"{len(both):,} traces, {megabytes(both):.1f} MB, {len(copies)} planted near-copies"
    out = []
    for name, fill, target in (
        ("datasketch, update", one_by_one, 100),
        ("datasketch, update_batch", at_once, 0),
    ):
        peer_seconds, theirs = timed(lambda fill=fill: peer(both, tokenizer, fill))  # type: ignore[misc]
        share = len(np.intersect1d(kept, theirs)) / len(np.union1d(kept, theirs))
        more = np.setdiff1d(theirs, kept)  # kept by the peer alone: are they near-duplicates?
        right = sum(jaccard([both[row], both[found[row]]], tokenizer) >= THRESHOLD for row in more)
        equal = f"kept {len(kept):,} and {len(theirs):,}, Jaccard of the kept sets {share:.4f}"
        fast = peer_seconds >= target * seconds
        note = f"{len(copies) - missed} of {len(copies)} near-copies dropped by ours; of {len(more)} rows that only "
        note += f"the peer kept, {right} have an exact similarity of {THRESHOLD} or more to our keeper"
        out.append(
            Row(
                what="near-duplicates, end to end", data=data, ours_seconds=seconds, peer=name,
                peer_seconds=peer_seconds, target=f">= {target}x" if target else "none, shown beside", equal=equal,
                met=fast and share >= 0.99, note=note,
            )
        )  # fmt: skip
    return out

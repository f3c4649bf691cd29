"""Which texts share a run of words with a set of known texts, at the speed of numpy.

The rule is the plain one: words are ``re.findall("[a-z0-9]+", text.lower())``, and a text
shares an n-gram if n words in a row stand in a known text too.  Nothing is estimated.  The
arrays below only choose the places worth looking at: every word becomes one byte made of its
first two letters, n such bytes are mixed into a number, and a place is looked at if a bitmap
knows its number.  There the words themselves are compared.  Equal n-grams have equal numbers,
so nothing is missed; what differs fails the comparison, so nothing is flagged wrongly.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_WORD = re.compile(rb"[A-Za-z0-9]+")
# Small letters and digits as they are, capital letters small, all else a space.
_SMALL = bytes(c if chr(c).isalnum() else 32 for c in bytes(range(128)).lower()) + b" " * 128
# The first table is asked for every word and has to stay in the cache; the second, asked rarely, has few false marks.
_TABLE_BITS = (20, 22)
_SHIFT, _SECOND_SHIFT = (np.uint32(32 - bits) for bits in _TABLE_BITS)
_FIRST, _SECOND = np.uint32(0x9E3779B1), np.uint32(0x27D4EB2F)
_PHRASE = 5  # problems that have an n-gram in common which is then no sign of one of them
_CHUNK = 1 << 19  # bytes worked on at a time: measured best among powers of two
_PAD = b"\n\n\n\n"  # no text's words reach into the next one's letters
# The two letters outside of ASCII whose small forms hold an ASCII letter.
_LOWER_TO_ASCII = {"\u212a": "k", "\u0130": "i\u0307"}


class Hit(NamedTuple):
    """An n-gram of a known text: where it starts (byte of the text in UTF-8) and its words."""

    start: int
    ngram: bytes


def words(text: str) -> list[bytes]:
    """The words of a text, by the rule above."""
    return [word.lower() for word in _WORD.findall(_encode(text))]


def ngrams(sequence: Sequence[bytes], num_words: int) -> list[bytes]:
    """Every ``num_words`` neighbouring words, joined by a space."""
    return [b" ".join(sequence[i : i + num_words]) for i in range(len(sequence) - num_words + 1)]


class _Room:
    """Arrays to work in, made once: with fresh ones, half the time would go into fetching memory from the system."""

    def __init__(self) -> None:
        self._size = -1

    def of(self, size: int) -> _Room:
        """Room for ``size`` bytes of text, in which there are at most half as many words."""
        if size > self._size:
            self._size, num_words = size, size // 2 + 1
            self.bytes = [np.empty(size, dtype=np.uint8) for _ in range(2)]
            self.flags = [np.empty(size, dtype=bool) for _ in range(2)]
            self.codes = np.empty(num_words, dtype=np.uint8)
            self.numbers = [np.empty(num_words, dtype=np.uint32) for _ in range(2)]
            self.places = np.empty(num_words, dtype=np.intp)
        return self


class NgramIndex:
    """Looks for n-grams of known texts in others.

    Args:
        known: n-grams as ``ngrams`` makes them, all of ``num_words`` words.
        num_words: words of an n-gram, 1 or more.
    """

    def __init__(self, known: Sequence[bytes] | frozenset[bytes], num_words: int) -> None:
        if num_words < 1:
            raise ValueError(f"an n-gram has at least one word, not {num_words}")
        self.known = frozenset(known)
        self.num_words = num_words
        # Possessive: a run that ends too early is given up at once.
        self._run = re.compile(rb"[A-Za-z0-9]++(?:[^A-Za-z0-9]++[A-Za-z0-9]++){%d}" % (num_words - 1))
        # Two tables, by different parts of the same number: a place has to be marked in both.
        self._tables = [np.zeros(1 << bits, dtype=bool) for bits in _TABLE_BITS]
        room = _Room()
        for _, data, ends in _chunks(sorted(gram.decode() for gram in self.known)):
            starts, mixed = self._mix(data, room.of(len(data)))
            begins = np.searchsorted(starts, ends[:-1])
            first_words = mixed[np.append(0, begins)]
            self._tables[0][first_words >> _SHIFT] = True
            self._tables[1][(first_words * _SECOND) >> _SECOND_SHIFT] = True

    def __reduce__(self) -> tuple[type[NgramIndex], tuple[frozenset[bytes], int]]:
        """Other processes get the n-grams and make the tables again: that is quicker than sending them."""
        return NgramIndex, (self.known, self.num_words)

    def first_shared(self, texts: Sequence[str]) -> list[str | None]:
        """The first n-gram of each text that a known text has, or None."""
        return [hits[0].ngram.decode() if hits else None for hits in self._scan(texts, first_only=True)]

    def shared(self, texts: Sequence[str]) -> list[list[Hit]]:
        """All places of each text where an n-gram of a known text starts, in order."""
        return self._scan(texts, first_only=False)

    def _mix(self, data: bytes, room: _Room) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint32]]:
        """(start of every word, number of the n words from there); data ends with _PAD. Good until the next call."""
        raw = np.frombuffer(data, dtype=np.uint8)
        size = len(raw)
        letters = np.bitwise_or(raw, np.uint8(32), out=room.bytes[0][:size])
        far = np.subtract(letters, np.uint8(97), out=room.bytes[1][:size])
        inside = np.less(far, np.uint8(26), out=room.flags[0][:size])
        np.subtract(raw, np.uint8(48), out=far)
        inside |= np.less(far, np.uint8(10), out=room.flags[1][:size])
        begins = np.greater(inside[1:-3], inside[:-4], out=room.flags[1][: size - 4])
        starts = np.flatnonzero(begins)
        starts += 1
        if inside[0]:
            starts = np.append(0, starts)
        if len(starts) < self.num_words:
            return starts[:0], np.zeros(0, dtype=np.uint32)
        # One byte of a word: its first two letters, the second left out where there is none.
        second = np.multiply(letters[1:-2], np.uint8(29), out=far[:-3])
        second *= inside[1:-2].view(np.uint8)
        letters *= np.uint8(7)
        second += letters[:-3]
        codes = second.take(starts, out=room.codes[: len(starts)], mode="clip")
        mixed = room.numbers[0][: len(starts)]
        mixed[:] = codes
        width, factor = 1, 0x85EBCA6B
        while width < self.num_words:  # two runs of words, one behind the other, make a run twice as long
            step = min(width, self.num_words - width)
            longer = room.numbers[1][: len(mixed) - step]
            np.multiply(mixed[:-step], np.uint32(factor & 0xFFFFFFFF), out=longer)
            longer += mixed[step:]
            room.numbers.reverse()
            mixed, width, factor = longer, width + step, factor * 0xC2B2AE35
        mixed *= _FIRST
        return starts[: len(mixed)], mixed

    def _scan(self, texts: Sequence[str], *, first_only: bool) -> list[list[Hit]]:
        found: list[list[Hit]] = [[] for _ in texts]
        room = _Room()
        for first, data, ends in _chunks(texts):
            starts, mixed = self._mix(data, room.of(len(data)))
            places = np.right_shift(mixed, _SHIFT, out=room.places[: len(mixed)])
            # mode="clip" spares the check of bounds; places are within the table by their making.
            marked = self._tables[0].take(places, out=room.flags[1][: len(mixed)], mode="clip")
            rough = np.flatnonzero(marked)
            looks = starts[rough[self._tables[1].take((mixed[rough] * _SECOND) >> _SECOND_SHIFT)]]
            if not len(looks):
                continue
            numbers = np.searchsorted(ends, looks, side="right")
            begin, now = 0, -1
            for at, number in zip(looks.tolist(), numbers.tolist(), strict=True):
                hits = found[first + number]
                if first_only and hits:
                    continue
                if number != now:
                    begin, end, now = int(ends[number - 1]) if number else 0, int(ends[number]), number
                ngram = self._read(data, at, end)
                if ngram in self.known:
                    hits.append(Hit(at - begin, ngram))
        return found

    def _read(self, data: bytes, at: int, end: int) -> bytes:
        """The n words from ``at`` on; empty if the text ends before."""
        run = self._run.match(data, at, end)
        return b" ".join(run.group().translate(_SMALL).split()) if run else b""


def _encode(text: str) -> bytes:
    if not text.isascii():
        for letter, small in _LOWER_TO_ASCII.items():
            if letter in text:
                text = text.replace(letter, small)
    return text.encode("utf-8", "surrogatepass")


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, bytes, npt.NDArray[np.intp]]]:
    """(number of the first text, texts one after the other, where each ends), about _CHUNK bytes together."""
    pieces: list[bytes] = []
    size, first = 0, 0
    for number, text in enumerate(texts):
        piece = _encode(text)
        pieces.append(piece)
        size += len(piece) + 1
        if size >= _CHUNK or number == len(texts) - 1:
            yield first, b"\n".join([*pieces, _PAD]), np.cumsum([len(piece) + 1 for piece in pieces])
            pieces, size, first = [], 0, number + 1


class Common(NamedTuple):
    """How many n-grams of a problem a text has within one place, and the byte where that begins."""

    num_ngrams: int
    start: int


class NgramShares:
    """How much of known problems stands in a text, in one place of about the problem's length.

    A phrase that stands in several problems says little about which one it is: such n-grams do
    not count, unless a problem is made of little else.

    Args:
        problems: (number, text); ``totals`` holds those that have at least ``fewest`` n-grams.
    """

    def __init__(self, problems: Sequence[tuple[int, str]], num_words: int, fewest: int) -> None:
        self.num_words = num_words
        self.totals: dict[int, int] = {}
        self._reach: dict[int, int] = {}
        self._owners: dict[bytes, list[int]] = defaultdict(list)
        grams_of = {number: set(ngrams(words(text), num_words)) for number, text in problems}
        frequency = Counter(gram for grams in grams_of.values() for gram in grams)
        self._phrases = {gram for gram, count in frequency.items() if count >= _PHRASE}
        for number, text in problems:
            grams = grams_of[number]
            telling = grams - self._phrases
            if 2 * len(telling) >= len(grams):
                grams = telling
            if len(grams) >= fewest:
                self.totals[number] = len(grams)
                self._reach[number] = 2 * len(_encode(text)) + 50
                for gram in grams:
                    self._owners[gram].append(number)
        self._index = NgramIndex(frozenset(self._owners), num_words)

    def num_telling(self, text: str) -> int:
        """How many n-grams a text has that are no common phrase."""
        return len(set(ngrams(words(text), self.num_words)) - self._phrases)

    def shared(self, texts: Sequence[str]) -> Iterator[dict[int, Common]]:
        """For each text, what it shares with each problem it shares anything with."""
        for hits in self._index.shared(texts):
            by_owner: dict[int, list[Hit]] = defaultdict(list)
            for hit in hits:
                for number in self._owners[hit.ngram]:
                    by_owner[number].append(hit)
            yield {number: _most_within(found, self._reach[number]) for number, found in by_owner.items()}


def _most_within(hits: Sequence[Hit], reach: int) -> Common:
    """The most different n-grams that start within ``reach`` bytes."""
    inside: Counter[bytes] = Counter()
    most, first = Common(0, 0), 0
    for hit in hits:
        inside[hit.ngram] += 1
        while hit.start - hits[first].start > reach:
            inside[hits[first].ngram] -= 1
            if not inside[hits[first].ngram]:
                del inside[hits[first].ngram]
            first += 1
        if len(inside) > most.num_ngrams:
            most = Common(len(inside), hits[first].start)
    return most

"""Problems too short for n-grams: found whole in a longer text, or as a question of nearly the same words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from long1k.curation.ngrams import NgramIndex, ngrams, words
from long1k.curation.questions import numbers_and_signs, squeeze

# Two questions of eight words or more that differ in one or two of them ask the same, if all numbers and signs agree.
_LEAST_ALIKE = 0.85
_LEAST_WORDS_ALIKE = 8
_CANDIDATE_WORDS = 4
# Words of language, so many at least: a row of letters is like any other.
_LEAST_SPOKEN_CONTAINED, _LEAST_SPOKEN_ALIKE = 1, 4


def num_spoken(found: Sequence[bytes]) -> int:
    """How many words are more than a number or a name of one or two letters."""
    return sum(len(word) > 2 and not word.isdigit() for word in found)


class ContainedProblems:
    """Finds problems that stand whole in a text, every sign included.

    Args:
        problems: number -> plain text; those of fewer than ``least_words`` words are left out,
            since what they say can be part of any solution.
    """

    def __init__(self, problems: Mapping[int, str], least_words: int) -> None:
        self._keys = {number: squeeze(plain) for number, plain in problems.items()}
        self._by_head: dict[bytes, list[int]] = defaultdict(list)
        for number, plain in problems.items():
            found = words(plain)
            if num_spoken(found) >= _LEAST_SPOKEN_CONTAINED:
                for head in ngrams(found, least_words)[:1]:
                    self._by_head[head].append(number)
        self._heads = NgramIndex(frozenset(self._by_head), least_words)

    def find(self, plains: Sequence[str]) -> Iterator[int | None]:
        """For each plain text the first problem that it holds whole."""
        for plain, hits in zip(plains, self._heads.shared(plains), strict=True):
            numbers = sorted({number for hit in hits for number in self._by_head[hit.ngram]})
            key = squeeze(plain) if numbers else ""
            yield next((number for number in numbers if self._keys[number] in key), None)


class RewordedProblems:
    """Finds questions that have nearly the words of a problem, and exactly its numbers and signs.

    Args:
        problems: number -> plain text.
    """

    def __init__(self, problems: Mapping[int, str]) -> None:
        self._words: dict[int, Counter[bytes]] = {}
        self._numbers: dict[int, list[str]] = {}
        self._owners: dict[bytes, list[int]] = defaultdict(list)
        for number, plain in problems.items():
            found = words(plain)
            if len(found) >= _LEAST_WORDS_ALIKE and num_spoken(found) >= _LEAST_SPOKEN_ALIKE:
                self._words[number] = Counter(found)
                self._numbers[number] = numbers_and_signs(plain)
                for gram in set(ngrams(found, _CANDIDATE_WORDS)):
                    self._owners[gram].append(number)
        self._index = NgramIndex(frozenset(self._owners), _CANDIDATE_WORDS)

    def find(self, plains: Sequence[str]) -> Iterator[tuple[int, float] | None]:
        """For each plain question the most alike problem and the share of words they have in common."""
        for plain, hits in zip(plains, self._index.shared(plains), strict=True):
            candidates = {number for hit in hits for number in self._owners[hit.ngram]}
            best: tuple[float, int] | None = None
            if candidates:
                own, numbers = Counter(words(plain)), numbers_and_signs(plain)
                for number in candidates:
                    if self._numbers[number] == numbers:
                        alike = (own & self._words[number]).total() / (own | self._words[number]).total()
                        if alike >= _LEAST_ALIKE and (best is None or (-alike, number) < (-best[0], best[1])):
                            best = alike, number
            yield (best[1], best[0]) if best else None

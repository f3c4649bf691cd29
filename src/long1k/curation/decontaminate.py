"""Training problems that stand in a benchmark: three rules, each with its evidence.

``exact``           the same question after normalisation
``ngram``           it holds a share of one benchmark problem's n-grams, or a short problem whole
``numbers_masked``  the same question with other numbers: no answer leaks, but the template does
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from long1k.curation.config import DecontaminateConfig
from long1k.curation.ngrams import NgramIndex, NgramShares, Shared, ngrams, words
from long1k.curation.questions import has_figure, key_of, mask_numbers, plain_text, question_key

__all__ = ["RULES", "BenchmarkIndex", "Match", "question_key"]

RULES = ("exact", "ngram", "numbers_masked")
# A problem with fewer n-grams is compared whole: half of so few would be any common phrase.
_FEWEST_NGRAMS = 6
# Of a question that is shorter than the benchmark's problem nearly all must stand there.
_SHARE_OF_QUESTION = 0.8
_SHOWN = 160
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Match:
    """Why a text counts as a benchmark's problem.

    ``share`` is the part of the benchmark problem's n-grams (or, where that is more, of the
    question's) that both have, 1.0 where all is equal; ``evidence`` says what they share and
    shows both, shortened.
    """

    rule: str
    item_id: str
    share: float
    evidence: str


@dataclass(frozen=True, slots=True)
class _Item:
    item_id: str
    question: str
    plain: str
    key: str


@dataclass(frozen=True, slots=True)
class _Text:
    """A text under test; ``key`` is empty where it is longer than any benchmark problem."""

    text: str
    plain: str
    key: str


class BenchmarkIndex:
    """Looks questions up among those of benchmarks.

    Args:
        items: (benchmark item id, question) of every problem that must not be trained on.
        config: which rules, and how strict; docs/decontamination.md says what they find.
    """

    def __init__(self, items: Iterable[tuple[str, str]], config: DecontaminateConfig = DecontaminateConfig()) -> None:
        self.config = config
        self._items: list[_Item] = []
        self._by_key: dict[str, int] = {}
        self._by_masked: dict[str, int] = {}
        self._short_by_head: dict[bytes, list[int]] = defaultdict(list)
        self._short: NgramIndex | None = None
        self._shares: NgramShares | None = None
        self._masked_shares: NgramShares | None = None
        for item_id, question in items:
            plain = plain_text(question)
            key = key_of(plain)
            if key not in self._by_key:
                self._by_key[key] = len(self._items)
                self._items.append(_Item(item_id, question, plain, key))
        self._longest = 2 * max((len(item.plain) for item in self._items), default=0) + 1000
        if config.mask_numbers:
            named = [(i, mask_numbers(item.plain)) for i, item in enumerate(self._items) if self._is_named(item.plain)]
            for number, masked in named:
                self._by_masked.setdefault(key_of(masked), number)
            if config.ngram is not None:
                self._masked_shares = NgramShares(named, config.ngram, _FEWEST_NGRAMS)
        if config.ngram is not None:
            self._shares = NgramShares([(i, t.plain) for i, t in enumerate(self._items)], config.ngram, _FEWEST_NGRAMS)
            for number, item in enumerate(self._items):
                found = words(item.plain)
                if number not in self._shares.totals and len(found) >= config.short_words and not has_figure(item.question):
                    self._short_by_head[b" ".join(found[: config.short_words])].append(number)
            self._short = NgramIndex(frozenset(self._short_by_head), config.short_words)

    def __len__(self) -> int:
        return len(self._items)

    def match(self, question: str) -> Match | None:
        """The benchmark problem that a question repeats, or None."""
        return self.match_batch([question])[0]

    def match_batch(self, questions: Sequence[str]) -> list[Match | None]:
        """For each question the benchmark problem it repeats; it may also be a part of a longer one."""
        return [match for batch in _batches(questions) for match in self._find(batch, both_ways=True)]

    def scan_batch(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text, of any length, a benchmark problem that stands somewhere in it."""
        return [match for batch in _batches(texts) for match in self._find(batch, both_ways=False)]

    def _find(self, batch: Sequence[str], *, both_ways: bool) -> list[Match | None]:
        texts = []
        for text in batch:
            plain = plain_text(text)
            texts.append(_Text(text, plain, key_of(plain) if len(plain) <= self._longest else ""))
        found: list[Match | None] = [self._exact(text) for text in texts]
        for rule in (self._by_ngrams, self._by_short, self._by_masked_numbers):
            left = [i for i, match in enumerate(found) if match is None]
            for i, match in zip(left, rule([texts[i] for i in left], both_ways), strict=True):
                found[i] = match
        return found

    def _is_named(self, plain: str) -> bool:
        """Whether a question says enough without its numbers."""
        return sum(not word.isdigit() for word in words(plain)) >= self.config.masked_words

    def _exact(self, text: _Text) -> Match | None:
        number = self._by_key.get(text.key) if text.key and self.config.exact else None
        if number is None:
            return None
        return self._match("exact", number, 1.0, "the same question, after normalisation, as", text.text)

    def _by_ngrams(self, texts: Sequence[_Text], both_ways: bool) -> Iterator[Match | None]:
        if self._shares is None:
            yield from (None for _ in texts)
            return
        n, limit = self._shares.num_words, self.config.share
        for text, shared in zip(texts, self._shares.shared([text.plain for text in texts]), strict=True):
            yield self._best("ngram", text, shared, self._shares, limit, both_ways, f"{n}-grams")

    def _by_short(self, texts: Sequence[_Text], both_ways: bool) -> Iterator[Match | None]:
        if self._short is None:
            yield from (None for _ in texts)
            return
        for text, hits in zip(texts, self._short.shared([text.plain for text in texts]), strict=True):
            numbers = sorted({number for hit in hits for number in self._short_by_head[hit.ngram]})
            key = (text.key or key_of(text.plain)) if numbers else ""
            number = next((i for i in numbers if self._items[i].key in key), None)
            if number is None:
                yield None
            else:
                yield self._match("ngram", number, 1.0, "holds the whole of", text.text)

    def _by_masked_numbers(self, texts: Sequence[_Text], both_ways: bool) -> Iterator[Match | None]:
        if not self.config.mask_numbers:
            yield from (None for _ in texts)
            return
        masked = [mask_numbers(text.plain) for text in texts]
        shares = self._masked_shares.shared(masked) if self._masked_shares else ({} for _ in texts)
        for text, plain, shared in zip(texts, masked, shares, strict=True):
            number = self._by_masked.get(key_of(plain)) if text.key else None
            if number is not None:
                yield self._match("numbers_masked", number, 1.0, "the same question, but for its numbers, as", text.text)
            elif self._masked_shares is None:
                yield None
            else:
                limit, what = self.config.masked_share, f"{self._masked_shares.num_words}-grams without numbers"
                yield self._best("numbers_masked", text, shared, self._masked_shares, limit, False, what)

    def _best(
        self,
        rule: str,
        text: _Text,
        shared: dict[int, Shared],
        shares: NgramShares,
        limit: float,
        both_ways: bool,
        what: str,
    ) -> Match | None:
        """The problem of which the text has most, if that is enough."""
        best: tuple[float, int] | None = None
        own = 0
        for number, common in shared.items():
            share = common.count / shares.totals[number]
            if share < limit and both_ways:
                own = own or len(set(ngrams(words(text.plain), shares.num_words)))
                if own >= _FEWEST_NGRAMS and common.count >= _SHARE_OF_QUESTION * own:
                    share = common.count / own
            if share >= limit and (best is None or (-share, number) < (-best[0], best[1])):
                best = share, number
        if best is None:
            return None
        share, number = best
        said = f"shares {shared[number].count} of the {shares.totals[number]} {what} of"
        at = text.plain.encode("utf-8", "surrogatepass")[shared[number].start :]
        return self._match(rule, number, share, said, at[: 2 * _SHOWN].decode("utf-8", "ignore"))

    def _match(self, rule: str, number: int, share: float, said: str, here: str) -> Match:
        item = self._items[number]
        evidence = f"{said} {item.item_id}: {_shortened(item.question)!r}; here: {_shortened(here)!r}"
        return Match(rule, item.item_id, round(share, 4), evidence)


def _shortened(text: str) -> str:
    flat = " ".join(text[: 4 * _SHOWN].split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "…"


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield texts[start : start + _BATCH]

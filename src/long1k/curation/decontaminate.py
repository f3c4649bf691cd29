"""Training problems that stand in a benchmark: three rules, each with its evidence.

``exact``           the same question after normalisation
``ngram``           it holds a share of one benchmark problem's n-grams, or a short problem whole
``numbers_masked``  the same question with other numbers: no answer leaks, but the template does
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from long1k.curation.config import DecontaminateConfig
from long1k.curation.ngrams import Common, NgramShares, words
from long1k.curation.questions import asked, mask_numbers, plain_text, question_key, squeeze
from long1k.curation.short_problems import ContainedProblems, RewordedProblems

__all__ = ["RULES", "BenchmarkIndex", "Match", "question_key"]

_REASONS = {"exact": "in_benchmark", "ngram": "in_benchmark_ngram", "numbers_masked": "in_benchmark_masked"}
RULES = tuple(_REASONS)
# A problem with fewer n-grams is compared whole: half of so few would be any common phrase.
_FEWEST_NGRAMS = 6
# Of a question that is shorter than the benchmark's problem nearly all must stand there.
_SHARE_OF_QUESTION = 0.8
# A common phrase is worth a few n-grams, which weighs in a short problem: it takes so many more than the share.
_SPARE_NGRAMS = 2
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

    @property
    def reason(self) -> str:
        """What a rejected row says: in_benchmark, in_benchmark_ngram or in_benchmark_masked."""
        return _REASONS[self.rule]


@dataclass(frozen=True, slots=True)
class _Text:
    """A text with its plain form; ``key`` is empty where it is longer than any benchmark problem."""

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
        self._ids: list[str] = []
        self._items: list[_Text] = []
        self._by_key: dict[str, int] = {}
        for item_id, question in items:
            plain = asked(plain_text(question))
            key = squeeze(plain)
            if key not in self._by_key:
                self._by_key[key] = len(self._items)
                self._ids.append(item_id)
                self._items.append(_Text(question, plain, key))
        self._longest = 2 * max((len(item.plain) for item in self._items), default=0) + 1000
        self._shares: NgramShares | None = None
        self._contained: ContainedProblems | None = None
        self._reworded: RewordedProblems | None = None
        self._by_masked: dict[str, int] = {}
        self._masked_shares: NgramShares | None = None
        plains = [(number, item.plain) for number, item in enumerate(self._items)]
        if config.ngram is not None:
            self._shares = NgramShares(plains, config.ngram, _FEWEST_NGRAMS)
            short = {number: plain for number, plain in plains if number not in self._shares.totals}
            self._contained = ContainedProblems(short, config.short_words)
            self._reworded = RewordedProblems(dict(plains))
        if config.mask_numbers:
            masked = [(number, mask_numbers(plain)) for number, plain in plains if self._says_enough(plain)]
            for number, plain in masked:
                self._by_masked.setdefault(squeeze(plain), number)
            if config.ngram is not None:
                self._masked_shares = NgramShares(masked, config.ngram, _FEWEST_NGRAMS)

    def __len__(self) -> int:
        return len(self._items)

    def match(self, question: str) -> Match | None:
        """The benchmark problem that a question repeats, or None."""
        return self.match_batch([question])[0]

    def match_batch(self, questions: Sequence[str]) -> list[Match | None]:
        """For each question the benchmark problem it repeats; it may also be a part of a longer one."""
        return [match for batch in _batches(questions) for match in self._find(batch, is_question=True)]

    def scan_batch(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text, of any length, a benchmark problem that stands somewhere in it."""
        return [match for batch in _batches(texts) for match in self._find(batch, is_question=False)]

    def _find(self, batch: Sequence[str], *, is_question: bool) -> list[Match | None]:
        texts: list[_Text] = []
        for text in batch:
            plain = asked(plain_text(text)) if is_question else plain_text(text)
            short = len(plain) <= self._longest
            texts.append(_Text(text, plain, squeeze(plain if is_question else asked(plain)) if short else ""))
        found: list[Match | None] = [self._by_whole(text) for text in texts]
        for rule in (self._by_ngrams, self._by_short, self._by_wording, self._by_masked_ngrams):
            left = [number for number, match in enumerate(found) if match is None]
            for number, match in zip(left, rule([texts[number] for number in left], is_question), strict=True):
                found[number] = match
        return found

    def _says_enough(self, plain: str) -> bool:
        """Whether a question is more than a formula when its numbers are gone."""
        return sum(not word.isdigit() for word in words(plain)) >= self.config.masked_words

    def _by_whole(self, text: _Text) -> Match | None:
        if not text.key:
            return None
        if self.config.exact and (number := self._by_key.get(text.key)) is not None:
            return self._match("exact", number, 1.0, "the same question, after normalisation, as", text.text)
        if self._by_masked and (number := self._by_masked.get(squeeze(mask_numbers(text.plain)))) is not None:
            return self._match("numbers_masked", number, 1.0, "the same question, but for its numbers, as", text.text)
        return None

    def _by_ngrams(self, texts: Sequence[_Text], is_question: bool) -> Iterator[Match | None]:
        if self._shares is None:
            yield from (None for _ in texts)
            return
        what = f"{self._shares.num_words}-grams"
        for text, shared in zip(texts, self._shares.shared([text.plain for text in texts]), strict=True):
            yield self._best("ngram", text, shared, self._shares, self.config.share, is_question, what)

    def _by_masked_ngrams(self, texts: Sequence[_Text], is_question: bool) -> Iterator[Match | None]:
        if self._masked_shares is None:
            yield from (None for _ in texts)
            return
        what, limit = f"{self._masked_shares.num_words}-grams, numbers masked,", self.config.masked_share
        masked = [mask_numbers(text.plain) for text in texts]
        for text, shared in zip(texts, self._masked_shares.shared(masked), strict=True):
            yield self._best("numbers_masked", text, shared, self._masked_shares, limit, False, what)

    def _by_short(self, texts: Sequence[_Text], is_question: bool) -> Iterator[Match | None]:
        if self._contained is None:
            yield from (None for _ in texts)
            return
        for text, number in zip(texts, self._contained.find([text.plain for text in texts]), strict=True):
            yield None if number is None else self._match("ngram", number, 1.0, "holds the whole of", text.text)

    def _by_wording(self, texts: Sequence[_Text], is_question: bool) -> Iterator[Match | None]:
        if self._reworded is None or not is_question:
            yield from (None for _ in texts)
            return
        for text, near in zip(texts, self._reworded.find([text.plain for text in texts]), strict=True):
            if near is None:
                yield None
            else:
                said = f"has {near[1]:.0%} of its words, and all numbers and signs, in common with"
                yield self._match("ngram", near[0], near[1], said, text.text)

    def _best(
        self,
        rule: str,
        text: _Text,
        shared: dict[int, Common],
        shares: NgramShares,
        limit: float,
        both_ways: bool,
        what: str,
    ) -> Match | None:
        """The problem of which the text has most, if that is enough."""
        best: tuple[float, int] | None = None
        own = 0
        for number, common in shared.items():
            total = shares.totals[number]
            share = common.num_ngrams / total
            enough = common.num_ngrams >= min(total, limit * total + _SPARE_NGRAMS)
            if not enough and both_ways:
                own = own or shares.num_telling(text.plain)
                enough = own >= _FEWEST_NGRAMS and common.num_ngrams >= max(limit, _SHARE_OF_QUESTION) * own
                share = common.num_ngrams / own if enough else share
            if enough and (best is None or (-share, number) < (-best[0], best[1])):
                best = share, number
        if best is None:
            return None
        share, number = best
        said = f"shares {shared[number].num_ngrams} of the {shares.totals[number]} {what} of"
        at = text.plain.encode("utf-8", "surrogatepass")[shared[number].start :]
        return self._match(rule, number, share, said, at[: 4 * _SHOWN].decode("utf-8", "ignore"))

    def _match(self, rule: str, number: int, share: float, said: str, here: str) -> Match:
        item_id, shown = self._ids[number], _shortened(self._items[number].text)
        return Match(rule, item_id, round(share, 4), f"{said} {item_id}: {shown!r}; here: {_shortened(here)!r}")


def _shortened(text: str) -> str:
    flat = " ".join(text[: 4 * _SHOWN].split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "…"


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield texts[start : start + _BATCH]

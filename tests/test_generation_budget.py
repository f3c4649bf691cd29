"""Budgets, with a model that follows a script: what is put in, what is cut off, and what stays as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from long1k.chat import Chat
from long1k.errors import RecipeError
from long1k.generation.base import Job, Output, Sampling
from long1k.generation.budget import Course, Sample
from long1k.generation.tags import ends_in_loop, find_tag
from long1k.plugins import validate
from long1k.tokens import Tokenizer

MERGES = [
    ("<", "/"),
    (".", "</"),
    ("t", "h"),
    (">", "Ċ"),
    (">Ċ", "Ċ"),
    ("W", "a"),
    ("i", "t"),
    ("Wa", "it"),
    ("o", "f"),
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Bytes, a few merges that reach over the ends of tags, and the template's tokens."""
    folder = tmp_path_factory.mktemp("bytes")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {text: at for at, text in enumerate([*letters, *(left + right for left, right in MERGES)])}
    real = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, MERGES))
    real.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    real.decoder = tokenizers.decoders.ByteLevel()
    real.add_special_tokens(["<|user|>", "<|assistant|>", "<|end|>"])
    real.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return Tokenizer(folder)


@pytest.fixture(scope="module", params=["think", "openthoughts"])
def chat(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Chat:
    return Chat(tokenizer, request.param)


class Scripted:
    """A model that says a script, and begins the next one whenever something was put in or cut off."""

    def __init__(self, course: Course, prompt_ids: list[int], scripts: Sequence[Sequence[int]], end_id: int) -> None:
        self.course, self.scripts, self.end_id = course, scripts, end_id
        self.jobs = [course.first("k", prompt_ids, 7)]
        self.prompt_ids = prompt_ids

    def pieces(self) -> Iterator[Output]:
        job, script, at, before = self.jobs[0], 0, 0, list(self.prompt_ids)
        while True:
            if job.prompt_ids != before:
                script, at = script + 1, 0
            drawn = list(self.scripts[script][at : at + job.max_new_tokens])
            at += len(drawn)
            before = job.prompt_ids + drawn
            stopped = drawn[-1:] == [self.end_id]
            assert stopped or len(drawn) == job.max_new_tokens, "a script is too short for the test"
            yield Output("k", drawn, "stop" if stopped else "length")
            job = self.jobs[-1]

    def run(self) -> Sample:
        for output in self.pieces():
            following = self.course.after(output)
            if isinstance(following, Sample):
                return following
            assert following.max_new_tokens >= 1
            assert (
                following.prompt_ids[len(self.prompt_ids) :][-following.drawn :]
                == following.prompt_ids[len(self.prompt_ids) :]
            )
            assert following.seed == 7
            self.jobs.append(following)
        raise AssertionError


def draw(chat: Chat, scripts: Sequence[Sequence[int]], prompt_ids: list[int] | None = None, **values: object) -> Sample:
    sampling = validate(Sampling, values, "sampling")
    return Scripted(Course(chat, sampling), prompt_ids or [0], scripts, chat.end_id).run()


def ids_of(chat: Chat, text: str) -> list[int]:
    return chat.tokenizer.encode(text)


def bytes_of(chat: Chat, text: str) -> list[int]:
    """A tag as a model may also write it: a token for each letter."""
    return [one for letter in text for one in ids_of(chat, letter)]


def whole(chat: Chat, thinking: str, answer: str) -> list[int]:
    return [*ids_of(chat, chat.write_answer(thinking, answer)), chat.end_id]


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tag_is_found_however_it_is_split(chat: Chat, data: st.DataObject) -> None:
    tag = chat.style.closing
    before = data.draw(st.text("ab<.é/t語", max_size=30))
    after = data.draw(st.text(">\nb<", max_size=8))
    cuts = data.draw(st.lists(st.integers(0, len(before + tag + after)), max_size=12))
    text, ids = before + tag + after, []
    for left, right in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True):
        ids += ids_of(chat, text[left:right])
    found = find_tag(chat.tokenizer, ids, tag)
    assert found is not None
    first, behind = found
    decode = chat.tokenizer.decode
    assert tag in decode(ids[first:behind])
    assert tag not in decode(ids[first + 1 : behind])
    assert tag not in decode(ids[first : behind - 1])
    assert tag not in decode(ids[: behind - 1])  # the first one
    assert find_tag(chat.tokenizer, ids[: behind - 1], tag) is None


def test_a_tag_is_found_across_windows(chat: Chat) -> None:
    tag = bytes_of(chat, chat.style.closing)
    for at in (0, 500, 505, 511, 512, 513, 530, 1023, 2000):
        ids = ids_of(chat, "é")[:1] * at + tag + ids_of(chat, "x") * 700
        assert find_tag(chat.tokenizer, ids, chat.style.closing) == (at, at + len(tag))
        assert find_tag(chat.tokenizer, ids, chat.style.closing, at + 1) is None


def scripts_for(chat: Chat, data: st.DataObject) -> list[list[int]]:
    """A natural output and what would follow after each intervention; tags are split in two ways, or absent."""
    words = st.text("abc .é\n", max_size=60)

    def one(opens: bool) -> list[int]:
        split = data.draw(st.sampled_from([ids_of, bytes_of]))
        thinking, answer = data.draw(words), data.draw(words)
        kind = data.draw(st.sampled_from(["closed", "open", "direct"] if opens else ["closed", "open"]))
        ids = split(chat, chat.style.open) if opens and kind != "direct" else []
        ids += ids_of(chat, thinking)
        if kind == "closed":
            ids += split(chat, chat.style.close) + ids_of(chat, answer)
        return [*ids, chat.end_id]

    return [one(True), *(one(False) for _ in range(4))]


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_holds_for_every_budget(chat: Chat, data: st.DataObject) -> None:
    scripts = scripts_for(chat, data)
    most = data.draw(st.integers(130, 400))
    limit = data.draw(st.none() | st.integers(20, 70))
    least = data.draw(st.integers(0, 15))
    budget = {"max_thinking_tokens": limit, "min_thinking_tokens": least}
    if least:
        budget["waits"] = data.draw(st.integers(1, 3))
    if limit is not None:
        budget["max_answer_tokens"] = data.draw(st.none() | st.integers(1, 12))
    course = Course(chat, validate(Sampling, {"max_new_tokens": most, "budget": budget}, "sampling"))
    runner = Scripted(course, [0], scripts, chat.end_id)
    sample = runner.run()
    assert len(sample.token_ids) <= most
    natural = scripts[0]
    left, pieces = 0, []
    for start, end in sample.forced:
        pieces.append(sample.token_ids[left:start])
        assert sample.token_ids[start:end] in (course._close_ids, course._wait_ids)
        left = end
    pieces.append(sample.token_ids[left:])
    for piece, script in zip(pieces, scripts, strict=False):  # drawn ids stand as they were drawn
        assert piece == script[: len(piece)]
    if sample.finish_reason == "stop":
        assert pieces[-1] == scripts[len(pieces) - 1]  # to its end
        assert sample.budget_flag == ("forced" if sample.forced else "natural")
    else:
        assert sample.budget_flag == "exhausted"
    if not sample.forced:
        assert sample.token_ids == natural
    thinks = natural[0] == ids_of(chat, chat.style.open)[0]
    if not thinks:
        assert sample.token_ids == natural
    if limit is not None and thinks:
        # The place behind which no thought was drawn: the closing tag's, or where we closed.
        found = find_tag(chat.tokenizer, sample.token_ids, chat.style.closing)
        if found is None:
            assert sample.finish_reason == "stop"
            assert len(sample.token_ids) <= limit
        else:
            assert found[1] <= limit + len(course._close_ids)
            assert course._close_ids not in [sample.token_ids[a:b] for a, b in sample.forced if b <= found[0]]
    assert len(sample.forced) <= budget.get("waits", 1) + 1  # type: ignore[operator]


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_budget_that_does_not_bind_changes_nothing(chat: Chat, data: st.DataObject) -> None:
    scripts = scripts_for(chat, data)
    size = len(scripts[0])
    budget = {"max_thinking_tokens": size + 1, "close_loops": True, "check_tokens": 64}
    assert draw(chat, scripts, max_new_tokens=size + 60, budget=budget) == Sample(
        "k", scripts[0], "stop", "natural", []
    )  # fmt: skip


def test_thinking_at_its_limit_is_closed_and_answered(chat: Chat) -> None:
    natural = whole(chat, "x" * 100, "never")
    answer = [*ids_of(chat, "7}"), chat.end_id]
    budget = {"max_thinking_tokens": 50, "answer_prefix": "So \\boxed{"}
    sample = draw(chat, [natural, answer], max_new_tokens=200, budget=budget)
    put_in = ids_of(chat, chat.style.close + "So \\boxed{")
    assert sample.token_ids == natural[:50] + put_in + answer
    assert (sample.forced, sample.budget_flag) == ([(50, 50 + len(put_in))], "forced")
    split = chat.split_answer(chat.tokenizer.decode(sample.token_ids))
    assert split.answer == "So \\boxed{7}"
    short = draw(chat, [natural, answer], max_new_tokens=200, budget={**budget, "max_answer_tokens": 2})
    assert (short.token_ids[-2:], short.finish_reason, short.budget_flag) == (answer[:2], "length", "exhausted")


def test_thinking_that_is_closed_at_the_limit_goes_on(chat: Chat) -> None:
    natural = whole(chat, "x" * 20, "y" * 70)
    closing = find_tag(chat.tokenizer, natural, chat.style.closing)
    assert closing is not None
    for limit in (closing[1], closing[1] + 1, closing[1] + 5):
        sample = draw(
            chat, [natural], max_new_tokens=200, budget={"max_thinking_tokens": limit, "max_answer_tokens": 3}
        )
        assert sample == Sample("k", natural, "stop", "natural", [])


def test_a_half_tag_at_the_limit_is_still_the_beginning_of_thinking(chat: Chat) -> None:
    natural = [*bytes_of(chat, chat.style.open), *ids_of(chat, "x" * 50), chat.end_id]
    for limit in (1, 4, 9):
        sample = draw(chat, [natural, [chat.end_id]], max_new_tokens=200, budget={"max_thinking_tokens": limit})
        assert sample.budget_flag == "forced"
        start = max(limit, len(bytes_of(chat, chat.style.opening)))
        assert sample.forced[0][0] == start
        assert sample.token_ids[:start] == natural[:start]


def test_an_answer_without_thinking_is_left_alone(chat: Chat) -> None:
    natural = [*ids_of(chat, "<b>" + "x" * 90), chat.end_id]
    budget = {"max_thinking_tokens": 20, "min_thinking_tokens": 10}
    assert draw(chat, [natural], max_new_tokens=120, budget=budget) == Sample("k", natural, "stop", "natural", [])


def test_a_prompt_that_opened_the_thinking(chat: Chat) -> None:
    prompt = ids_of(chat, "<|user|>q<|assistant|>" + chat.style.open)
    natural = [*ids_of(chat, "x" * 90), chat.end_id]
    assert chat.opens_thinking(prompt)
    assert not chat.opens_thinking(prompt[:-5])
    sample = draw(chat, [natural, [chat.end_id]], prompt, max_new_tokens=120, budget={"max_thinking_tokens": 20})
    assert sample.forced[0][0] == 20
    assert sample.token_ids[:20] == natural[:20]
    assert chat.split_answer("no end", opened=True).answer is None
    assert chat.split_answer("no end").answer == "no end"


@pytest.mark.parametrize("ended", ["closed", "not closed"])
def test_too_short_thinking_goes_on(chat: Chat, ended: str) -> None:
    opening = ids_of(chat, chat.style.open)
    behind = bytes_of(chat, chat.style.close + "thrown away") if ended == "closed" else []
    first = [*opening, *ids_of(chat, "ab "), *behind, chat.end_id]
    second = [*ids_of(chat, " c"), *behind, chat.end_id]
    third = [*ids_of(chat, "d" * 60 + chat.style.close + "e"), chat.end_id]
    budget = {"min_thinking_tokens": 40, "waits": 2, "wait_text": "Wait,"}
    sample = draw(chat, [first, second, third], max_new_tokens=300, budget=budget)
    text = chat.tokenizer.decode(sample.token_ids)
    gap = chat.style.close.split(chat.style.closing)[0] if ended == "closed" else ""
    assert text == (
        chat.style.open + "ab " + gap + "Wait, c" + gap + "Wait," + "d" * 60 + chat.style.close + "e<|end|>"
    )  # fmt: skip
    assert [chat.tokenizer.decode(sample.token_ids[start:end]) for start, end in sample.forced] == ["Wait,"] * 2
    assert sample.budget_flag == "forced"
    once = draw(chat, [first, second], max_new_tokens=300, budget={**budget, "waits": 1})
    assert once.token_ids[-len(second) :] == second  # short again, but it may wait only once


def test_loops(chat: Chat) -> None:
    opening, block = ids_of(chat, chat.style.open), ids_of(chat, "abcdefg ")
    looping = opening + ids_of(chat, "x y z") + block * 400
    budget = {"close_loops": True, "check_tokens": 64}
    answer = [*ids_of(chat, "7"), chat.end_id]
    sample = draw(chat, [looping, answer], max_new_tokens=3000, budget=budget)
    assert (sample.budget_flag, sample.finish_reason) == ("loop", "stop")
    start, _end = sample.forced[0]
    assert start % 64 == 0
    assert 256 <= start < 512
    assert sample.token_ids == looping[:start] + ids_of(chat, chat.style.close) + answer
    unclosed = draw(chat, [looping], max_new_tokens=1000)
    assert (unclosed.budget_flag, unclosed.forced, len(unclosed.token_ids)) == ("loop", [], 1000)
    tight = draw(chat, [looping], max_new_tokens=start + 3, budget=budget)
    assert (tight.budget_flag, tight.forced, tight.finish_reason) == ("loop", [], "length")
    left = looping[:1200] + ids_of(chat, "now something that does not repeat itself at all")
    assert draw(chat, [left], max_new_tokens=len(left)).budget_flag == "exhausted"
    assert ends_in_loop(block * 100 + left + block * 40)


def test_an_output_of_an_engine_that_failed_keeps_its_reason(chat: Chat) -> None:
    course = Course(chat, Sampling(max_new_tokens=8))
    assert course.first("k", [1], 3) == Job("k", [1], 3, 8)
    sample = course.after(Output("k", [], "error", error="gone"))
    assert isinstance(sample, Sample)
    assert (sample.error, sample.budget_flag) == ("gone", None)


def test_text_of_an_engine_stays_as_it_said_it(chat: Chat) -> None:
    course = Course(chat, Sampling(max_new_tokens=8))
    course.first("k", [1], 3)
    sample = course.after(Output("k", ids_of(chat, "é"), "stop", text="e\u0301"))
    assert isinstance(sample, Sample)
    assert sample.text == "e\u0301"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"max_thinking_tokens": 1024}, "not less than max_new_tokens"),
        ({"max_thinking_tokens": 10, "max_answer_tokens": 1024}, "max_answer_tokens"),
        ({"max_thinking_tokens": 512, "max_answer_tokens": 512}, "1,024 together"),
        ({"max_thinking_tokens": 5, "min_thinking_tokens": 6}, "more than"),
        ({"max_answer_tokens": 5}, "set max_thinking_tokens or close_loops"),
        ({"answer_prefix": "x"}, "set max_thinking_tokens or close_loops"),
        ({"waits": 2}, "set min_thinking_tokens"),
        ({"wait_text": "Hm"}, "set min_thinking_tokens"),
        ({"wait_text": "", "min_thinking_tokens": 4}, "wait_text is empty"),
        ({"check_tokens": 100}, "set close_loops"),
        ({"max_thinking_token": 100}, "did you mean 'max_thinking_tokens'"),
    ],
)
def test_what_cannot_be_in_force_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        validate(Sampling, {"max_new_tokens": 1024, "budget": values}, "sampling")


def test_what_has_no_room_in_tokens_is_refused(chat: Chat) -> None:
    def course(**budget: object) -> Course:
        return Course(chat, validate(Sampling, {"max_new_tokens": 100, "budget": budget}, "sampling"))

    with pytest.raises(RecipeError, match=r"set sampling\.max_new_tokens to at least"):
        course(max_thinking_tokens=99)
    with pytest.raises(RecipeError, match="50 of answer"):
        course(max_thinking_tokens=49, max_answer_tokens=50)
    with pytest.raises(RecipeError, match="only 20 may be thought"):
        course(max_thinking_tokens=20, min_thinking_tokens=20)
    assert course(max_thinking_tokens=20, min_thinking_tokens=10).budget.waits == 1


def test_what_a_tokenizer_cannot_write_is_refused() -> None:
    from long1k.tokens import load_tokenizer

    micro = Chat(load_tokenizer("package:micro"))
    with pytest.raises(RecipeError, match="no tokens for wait_text"):
        Course(micro, validate(Sampling, {"budget": {"min_thinking_tokens": 4}}, "sampling"))

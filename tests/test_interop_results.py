"""Outputs and verdicts of other tools: in, out, and back to what they were."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from long1k.errors import DataError, RecipeError
from long1k.interop.outcomes import Scored, provenance_of, restore
from long1k.interop.results import FORMATS, format_of, import_results
from long1k.interop.results_export import export_results, exported_files
from long1k.rows import Prediction, Score, content_id
from long1k.stages.agree import agree
from long1k.stages.rates import rates
from long1k.stages.score import score
from long1k.tables import Manifest, TableWriter, read_manifest, read_rejected, read_table

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FILLED = TEXT.filter(lambda text: bool(text.strip()))
NASTY = [
    "<script>alert(1)</script>", "nul \x00 in it", "中文答案是 \\boxed{4}", "\u202eevil", "a\nb\r\nc", "{{7*7}}", "",
    "<think>cut", "<think>\nhm\n</think>\n\n\\boxed{2}", "<|begin_of_thought|>x<|end_of_thought|>\\boxed{3}",
]  # fmt: skip


def prediction(question: str, text: str, number: int = 0, **changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "prediction_id": content_id("y", question, text, str(number)), "problem_id": content_id("q", question),
        "benchmark": "sums", "question": question, "answers": ("2",), "part_ids": (content_id("q", question),),
        "arm": "L6000", "train_seed": 1, "checkpoint": "model", "sample_index": number, "seed": 7,
        "prompt_token_ids": (1, 2, 3), "text": text, "token_ids": (4, 5), "forced": (0, 1), "thinking": None,
        "answer_text": text, "finish_reason": "stop", "budget_flag": "natural", "num_tokens": 2,
        "num_thinking_tokens": None, "num_answer_tokens": 2, "engine": "e 1", "label": None,
    }  # fmt: skip
    return Prediction(**(values | changes))


def table(folder: Path, rows: Sequence[Prediction]) -> Manifest:
    writer = TableWriter(folder, Prediction, stage="predict/3", config={"sampling": {"temperature": 0.6}}, inputs={})
    writer.write_part(0, list(rows))
    return writer.commit(1)


def verdicts(folder: Path, predictions: Path, statuses: Sequence[str]) -> list[Score]:
    writer = TableWriter(
        folder, Score, stage="score/1", config={}, inputs={"predictions": read_manifest(predictions).digest}
    )
    rows = [
        Score(row.prediction_id, part, "math", "1", status, "2" if status == "correct" else None, None, None)
        for row, status in zip(read_table(predictions, Prediction), statuses, strict=True)
        for part in range(len(row.answers))
    ]
    writer.write_part(0, rows)
    writer.commit(1)
    return rows


def exported(folder: Path) -> Path:
    (path,) = [folder / name for name in read_manifest(folder).info["files"] if name != "rejected.parquet"]
    return path


def json_rows(path: Path) -> list[Any]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    text = path.read_text(encoding="utf-8")
    return list(json.loads(text)) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def some(tmp_path: Path) -> list[Prediction]:
    """Questions of several samples, nasty texts, one prompt of two problems."""
    rows = [prediction(f"q{at // 3}", text, at % 3) for at, text in enumerate(NASTY)]
    rows.append(
        prediction("two", "1: \\boxed{1} 2: \\boxed{2}", answers=("1", "2"), part_ids=("p-1", "p-2"), label=True)
    )
    table(tmp_path / "p", rows)
    return rows


@pytest.mark.parametrize("name", FORMATS)
def test_what_we_export_comes_back_whole(name: str, tmp_path: Path) -> None:
    rows = some(tmp_path)
    statuses = ["correct", "wrong", "no_answer", "truncated", "timeout", "error"] * 2
    scores = verdicts(tmp_path / "s", tmp_path / "p", statuses[: len(rows)])
    made = export_results(tmp_path / "x", tmp_path / "p", name, scores=tmp_path / "s", provenance=True)
    assert (made.rows_in, made.rows_out) == (len(rows), len(rows))
    path = exported(tmp_path / "x")
    assert format_of(path) == name
    back = import_results(tmp_path / "back", path, name, name="n", scores=tmp_path / "back-s")
    assert back.info["restored"] == len(rows) == back.rows_out
    assert {row.prediction_id: row for row in read_table(tmp_path / "back", Prediction)} == {
        row.prediction_id: row for row in rows
    }
    held = {(one.prediction_id, one.part): one for one in read_table(tmp_path / "back-s", Score)}
    assert held == {(one.prediction_id, one.part): one for one in scores}


@pytest.mark.parametrize("name", FORMATS)
def test_without_provenance_the_format_holds_texts_and_verdicts(name: str, tmp_path: Path) -> None:
    rows = [prediction(f"q{at}", f"<think>\nx{at}\n</think>\n\n\\boxed{{{at}}}", thinking=f"x{at}",
                       answer_text=f"\\boxed{{{at}}}") for at in range(5)]  # fmt: skip
    table(tmp_path / "p", rows)
    verdicts(tmp_path / "s", tmp_path / "p", ["correct", "wrong", "correct", "no_answer", "wrong"])
    export_results(tmp_path / "x", tmp_path / "p", name, scores=tmp_path / "s", provenance=False)
    import_results(tmp_path / "back", exported(tmp_path / "x"), name, name="n")
    back = read_table(tmp_path / "back", Prediction)
    for before, after in zip(rows, back, strict=True):
        for field in ("question", "answers", "text", "thinking", "answer_text", "sample_index"):
            assert getattr(before, field) == getattr(after, field)
    assert [row.label for row in back] == [True, False, True, False, False]


def test_files_of_several_runs_are_one_table(tmp_path: Path) -> None:
    rows = [prediction(f"q{at}", f"\\boxed{{{at}}}", arm=arm, prediction_id=f"y-{arm}{at}")
            for arm in ("a", "b") for at in range(3)]  # fmt: skip
    table(tmp_path / "p", rows)
    made = export_results(tmp_path / "x", tmp_path / "p", "lm-eval")
    files = exported_files(tmp_path / "x")
    assert len(files) == 2 == len(made.info["files"])
    back = import_results(tmp_path / "back", files, "lm-eval", scores=tmp_path / "s")
    assert (back.rows_in, back.rows_out) == (6, 6)
    assert sorted(one.arm for one in read_table(tmp_path / "back", Prediction)) == ["a"] * 3 + ["b"] * 3
    twice = import_results(tmp_path / "twice", [files[0], files[0], files[1]], "lm-eval")
    assert (twice.rows_in, twice.rows_out) == (9, 6)
    assert twice.rejected == {"duplicate": 3}


def test_values_of_several_files_go_back_into_several(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps([{**row, "of": name} for row in upstream()]))
    import_results(tmp_path / "p", files, "predict-json")
    export_results(tmp_path / "x", tmp_path / "p", "predict-json")
    for name in ("one", "two"):
        (path,) = (tmp_path / "x").glob(f"*{name}*.json")
        assert json_rows(path) == json.loads((tmp_path / f"{name}.json").read_text())


ROW = st.fixed_dictionaries(
    {"instruction": FILLED, "input": TEXT, "ref": FILLED, "pre": TEXT},
    optional={"score": st.sampled_from([0, 1]), "id": st.integers(), "extra": st.lists(TEXT, max_size=2)},
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=1, max_size=6))
def test_predict_json_comes_back_value_by_value(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "predict.json").write_text(json.dumps(rows), encoding="utf-8")
        made = import_results(folder / "p", folder / "predict.json", "predict-json", name="n")
        assert made.rows_out == len(rows)
        labels = [row.label for row in read_table(folder / "p", Prediction)]
        assert labels == [bool(row["score"]) if "score" in row else None for row in rows]
        export_results(folder / "x", folder / "p", "predict-json")
        assert json_rows(exported(folder / "x")) == rows


def upstream(score: bool = True) -> list[dict[str, Any]]:
    rows = [
        {"instruction": "1+1?", "input": "", "ref": "so\n2", "pre": "<think>\na\n</think>\n\n\\boxed{2}", "score": 1},
        {"instruction": "1+1?", "input": "", "ref": "so\n2", "pre": "\\boxed{3}", "score": 1},
        {"instruction": "算", "input": "1+2", "ref": "3", "pre": "答案 \\boxed{3}", "score": 0, "id": 7},
    ]
    return rows if score else [{k: v for k, v in row.items() if k != "score"} for row in rows]


def test_predict_json_labels_meet_our_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "predict.json"
    path.write_text(json.dumps(upstream()))
    import_results(tmp_path / "p", path, "predict-json", name="n", scores=tmp_path / "theirs")
    rows = read_table(tmp_path / "p", Prediction)
    assert [row.question for row in rows] == ["1+1?", "1+1?", "算\n1+2"]
    assert [row.sample_index for row in rows] == [0, 1, 0]
    assert [row.answers for row in rows] == [("2",), ("2",), ("3",)]
    assert rows[0].thinking == "a"
    assert [one.status for one in read_table(tmp_path / "theirs", Score)] == ["correct", "correct", "wrong"]
    ours = score(tmp_path / "s", tmp_path / "p")
    assert ours.info["labelled"] == 3
    assert ours.info["label_agreement"] == pytest.approx(1 / 3)
    export_results(tmp_path / "x", tmp_path / "p", "predict-json", scores=tmp_path / "s")
    assert [row["score"] for row in json_rows(exported(tmp_path / "x"))] == [1, 0, 1]


def test_predict_json_rows_that_are_none_have_a_reason(tmp_path: Path) -> None:
    good = upstream()[0]
    rows: list[Any] = [
        good, {**good, "pre": None}, {**good, "ref": " "}, {**good, "instruction": ""}, {**good, "ref": 5}, [1], "x",
        {**good, "pre": "half \ud800"},
    ]  # fmt: skip
    text = json.dumps(rows)[:-1] + ', {"instruction": "a", "instruction": "b"}, {"pre": 1' + "0" * 5000 + "}]"
    (tmp_path / "predict.json").write_text(text)
    made = import_results(tmp_path / "p", tmp_path / "predict.json", "predict-json", name="n")
    assert made.rows_in == made.rows_out + sum(made.rejected.values()) == 10
    assert [(one.source_row, one.reason) for one in read_rejected(tmp_path / "p")] == [
        ("2", "missing_field"), ("3", "empty_field"), ("4", "empty_field"), ("5", "wrong_type"),
        ("6", "not_an_object"), ("7", "not_an_object"), ("8", "invalid_unicode"), ("9", "duplicate_key"),
        ("10", "malformed_json"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ['[{"pre": "a", "ref": "b"', '[{"pre":"a","ref":"b"}', '[{"pre":"a","ref":"b"}] x',
                                  '[{"pre":"a","ref":"b"} {}]', '[{"pre":"a","ref":"b"},]'])  # fmt: skip
def test_a_cut_array_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "predict.json").write_text(text)
    with pytest.raises(DataError, match="no whole JSON array"):
        import_results(tmp_path / "p", tmp_path / "predict.json", "predict-json", name="n")


def test_an_array_larger_than_the_buffer_is_streamed(tmp_path: Path) -> None:
    rows = [{**upstream()[0], "pre": f"{at} " + "é" * (1 << 18)} for at in range(12)]  # 2 bytes each: cut anywhere
    (tmp_path / "predict.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    import_results(tmp_path / "p", tmp_path / "predict.json", "predict-json", name="n")
    assert [row.text for row in read_table(tmp_path / "p", Prediction)] == [row["pre"] for row in rows]


def lm_eval_rows() -> list[dict[str, Any]]:
    """Two questions, two filters; the first has three repeats."""
    rows = []
    for name, kept, value in (("strict-match", "2", 1.0), ("flexible-extract", "7", 0.0)):
        for doc_id, texts in enumerate((["x #### 2", "3", "2"], ["only #### 4"])):
            rows.append(
                {
                    "doc_id": doc_id, "doc": {"question": f"what {doc_id}?", "answer": f"long\n#### {2 + 2 * doc_id}"},
                    "target": f"long\n#### {2 + 2 * doc_id}",
                    "arguments": {"gen_args_0": {"arg_0": "Question: …", "arg_1": {"until": ["\n\n"]}}},
                    "resps": [texts], "filtered_resps": [kept], "filter": name, "metrics": ["exact_match"],
                    "doc_hash": "a", "prompt_hash": "b", "target_hash": "c", "exact_match": value,
                }
            )  # fmt: skip
    return rows


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lm_eval_repeats_filters_and_metrics(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "samples_gsm8k_2025-01-01T00-00-00.jsonl", lm_eval_rows())
    made = import_results(tmp_path / "p", path, "lm-eval", name="gsm8k")
    assert (made.rows_in, made.rows_out, made.rejected) == (6, 4, {"other_filter": 2})
    rows = read_table(tmp_path / "p", Prediction)
    assert [(row.question, row.text, row.sample_index, row.answers[0]) for row in rows] == [
        ("what 0?", "x #### 2", 0, "2"), ("what 0?", "3", 1, "2"), ("what 0?", "2", 2, "2"),
        ("what 1?", "only #### 4", 0, "4"),
    ]  # fmt: skip
    # Of three repeats the metric judges one that is not known; of one repeat it judges that.
    assert [row.label for row in rows] == [None, None, None, True]
    export_results(tmp_path / "x", tmp_path / "p", "lm-eval", provenance=False)
    assert json_rows(exported(tmp_path / "x")) == lm_eval_rows()[:2]
    other = import_results(tmp_path / "o", path, "lm-eval", name="g", options={"filter": "flexible-extract"})
    assert [row.label for row in read_table(tmp_path / "o", Prediction)][-1] is False
    assert other.rejected == {"other_filter": 2}


def test_lm_eval_older_arguments_and_log_likelihoods(tmp_path: Path) -> None:
    rows = lm_eval_rows()[:2]
    rows[0] |= {"doc": {"text": "no question"}, "arguments": [["the prompt", {"until": []}]]}
    rows[1] |= {"resps": [[["-1.5", "False"]], [["-2.5", "True"]]]}
    rows.append({**rows[0], "arguments": {}})
    made = import_results(tmp_path / "p", write_lines(tmp_path / "samples_x.jsonl", rows), "lm-eval", name="n")
    assert {row.question for row in read_table(tmp_path / "p", Prediction)} == {"the prompt"}
    assert made.rejected == {"missing_field": 1, "not_generated": 1}


def lighteval_row(**changes: Any) -> dict[str, Any]:
    row = {
        "doc": {"query": "1+1?", "choices": ["2"], "gold_index": 0, "task_name": "math_500|0", "specific": None},
        "metric": {"pass@k:k=1": 1.0},
        "model_response": {"text": ["\\boxed{2}"], "reasonings": ["one and one"], "output_tokens": [[5, 6]],
                           "input_tokens": [1]},
    }  # fmt: skip
    return {**row, **changes}


def test_lighteval_of_both_shapes(tmp_path: Path) -> None:
    import pyarrow as pa

    new = [lighteval_row(), lighteval_row(model_response={"text": ["a", "b"], "reasonings": [], "output_tokens": []}),
           lighteval_row(model_response={"text": [], "reasonings": [], "output_tokens": []})]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(new), tmp_path / "details_new.parquet")
    made = import_results(tmp_path / "n", tmp_path / "details_new.parquet", "lighteval", name="n")
    rows = read_table(tmp_path / "n", Prediction)
    assert made.rejected == {"not_generated": 1}
    assert [(row.answer_text, row.thinking, row.label, row.sample_index) for row in rows] == [
        ("\\boxed{2}", "one and one", True, 0), ("a", None, None, 1), ("b", None, None, 2),
    ]  # fmt: skip
    assert rows[0].text == "<think>\none and one\n</think>\n\n\\boxed{2}"
    assert (rows[0].token_ids, rows[0].benchmark) == ((5, 6), "math_500|0")
    old = [
        {"example": "1+1?", "full_prompt": "Q: 1+1?", "gold": ["2"], "predictions": ["\\boxed{2}"],
         "metrics": {"extractive_match": 0.0}, "cont_tokens": [[5]]},
    ]  # fmt: skip
    texts = [{name: value if name in ("example", "full_prompt") else str(value) for name, value in old[0].items()}]
    for name, values in (("typed", old), ("text", texts)):
        path = tmp_path / f"details_{name}.parquet"
        pq.write_table(pa.Table.from_pylist(values), path)
        import_results(tmp_path / name, path, "lighteval", name="n")
        (row,) = read_table(tmp_path / name, Prediction)
        assert (row.text, row.answers, row.label, row.token_ids) == ("\\boxed{2}", ("2",), False, (5,))
        export_results(tmp_path / f"{name}-x", tmp_path / name, "lighteval", provenance=False)
        assert json_rows(exported(tmp_path / f"{name}-x")) == values


def test_a_python_text_is_read_never_run(tmp_path: Path) -> None:
    import pyarrow as pa

    target = tmp_path / "ran"
    hostile = [
        {"example": "q", "gold": "['2']", "predictions": f"[__import__('pathlib').Path({str(target)!r}).touch()]"},
        {"example": "q", "gold": "['2']", "predictions": "[" * 50_000},
        {"example": "q", "gold": "['2']", "predictions": "['fine']"},
    ]
    pq.write_table(pa.Table.from_pylist(hostile), tmp_path / "details.parquet")
    made = import_results(tmp_path / "p", tmp_path / "details.parquet", "lighteval", name="n")
    assert (made.rows_out, made.rejected) == (1, {"not_generated": 2})
    assert not target.exists()


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "samples_x.jsonl", lm_eval_rows())
    with pytest.raises(DataError, match=r"looks like lm-eval(.|\n)*--format lm-eval"):
        import_results(tmp_path / "p", path, "predict-json", name="n")
    other = write_lines(tmp_path / "rows.jsonl", [{"question": "a"}])
    with pytest.raises(DataError, match="begins with"):
        import_results(tmp_path / "p", other, "inspect", name="n")
    assert format_of(other) is None
    with pytest.raises(RecipeError, match="did you mean 'filter'"):
        import_results(tmp_path / "p", path, "lm-eval", name="n", options={"filtre": "x"})
    with pytest.raises(RecipeError, match="did you mean 'lm-eval'"):
        import_results(tmp_path / "p", path, "lmeval", name="n")


def test_edited_texts_are_not_given_their_old_provenance(tmp_path: Path) -> None:
    some(tmp_path)
    export_results(tmp_path / "x", tmp_path / "p", "lm-eval")
    rows = json_rows(exported(tmp_path / "x"))
    rows[0]["resps"][0][0] = "changed"
    rows[1]["long1k"][0] = '{"prediction": {"text": 1}}'
    back = import_results(tmp_path / "b", write_lines(tmp_path / "samples_e.jsonl", rows), "lm-eval", name="n")
    assert back.info["restored"] == back.rows_out - 2
    assert read_table(tmp_path / "b", Prediction)[0].engine == "lm-eval"


def test_an_export_is_done_once_and_follows_its_scores(tmp_path: Path) -> None:
    rows = some(tmp_path)
    verdicts(tmp_path / "s", tmp_path / "p", ["correct"] * len(rows))
    one = export_results(tmp_path / "x", tmp_path / "p", "predict-json")
    again = export_results(tmp_path / "x", tmp_path / "p", "predict-json")
    assert one.created == again.created
    table(tmp_path / "other", rows[:3])
    with pytest.raises(DataError, match="no scores of"):
        export_results(tmp_path / "y", tmp_path / "other", "predict-json", scores=tmp_path / "s")


def test_the_commands_tell_formats_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from long1k.cli import app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "predict.json").write_text(json.dumps(upstream()))

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words])

    done = run("import", "predict.json", "--scores", "theirs", "--out", "p")
    assert done.exit_code == 0, done.output
    assert (
        "3 rows in = 3 out + 0 rejected; predict-json: 3 rows, 2 questions, 1 runs, 3 outputs with a verdict"
        in " ".join(done.output.split())
    )
    done = run("export", "p", "--format", "inspect", "--scores", "theirs", "--out", "x")
    assert done.exit_code == 0, done.output
    assert ".eval" in done.output
    done = run("import", "x", "--out", "back")  # a folder that an export wrote
    assert done.exit_code == 0, done.output
    assert read_table(tmp_path / "back", Prediction) == read_table(tmp_path / "p", Prediction)
    for words, message in (
        (("import", "predict.json", "--format", "lm-eval", "--out", "a"), "--format predict-json"),
        (("import", "predict.json", "--format", "inspct", "--out", "a"), "did you mean 'inspect'"),
        (("import", "predict.json", "--as", "samples", "--scores", "s", "--out", "a"), "--scores needs --format"),
        (("export", "p", "--format", "sharegpt", "--scores", "theirs", "--out", "a"), "goes with predictions only"),
        (("export", "theirs", "--format", "lm-eval", "--out", "a"), "holds no predictions"),
    ):
        assert message in str(run(*words).exception), words


def test_verdicts_that_a_file_states_for_some_rows_have_rates_and_are_compared(tmp_path: Path) -> None:
    rows = [
        {"instruction": "1+1", "input": "", "ref": "2", "pre": "\\boxed{2}", "score": 1},
        {"instruction": "1+2", "input": "", "ref": "3", "pre": "\\boxed{4}"},
        {"instruction": "1+3", "input": "", "ref": "4", "pre": "\\boxed{4}", "score": 0},
        {"instruction": "1+4", "input": "", "ref": "5", "pre": "\\boxed{4}"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    import_results(tmp_path / "p", tmp_path / "p.json", "predict-json", name="p", scores=tmp_path / "s")
    (found,) = rates(tmp_path / "s")
    assert (found["questions"], found["correct"], found["not_gradable"]) == (2, 1, 0)
    score(tmp_path / "rules", tmp_path / "p")
    told = agree(tmp_path / "rules", tmp_path / "s", tmp_path / "sheet.jsonl")
    assert (told["compared"], told["not_compared"], told["rows"]) == (2, 2, 1)
    assert told["only_a_correct"] == 1
    assert told["b"].startswith("imported:predict-json")
    (tmp_path / "q.json").write_text(json.dumps([rows[1]]))
    import_results(tmp_path / "q", tmp_path / "q.json", "predict-json", name="q", scores=tmp_path / "none")
    with pytest.raises(DataError, match="holds no verdicts"):
        rates(tmp_path / "none")


def test_verdicts_of_another_output_are_not_restored(tmp_path: Path) -> None:
    row = prediction("q", "\\boxed{2}")
    mine = Score(row.prediction_id, 0, "math", "1", "correct", None, None, None)
    whole = provenance_of(Scored(row, (mine,)))
    assert restore(whole, row.question, row.text) == Scored(row, (mine,))
    for stray in (replace(mine, prediction_id="y-other"), replace(mine, part=1)):
        assert restore(provenance_of(Scored(row, (stray,))), row.question, row.text) is None

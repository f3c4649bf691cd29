"""The whole way in its smallest form: run, run again, change, kill and resume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pages import without_own_scripts
from realdata import need_extra

need_extra("trl")

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# Still smaller than --smoke: what is tested here is the machinery, not the model.
SMALLER = (
    "base.train.steps=30", "base.train.save_steps=10", "train.steps=6", "seeds=[0]", "benchmarks.after-7.count=10",
    "benchmarks.single.count=20",
)  # fmt: skip


def long1k(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "long1k.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )


def smaller() -> list[str]:
    return [part for text in SMALLER for part in ("--set", text)]


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.parent.relative_to(root)): json.loads(path.read_text())["digest"]
        for path in sorted(root.rglob("manifest.json"))
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = long1k("run", "quickstart", "--smoke", "--runs", str(folder), *smaller())
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def root(runs: Path) -> Path:
    return runs / "smoke" / "quickstart"


@pytest.mark.slow
def test_everything_is_made_and_accounted_for(runs: Path, root: Path) -> None:
    made = digests(root)
    arms = ["L32", "L65", "L131", "L263", "L527", "tokens-of-L527", "tokens-of-L131", "repeat-L32-as-L527"]
    for arm in arms:
        for stage in ("train", "predict/single", "predict/after-7", "score/single/math"):
            assert f"arms/{arm}/seed-0/{stage}" in made
    assert "arms/untrained/seed-0/predict/single" in made
    assert {"collect", "base/train", "analyze", "report"} <= set(made)
    for path in root.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        if manifest["stage"].startswith(("collect", "score")):
            assert manifest["rows_in"] == manifest["rows_out"] + sum(manifest["rejected"].values())
    printed = (runs / "stdout").read_text()
    assert "Verdict" in printed
    assert "slope" in printed
    assert all(len(line) <= 100 or str(runs) in line for line in printed.splitlines()[-20:])
    page = (root / "report" / "report.html").read_text()
    findings = json.loads((root / "analyze" / "findings.json").read_text())
    assert len(findings["verdict"]) >= 6
    assert "<script" not in without_own_scripts(page)
    assert "tokens-of-L527" in page


@pytest.mark.slow
def test_controls_match_what_they_claim(root: Path) -> None:
    def info(arm: str, stage: str) -> dict[str, object]:
        found = json.loads((root / "arms" / arm / "seed-0" / stage / "manifest.json").read_text())["info"]
        assert isinstance(found, dict)
        return found

    long, matched, repeated, short = (info(a, "train") for a in ("L527", "tokens-of-L527", "repeat-L32-as-L527", "L32"))
    assert long["steps"] == matched["steps"] == repeated["steps"] == short["steps"]
    assert abs(long["tokens"] / matched["tokens"] - 1) < 0.02  # type: ignore[operator]
    assert matched["tokens"] == repeated["tokens"]
    assert info("tokens-of-L527", "synthesize")["groups"][0]["made"] == 527  # type: ignore[index]
    assert not (root / "arms" / "repeat-L32-as-L527" / "seed-0" / "synthesize").exists()  # it has L32's samples


@pytest.mark.slow
def test_a_half_finished_study_is_analyzed_on_what_it_has(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "quickstart"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / "arms" / "L263" / "seed-0" / "score")
    done = long1k("analyze", str(copy))
    assert done.returncode == 0, done.stderr
    findings = json.loads((copy / "analyze" / "findings.json").read_text())
    names = [arm["name"] for arm in findings["benchmarks"][0]["arms"]]
    assert "L263" not in names
    assert "untrained" in names
    assert findings["benchmarks"][0]["law"]["slope"]["num_seeds"] == 1


@pytest.mark.slow
def test_second_run_does_nothing_and_loads_no_torch(runs: Path, root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    code = (
        "import sys\n"
        "from long1k.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'transformers', 'trl', 'altair'} & set(sys.modules)\n"
        "print('heavy imports: none')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "quickstart", "--smoke", "--runs", str(runs), *smaller()],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "heavy imports: none" in done.stdout
    steps = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(steps) > 15
    assert all(line.endswith("(kept)") for line in steps)
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"recipe.json"}


@pytest.mark.slow
def test_analyzed_again_from_its_scores_a_run_finds_the_same_in_the_same_order(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "smoke" / "quickstart"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / "analyze")
    done = long1k("analyze", str(copy))
    assert done.returncode == 0, done.stderr
    made, again = ((folder / "analyze" / "findings.json").read_bytes() for folder in (root, copy))
    assert [one["benchmark"] for one in json.loads(made)["benchmarks"]] == ["single", "after-7"]
    assert made == again


@pytest.mark.slow
def test_a_changed_recipe_makes_again_only_what_depends_on_it(runs: Path, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "smoke" / "quickstart"
    shutil.copytree(root, copy)
    before = digests(copy)
    done = long1k(
        "run", "quickstart", "--smoke", "--runs", str(tmp_path), *smaller(), "--set", "benchmarks.after-7.count=11"
    )
    assert done.returncode == 0, done.stderr
    after = digests(copy)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed
    assert all("after-7" in name or name in ("analyze", "report") for name in changed)


@pytest.mark.slow
def test_kill_at_random_moments_then_resume_gives_the_same_digests(tmp_path: Path) -> None:
    sets = [part for text in (*SMALLER, "arms.0.targets=[32, 131]") for part in ("--set", text)]
    # Controls of rungs that this ladder does not have are dropped with them.
    sets += ["--set", "arms.1.of=L131", "--set", "arms.2={kind: untrained, name: plain}", "--set", "arms.3.of=L131"]
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "kill_and_resume.py"), "--smoke", "--kills", "3", "--seed", "5", "--by-tables",
         "--work", str(tmp_path / "kills"), *sets],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" finished") == 3, done.stdout  # the runs were killed, not over before
    assert "digests equal" in done.stdout


@pytest.mark.slow
def test_ctrl_c_stops_with_a_word_and_two_runs_do_not_mix(tmp_path: Path) -> None:
    arguments = [
        sys.executable,
        "-m",
        "long1k.cli",
        "run",
        "quickstart",
        "--smoke",
        "--runs",
        str(tmp_path),
        *smaller(),
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    lock = tmp_path / "smoke" / "quickstart" / "base" / "synthesize" / "manifest.json"
    while not lock.exists() and time.time() < deadline:
        time.sleep(0.05)
    second = subprocess.run(arguments, capture_output=True, text=True)
    assert second.returncode == 1
    assert "another run is working" in second.stderr
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_stages_as_commands_on_folders(root: Path, tmp_path: Path) -> None:
    examples, base = root / "arms" / "L131" / "seed-0" / "synthesize", root / "base" / "train"
    done = long1k(
        "train", str(examples), "--model", str(base), "--set", "steps=3", "--set", "learning_rate=1e-3", "--out",
        str(tmp_path / "checkpoint"), "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 steps over" in done.stdout
    done = long1k(
        "predict", str(tmp_path / "checkpoint"), "--benchmark", "micro", "--option", "count=9", "--set",
        "max_new_tokens=24", "--out", str(tmp_path / "predictions"), "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "9 outputs to 9 questions" in done.stdout
    done = long1k("score", str(tmp_path / "predictions"), "--out", str(tmp_path / "scores"))
    assert done.returncode == 0, done.stderr
    assert "of 9 correct" in done.stdout
    for command in ("analyze", "report", "show"):
        done = long1k(command, str(root))
        assert done.returncode == 0, done.stderr
    assert "Verdict" in done.stdout
    done = long1k("show", str(examples), "--tokens")
    assert done.returncode == 0, done.stderr
    assert "‖ trained ‖" in done.stdout

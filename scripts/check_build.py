"""Builds the package, and shows that what is built is whole.

    python scripts/check_build.py [--out dist] [--pip-flags "..."]

The wheel that comes out of the source distribution is the one that comes out of the tree, file by file; every file of
the package is inside; installed into an empty environment, without any extra, its commands run in an empty folder.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COMMANDS = (
    ("--version",),
    ("--help",),
    ("paper",),
    ("plan", "quickstart", "--gpus", "1xH100-80"),
    ("run", "small.yaml", "--workers", "1"),
    ("report", "runs/small", "--out", "page"),
    ("status", "runs/small"),
)
# A study of data alone, from collecting to the page.
RECIPE = """
name: small
tokenizer: package:micro
sources:
  micro: {type: micro, count: 300}
arms:
  - {kind: ladder, targets: [32, 65], samples: 4, num_problems: [1, 2], layout: turns, linkers: micro}
train: null
"""


def run(*command: str, cwd: Path = PROJECT) -> str:
    """Run a command; what it printed, or the end of this program with it."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(
            f"error: {shlex.join(command)} ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done.stdout


def build(out: Path, *kinds: str) -> None:
    """Build with the hatchling that is installed, so that the version is the one of constraints.txt."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *kinds)


def only(folder: Path, pattern: str) -> Path:
    """The one file of that kind."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"error: {len(found)} files {pattern} in {folder}")
    return found[0]


def contents(wheel: Path) -> dict[str, str]:
    """SHA-256 of each file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def package_files() -> dict[str, str]:
    """SHA-256 of each file of the package in the tree, by its place in a wheel."""
    source = PROJECT / "src"
    return {
        str(path.relative_to(source)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((source / "long1k").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def check_contents(wheel: Path, other: Path) -> int:
    """The two wheels are equal and hold the whole package; how many files that is."""
    inside, direct, wanted = contents(wheel), contents(other), package_files()
    for name in sorted(inside.keys() | direct.keys()):
        if inside.get(name) != direct.get(name):
            sys.exit(
                f"error: {name} is not the same in the wheel from the source distribution and in that from the tree"
            )
    for name, digest in wanted.items():
        if inside.get(name) != digest:
            sys.exit(f"error: {name} is not in the wheel as it is in the tree")
    if "long1k/py.typed" not in inside:
        sys.exit("error: the wheel holds no py.typed")
    extra = [name for name in inside if name not in wanted and ".dist-info/" not in name]
    if extra:
        sys.exit(f"error: the wheel holds {extra[0]}, which is no file of the package")
    return len(wanted)


def check_installed(wheel: Path, work: Path, pip_flags: list[str]) -> None:
    """Install into an environment of its own, and run commands that need no extra."""
    venv, empty = work / "venv", work / "empty"
    empty.mkdir()
    (empty / "small.yaml").write_text(RECIPE, encoding="utf-8")
    run("sh", str(PROJECT / "scripts" / "make-venv.sh"), str(venv))
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pip_flags]
    run(*pip, "-c", str(PROJECT / "constraints.txt"), str(wheel))
    for words in COMMANDS:
        printed = run(str(venv / "bin" / "long1k"), *words, cwd=empty)
        print(f"long1k {' '.join(words)}: {len(printed.splitlines())} lines")
    if not (empty / "page" / "report.html").is_file():
        sys.exit("error: report wrote no page")
    code = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'ray') if u.find_spec(n)])"
    if run(str(venv / "bin" / "python"), "-c", code, cwd=empty).strip() != "[]":
        sys.exit("error: an optional package was installed without its extra")
    done = subprocess.run(
        [str(venv / "bin" / "long1k"), "run", "quickstart", "--smoke"], cwd=empty, capture_output=True, text=True
    )
    if done.returncode != 1 or "long1k[train]" not in done.stderr:
        sys.exit(f"error: without the extra train, run does not name it: {done.stderr[-1000:]}")
    print("long1k run without the extra: names it")


def main() -> None:
    """Build, compare, install, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "dist", help="where the built files go")
    parser.add_argument("--pip-flags", default="", help="more flags for pip, in one string")
    options = parser.parse_args()
    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        build(out)  # the source distribution, and from it the wheel
        build(work / "direct", "--wheel")
        wheel, source = only(out, "*.whl"), only(out, "*.tar.gz")
        count = check_contents(wheel, only(work / "direct", "*.whl"))
        print(f"{source.name} ({source.stat().st_size:,} bytes), {wheel.name} ({wheel.stat().st_size:,} bytes)")
        print(f"{count} files of the package, the same from the tree and from the source distribution")
        check_installed(wheel, work, shlex.split(options.pip_flags))


if __name__ == "__main__":
    main()

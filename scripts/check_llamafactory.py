"""Let LLaMA-Factory's own loader read an export and compare its tokens with ours, row by row.

LLaMA-Factory pins other versions than long1k's `train` extra: give it an environment of its own.

    python -m venv lf && lf/bin/pip install torch==2.13.0 llamafactory==0.9.5
    long1k export examples --format llamafactory --out for-llamafactory
    long1k export examples --format tokenized --out tokens
    python scripts/check_llamafactory.py lf/bin/python for-llamafactory tokens TOKENIZER_FOLDER

It ends with 0 if every row was read, none was cut, and each differs from ours by the line feed after the last
end token only (after every trained turn, the line feed is trained there and not here).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import yaml

IGNORED = -100

# Runs inside LLaMA-Factory's environment, in the exported folder.
READER = r"""
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import llamafactory, torch, transformers
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

settings, tokenizer_folder, answer = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
settings |= {"model_name_or_path": tokenizer_folder, "overwrite_cache": True, "report_to": "none"}
model_args, data_args, training_args, _, _ = get_train_args(settings)
tokenizer = load_tokenizer(model_args)["tokenizer"]
template = get_template_and_fix_tokenizer(tokenizer, data_args)
module = get_dataset(template, model_args, data_args, training_args, stage="sft", tokenizer=tokenizer)
rows = module["train_dataset"]
with open(answer, "w") as handle:
    for row in rows:
        handle.write(json.dumps({"input_ids": row["input_ids"], "labels": row["labels"]}) + "\n")
try:
    from llamafactory.extras.env import VERSION
except ImportError:
    VERSION = "unknown"
print(json.dumps({"llamafactory": VERSION, "torch": torch.__version__, "transformers": transformers.__version__,
                  "rows": len(rows), "cutoff_len": data_args.cutoff_len, "template": data_args.template,
                  "learning_rate": training_args.learning_rate, "epochs": training_args.num_train_epochs}))
"""
# Settings that need a GPU or a downloaded model; everything else of train.yaml is parsed as it stands.
ON_A_LAPTOP = {"deepspeed": None, "bf16": False, "flash_attn": "auto"}


def read_with_llamafactory(
    python: str, folder: Path, tokenizer: Path
) -> tuple[dict[str, object], list[dict[str, list[int]]]]:
    """What LLaMA-Factory says of itself, and its rows (input_ids, labels)."""
    settings = yaml.safe_load((folder / "train.yaml").read_text()) | ON_A_LAPTOP
    settings = {key: value for key, value in settings.items() if value is not None}
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "rows.jsonl"
        settings["output_dir"] = scratch
        command = [python, "-c", READER, json.dumps(settings), str(tokenizer.resolve()), str(answer)]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            sys.exit(f"LLaMA-Factory failed:\n{ran.stderr[-4000:]}")
        rows = [json.loads(line) for line in answer.read_text().splitlines()]
    return json.loads(ran.stdout.strip().splitlines()[-1]), rows


def compare(theirs: list[dict[str, list[int]]], ours: list[dict[str, list[int]]], feed: list[int]) -> dict[str, int]:
    """How rows differ; ``feed`` are the ids of a line feed."""
    found = {"rows": len(ours), "equal": 0, "line_feed": 0, "cut": 0, "other": 0, "labels_other": 0}
    # Several files are read in whatever order the folder lists them.
    pairs = zip(sorted(ours, key=_ids), sorted(theirs, key=_ids), strict=True)
    for mine, other in pairs:
        size = len(mine["input_ids"])
        if other["input_ids"] == mine["input_ids"]:
            found["equal"] += 1
        elif other["input_ids"] == mine["input_ids"] + feed:
            found["line_feed"] += 1
        elif len(other["input_ids"]) < size:
            found["cut"] += 1
        else:
            found["other"] += 1
        # They also train the line feed after each trained turn; nothing else may differ.
        wrong = 0
        for at, (label, mask) in enumerate(zip(mine["labels"], other["labels"], strict=False)):
            after_end = at > 0 and mine["labels"][at - 1] != IGNORED and label == IGNORED
            wrong += label != mask and not (after_end and mask == feed[0])
        found["labels_other"] += wrong > 0
    return found


def _ids(row: dict[str, list[int]]) -> list[int]:
    return row["input_ids"]


def main() -> None:
    """Read, compare, print."""
    python, folder, tokens, tokenizer = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    about, theirs = read_with_llamafactory(python, folder, tokenizer)
    ours = [row for path in sorted(tokens.glob("data-*.parquet")) for row in pq.read_table(path).to_pylist()]
    print(json.dumps(about))
    if len(theirs) != len(ours):
        sys.exit(f"LLaMA-Factory read {len(theirs):,} rows of {len(ours):,}")
    from long1k.tokens import load_tokenizer

    found = compare(theirs, ours, load_tokenizer(str(tokenizer)).encode("\n"))
    print(json.dumps(found))
    longest = max(len(row["input_ids"]) for row in theirs)
    print(f"longest row {longest:,} tokens, cutoff_len {about['cutoff_len']:,}")
    sys.exit(0 if found["cut"] == found["other"] == found["labels_other"] == 0 else 1)


if __name__ == "__main__":
    main()

"""airtune against TRL's SFTTrainer: the same model, samples, order, seed, effective batch and first weights.

``python benchmarks/train_vs_trl.py [--quick] [--json FILE]``; needs ``benchmarks/requirements.txt`` beside airtune.

The sides train alternately (airtune, TRL, airtune, TRL), each in a process of its own, one at a time. A side's time is
the training loop's, all steps, from the first batch's pictures to the last update; airtune's includes filling its
feature cache. ``--reference`` compares losses with a plain padded loop instead, for the first 20 steps.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from training_comparison.case import DATA, Case

HERE = Path(__file__).resolve().parent
PEER = "trl 1.16.0"


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="airtune-comparison-") as folder:
        rows = [_row(case, Path(folder) / str(number), options) for number, case in enumerate(_cases(options))]
    _print(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="short texts, small pictures, two steps: does it work?")
    parser.add_argument("--data", choices=tuple(DATA), action="append", help="only these samples; may be repeated")
    parser.add_argument("--epochs", type=int, action="append", help="default: 1 and 20")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of a run")
    parser.add_argument("--batch", type=int, default=8, help="samples of a step")
    parser.add_argument("--times", type=int, default=2, help="runs of each side")
    parser.add_argument("--model", default="qwen3vl-30m", help="see training_comparison/models.py")
    parser.add_argument("--mode", choices=("LoRA", "SFT"), default="LoRA")
    parser.add_argument("--quantization", choices=("", "NF4"), default="")
    parser.add_argument("--precision", choices=("Float32", "BFloat16"), default="Float32")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> list[Case]:
    small = {"side": 128, "system_tokens": 60} if options.quick else {}
    return [
        Case(
            data=data,
            epochs=epochs,
            steps=max(2, epochs) if options.quick else max(options.steps, epochs),
            batch=options.batch,
            model=options.model,
            mode=options.mode,
            quantization=options.quantization,
            precision=options.precision,
            **small,
        )
        for data in options.data or DATA
        for epochs in options.epochs or ((1, 2) if options.quick else (1, 20))
    ]


def _row(case: Case, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table: both sides, alternately."""
    folder.mkdir()
    what = case.write(folder / "case.json")
    run_uri = _child("material", what, folder / "made").splitlines()[-1]
    ours, theirs = [], []
    for number in range(options.times):
        notes, out = folder / f"airtune-{number}.json", folder / f"trl-{number}.json"
        again = _copy(run_uri, folder / "made" / f"store-{number}")
        _child("airtune_side", again, notes)
        _child("trl_side", again, notes, out)
        ours.append(json.loads(notes.read_text(encoding="utf-8")))
        theirs.append(json.loads(out.read_text(encoding="utf-8")))
    row = _compared(case, ours, theirs)
    print(_line(row), flush=True)
    return row


def _copy(run_uri: str, store: Path) -> str:
    """A run directory that nobody has trained in."""
    made = Path(run_uri.removeprefix("file://"))
    shutil.copytree(made.parents[1], store)
    return (store / made.parent.name / made.name).as_uri()


def _child(module: str, *arguments: object) -> str:
    """Runs one side in a process of its own; returns what it printed."""
    paths = [str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"training_comparison.{module}", *map(str, arguments)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{module} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def _compared(case: Case, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of both sides over their runs."""

    def speed(side: list[dict[str, Any]]) -> float:
        return statistics.median(case.steps * case.batch / sum(run["seconds"]) for run in side)

    def per(side: list[dict[str, Any]], part: str) -> int:
        return round(side[0][f"{part}_tokens"] / (case.steps * case.batch))

    differences = [abs(a - b) for a, b in zip(ours[0]["losses"], theirs[0]["losses"], strict=True)]
    return {
        "data": case.data,
        "epochs": case.epochs,
        "model": case.model,
        "device": ours[0]["device"],
        "airtune_samples_per_second": round(speed(ours), 4),
        "peer": PEER,
        "peer_samples_per_second": round(speed(theirs), 4),
        "speedup": round(speed(ours) / speed(theirs), 3),
        "airtune_peak_bytes": max(run["peak_bytes"] for run in ours),
        "peer_peak_bytes": max(run["peak_bytes"] for run in theirs),
        "max_loss_difference": max(differences),
        "steps": case.steps,
        "batch": case.batch,
        "runs": len(ours),
        "mode": " ".join(filter(None, (case.mode, case.quantization, case.precision))),
        "airtune_tokens_per_sample": per(ours, "language"),
        "peer_tokens_per_sample": per(theirs, "language"),
        "airtune_patches_per_sample": per(ours, "vision"),
        "peer_patches_per_sample": per(theirs, "vision"),
        "airtune_seconds_before": round(statistics.median(run["before_seconds"] for run in ours), 2),
        "peer_seconds_before": round(statistics.median(run["before_seconds"] for run in theirs), 2),
        "threads": ours[0]["threads"],
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['data']:17} {row['epochs']:6} {row['airtune_samples_per_second']:9.3f} "
        f"{row['peer_samples_per_second']:9.3f} {row['speedup']:7.2f}x "
        f"{row['airtune_tokens_per_sample']:7} {row['peer_tokens_per_sample']:7} "
        f"{row['airtune_patches_per_sample']:7} {row['peer_patches_per_sample']:7} "
        f"{row['airtune_peak_bytes'] / 2**20:8.0f} {row['peer_peak_bytes'] / 2**20:8.0f} "
        f"{row['max_loss_difference']:9.1e}"
    )


def _print(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    print(
        f"\n{first['model']}, {first['mode']}, {first['device']}, {first['threads']} threads, against {first['peer']}\n"
        f"{'':24} {'samples a second':>19} {'':8} {'tokens/sample':>15} {'patches/sample':>15} {'peak MiB':>17}\n"
        f"{'data':17} {'epochs':>6} {'airtune':>9} {'peer':>9} {'faster':>8} "
        f"{'airtune':>7} {'peer':>7} {'airtune':>7} {'peer':>7} {'airtune':>8} {'peer':>8} {'loss diff':>9}"
    )
    for row in rows:
        print(_line(row))


if __name__ == "__main__":
    main()

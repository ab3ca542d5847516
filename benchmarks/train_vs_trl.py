"""airtune against TRL's SFTTrainer: the same model, samples, order, seed, effective batch and first weights.

``python benchmarks/train_vs_trl.py [--quick] [--json FILE]``; needs ``benchmarks/requirements.txt`` beside airtune.

The sides train alternately (airtune, TRL, airtune, TRL), each in a process of its own, one at a time. A side's time
runs from the trainer that is made to the last update, so airtune's has its probe and the filling of its feature cache
in it. ``--reference`` holds airtune's losses against those of a plain padded loop instead: packed and padded, with the
feature cache and without.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from training_comparison.case import DATA, RUN_ID, Case
from training_comparison.processes import run_module
from training_comparison.variants import VARIANTS, Variant

PEER = "trl 1.16.0"


def main() -> None:
    options = _options()
    rows = []
    for case in _cases(options):
        with tempfile.TemporaryDirectory(prefix="airtune-comparison-") as folder:
            compare = _against_reference if options.reference else _against_trl
            rows += compare(case, Bench(case, Path(folder)), options.times)
    (_print_reference if options.reference else _print)(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="short texts, small pictures, few steps: does it work?")
    parser.add_argument("--reference", action="store_true", help="compare losses with a plain padded loop instead")
    parser.add_argument("--data", choices=tuple(DATA), action="append", help="only these samples; may be repeated")
    parser.add_argument("--epochs", type=int, action="append", help="default: 1 and 20; for the reference 2")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of a run")
    parser.add_argument("--batch", type=int, default=8, help="samples of a step")
    parser.add_argument("--times", type=int, default=2, help="runs of each side")
    parser.add_argument("--model", default="qwen3vl-30m", help="see training_comparison/models.py")
    parser.add_argument("--mode", choices=("LoRA", "SFT"), default="LoRA")
    parser.add_argument("--quantization", choices=("", "NF4"), default="")
    parser.add_argument("--precision", choices=("Float32", "BFloat16"), default="Float32")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> list[Case]:
    several = (1, 2) if options.quick else (1, 20)
    cases = [
        Case(
            data=data,
            epochs=epochs,
            steps=max(2, epochs) if options.quick else max(options.steps, epochs),
            batch=options.batch,
            model=options.model,
            mode=options.mode,
            quantization=options.quantization,
            precision=options.precision,
        )
        for data in options.data or (tuple(DATA)[:1] if options.reference else tuple(DATA))
        for epochs in options.epochs or ((2,) if options.reference else several)
    ]
    return [replace(case, side=128, system_tokens=60) for case in cases] if options.quick else cases


class Bench:
    """The processes of one case.

    Args:
        case: what is trained.
        folder: where everything is written.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self._folder = folder
        self._document = case.write(folder / "case.json")
        self._made = 0
        run_module("training_comparison.material", self._document, folder / "made")

    def airtune(self, variant: Variant) -> Path:
        """Trains with airtune; returns the path of its notes."""
        home = self._folder / f"home-{self._made}"  # no run finds what the one before has kept
        surroundings = variant.environment(home) | {"AIRTUNE_HOME": str(home)}
        return self._trained("airtune_side", surroundings=surroundings)

    def other(self, side: str, notes: Path) -> Path:
        """Trains with another side what airtune's notes say; returns the path of its result."""
        return self._trained(side, notes)

    def _trained(self, side: str, *notes: Path, surroundings: Mapping[str, str] | None = None) -> Path:
        """Trains in a run directory that nobody has trained in."""
        store, out = self._folder / f"store-{self._made}", self._folder / f"result-{self._made}.json"
        self._made += 1
        shutil.copytree(self._folder / "made" / "store", store)
        uri = (store / "runs" / RUN_ID).as_uri()
        run_module(f"training_comparison.{side}", uri, *notes, out, surroundings=surroundings)
        return out


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _against_trl(case: Case, bench: Bench, times: int) -> list[dict[str, Any]]:
    """One row of the table: both sides, alternately."""
    ours, theirs = [], []
    for _ in range(times):
        notes = bench.airtune(VARIANTS[0])
        ours.append(_read(notes))
        theirs.append(_read(bench.other("trl_side", notes)))
    row = _compared(case, ours, theirs)
    print(_line(row), flush=True)
    return [row]


def _against_reference(case: Case, bench: Bench, times: int) -> list[dict[str, Any]]:
    """One row a variant: how far its losses are from the plain loop's."""
    del times
    noted = [bench.airtune(variant) for variant in VARIANTS]
    runs = [_read(path) for path in noted]
    if any(run["order"] != runs[0]["order"] for run in runs):
        raise SystemExit("the variants do not meet the samples in one order: their losses cannot be compared")
    plain = _read(bench.other("reference", noted[0]))
    return [
        {
            "data": case.data,
            "epochs": case.epochs,
            "model": case.model,
            "device": run["device"],
            "steps": case.steps,
            "batch": case.batch,
            "variant": str(variant),
            "airtune_samples_per_second": round(case.steps * case.batch / sum(run["seconds"]), 4),
            "peer": "plain padded loop",
            "peer_samples_per_second": round(case.steps * case.batch / sum(plain["seconds"]), 4),
            "max_loss_difference": _difference(run, plain),
            "losses": [run["losses"][0], run["losses"][-1]],
        }
        for variant, run in zip(VARIANTS, runs, strict=True)
    ]


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    return max(abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True))


def _compared(case: Case, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of both sides over their runs."""
    samples = case.steps * case.batch

    def speed(side: list[dict[str, Any]]) -> float:
        return statistics.median(samples / sum(run["seconds"]) for run in side)

    def per_sample(side: list[dict[str, Any]], part: str) -> int:
        return round(side[0][f"{part}_tokens"] / samples)

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
        "max_loss_difference": _difference(ours[0], theirs[0]),
        "steps": case.steps,
        "batch": case.batch,
        "runs": len(ours),
        "mode": " ".join(filter(None, (case.mode, case.quantization, case.precision))),
        "airtune_tokens_per_sample": per_sample(ours, "language"),
        "peer_tokens_per_sample": per_sample(theirs, "language"),
        "airtune_patches_per_sample": per_sample(ours, "vision"),
        "peer_patches_per_sample": per_sample(theirs, "vision"),
        "airtune_median_step_seconds": round(statistics.median(ours[0]["seconds"]), 3),
        "peer_median_step_seconds": round(statistics.median(theirs[0]["seconds"]), 3),
        "airtune_flops_per_second": _rate(ours),
        "peer_flops_per_second": _rate(theirs),
        "matrix_flops_per_second": round(max(run["matrix_flops_per_second"] for run in (*ours, *theirs))),
        "threads": ours[0]["threads"],
    }


def _rate(side: list[dict[str, Any]]) -> int:
    """Operations a second of the matrices of the model, as the median of a side's runs."""
    return round(statistics.median(run["flops"] / sum(run["seconds"]) for run in side))


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
    used = (max(row[f"{side}_flops_per_second"] for row in rows) for side in ("airtune", "peer"))
    ours, theirs = (f"{100 * rate / max(row['matrix_flops_per_second'] for row in rows):.0f} %" for rate in used)
    print(f"of the rate at which this device multiplies matrices: {ours} at best, the peer {theirs}")


def _print_reference(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    print(f"{first['model']}, {first['data']}, {first['steps']} steps of {first['batch']}, against a plain padded loop")
    print(f"{'':28} {'samples a second':>16} {'largest difference of a loss':>30}")
    for row in rows:
        print(f"{row['variant']:28} {row['airtune_samples_per_second']:16.3f} {row['max_loss_difference']:30.1e}")


if __name__ == "__main__":
    main()

"""The predicted peak of memory against the measured one, for many forms of training.

``python benchmarks/memory_estimate.py [--quick] [--json FILE] [--model NAME]``

Each line is a run of its own (on a GPU in a process of its own): a randomly initialised model, drawn pictures,
airtune's stages ``validate``, ``resolve`` (which predicts) and ``train`` (which is measured). On a GPU the measured
peak is ``torch.cuda.max_memory_allocated`` over the training loop, so the prediction is compared without the CUDA
context and fragments. Without a GPU it is the same quantity of torch's CPU allocator: weights when the loop begins, and
the highest sum of everything allocated since. What a CPU shows says nothing of the overhead on a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training_comparison.processes import run_module

FORMS: dict[str, dict[str, Any]] = {
    "LoRA Float32": {"mode": "LoRA", "precision": "Float32"},
    "LoRA BFloat16": {"mode": "LoRA", "precision": "BFloat16"},
    "LoRA NF4 Float32": {"mode": "LoRA", "precision": "Float32", "quantization": "NF4"},
    "LoRA NF4 BFloat16": {"mode": "LoRA", "precision": "BFloat16", "quantization": "NF4"},
    "SFT Float32": {"mode": "SFT", "precision": "Float32"},
    "SFT BFloat16": {"mode": "SFT", "precision": "BFloat16"},
}
ON_GPU = {
    "qwen25vl-7b": ("LoRA BFloat16", "LoRA NF4 BFloat16"),
    "qwen3vl-8b": ("LoRA BFloat16", "LoRA NF4 BFloat16"),
    "internvl35-8b": ("LoRA BFloat16", "LoRA NF4 BFloat16"),
    "qwen3vl-4b": ("SFT BFloat16",),
}
"""Real sizes, each in the forms in which it fits one large GPU."""


def main() -> None:
    options = _options()
    gpu = (
        shutil.which("nvidia-smi") is not None
        and subprocess.run(["nvidia-smi"], capture_output=True, check=False).returncode == 0
    )
    cases = list(_cases(options, gpu))
    together = 1 if gpu else len(cases)
    rows = []
    with tempfile.TemporaryDirectory(prefix="airtune-memory-") as folder:
        columns = f"{'batch':>6}{'ckpt':>5}{'tokens':>8}{'predicted MB':>14}{'measured MB':>13}{'error':>8}"
        print(f"{'model':<15}{'form':<19}{columns}")
        for number in range(0, len(cases), together):
            rows += _rows(cases[number : number + together], Path(folder), number)
        for row in rows:
            print(
                f"{row['model']:<15}{row['form']:<19}{row['batch']:>6}{'on' if row['checkpointing'] else 'off':>5}"
                f"{row['tokens']:>8}{row['predicted_bytes'] / 1e6:>14.1f}{row['measured_bytes'] / 1e6:>13.1f}"
                f"{row['error']:>+8.1%}",
                flush=True,
            )
    worst = max(rows, key=lambda row: abs(row["error"]))
    print(f"largest error {worst['error']:+.1%} of {len(rows)} runs on {rows[0]['device']}")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="one batch size and short rows: does it work?")
    parser.add_argument("--model", action="append", help="default: real sizes on a GPU, else qwen3vl-30m")
    parser.add_argument("--form", choices=tuple(FORMS), action="append", help="only these; may be repeated")
    parser.add_argument("--batch", type=int, action="append", help="default: 2 and 8")
    parser.add_argument("--dropout", type=float, default=0.05, help="of the adapters' inputs")
    return parser.parse_args()


def _cases(options: argparse.Namespace, gpu: bool) -> Iterator[dict[str, Any]]:
    for model in options.model or (list(ON_GPU) if gpu else ["qwen3vl-30m"]):
        forms = options.form or ON_GPU.get(model, tuple(FORMS))
        batches = options.batch or ([2] if options.quick else [2, 8])
        for form, batch, checkpointing in itertools.product(forms, batches, (False, True)):
            yield {
                "model": model,
                "form": form,
                "batch": batch,
                "checkpointing": checkpointing,
                "dropout": options.dropout,
                "side": 128 if options.quick else 1024 if gpu else 256,
                "system_tokens": 60 if options.quick else 800 if gpu else 200,
                **FORMS[form],
            }


def _rows(cases: list[dict[str, Any]], folder: Path, number: int) -> list[dict[str, Any]]:
    """Predicts and measures runs in a process of their own; base models and data are kept between processes."""
    what, out = folder / f"cases-{number}.json", folder / f"rows-{number}.json"
    what.write_text(json.dumps(cases), encoding="utf-8")
    home = {"AIRTUNE_HOME": str(folder / f"home-{number}")}
    run_module("memory_comparison.side", what, folder, out, surroundings=home)
    rows = json.loads(out.read_text(encoding="utf-8"))
    return [{**row, "error": row["predicted_bytes"] / row["measured_bytes"] - 1} for row in rows]


if __name__ == "__main__":
    main()

"""What checking a dataset costs: annotation rows a second through ``airtune data check``, and its memory at any size.

``python benchmarks/data_check.py [--rows N ...] [--formats F ...] [--peers] [--json FILE]``

Datasets are drawn with few pictures and many rows. Each line is the whole command in a process of its own on warm
files: start, reading, every check, Great Expectations and the verdict. CPU-seconds and memory are those of the process
and of all that it started; memory is the highest sum of their resident sets, looked at twenty times a second. Beside it
stands the machine's limit: ``orjson`` that parses every line in as many processes as there are cores, and does nothing
else; and with ``--peers`` ``datasets.load_dataset`` of the same file, which is what TRL and LLaMA-Factory begin with.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psutil
from PIL import Image

CORES = len(os.sched_getaffinity(0))
PICTURES = 200
BOXES = 8
WORDS = ["red", "blue", "green", "small", "large", "box", "car", "tree", "person", "dog", "cat", "street", "shop"]

LOAD = """
import sys
from datasets import load_dataset
files = {"train": sys.argv[1]}
found = load_dataset("json", data_files=files, split="train")
print(len(found))
"""


def draw_pictures(folder: Path, count: int) -> list[str]:
    """PNGs of noise; of more than 200 the others are links to them."""
    rng = random.Random(0)
    folder.mkdir(parents=True)
    names = [f"{number:06}.png" for number in range(count)]
    for number, name in enumerate(names):
        if number < PICTURES:
            Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3)).save(folder / name)
        else:
            os.link(folder / names[number % PICTURES], folder / name)
    return names


def draw_chat(root: Path, rows: int) -> None:
    """One conversation a line; a tenth of them in the validation split."""
    rng = random.Random(1)
    names = draw_pictures(root / "images", PICTURES)
    with (root / "train.jsonl").open("w") as train, (root / "validation.jsonl").open("w") as validation:
        for row in range(rows):
            messages = [
                {"role": "user", "content": f"<image>How many {' '.join(rng.choices(WORDS, k=6))} in part {row}?"},
                {"role": "assistant", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, 8)))},
            ]
            line = {"messages": messages, "images": [f"images/{names[row % PICTURES]}"]}
            print(json.dumps(line), file=validation if row % PICTURES >= PICTURES * 0.9 else train)


def draw_vi(root: Path, rows: int) -> None:
    """Four questions a line, the lines of a picture in one file."""
    rng = random.Random(1)
    names = draw_pictures(root / "dump/images", PICTURES)
    (root / "dump/annotations").mkdir()
    for number, name in enumerate(names):
        with (root / f"dump/annotations/{number:06}.jsonl").open("w") as file:
            for begin in range(0, rows // PICTURES, 4):
                asked = [
                    {
                        "order": order,
                        "question": f"How many {' '.join(rng.choices(WORDS, k=6))} in part {begin + order}?",
                        "answer": " ".join(rng.choices(WORDS, k=rng.randint(1, 8))),
                    }
                    for order in range(1, 5)
                ]
                asset = {"type": "Image", "filename": name, "width": 64, "height": 64}
                contents = {"type": "Vqa", "interactions": asked}
                print(json.dumps({"id": str(begin), "asset": asset, "contents": contents}), file=file)


def draw_coco(root: Path, rows: int) -> None:
    """Eight boxes a picture, in one document."""
    rng = random.Random(1)
    names = draw_pictures(root / "images", rows // BOXES)
    boxes = [
        {
            "id": row + 1,
            "image_id": row // BOXES + 1,
            "category_id": rng.randint(1, 9),
            "bbox": [rng.randint(0, 40), rng.randint(0, 40), rng.randint(2, 20), rng.randint(2, 20)],
        }
        for row in range(rows)
    ]
    document = {
        "images": [
            {"id": number, "file_name": name, "width": 64, "height": 64} for number, name in enumerate(names, start=1)
        ],
        "categories": [{"id": number, "name": WORDS[number]} for number in range(1, 10)],
        "annotations": boxes,
    }
    (root / "instances.json").write_bytes(orjson.dumps(document))


DRAWN = {
    "chat-jsonl": (draw_chat, "vqa"),
    "vi": (draw_vi, "vqa"),
    "coco": (draw_coco, "phrase-grounding"),
}


def measure(command: list[str], **variables: str) -> dict[str, Any]:
    """Run a command: its seconds, CPU-seconds, highest memory in MB, and what it printed."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, env={**os.environ, **variables})
        process = psutil.Process(child.pid)
        most, status, usage = 0, 0, None
        while usage is None:
            try:
                family = [process, *process.children(recursive=True)]
                most = max(most, sum(each.memory_info().rss for each in family))
            except psutil.Error:
                pass  # one of them has just ended
            time.sleep(0.05)
            ended, status, found = os.wait4(child.pid, os.WNOHANG)
            usage = found if ended else None
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode()
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}: {printed[-2000:]}")
    return {
        "wall_s": round(time.perf_counter() - begun, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(most / 1e6),
        "printed": printed,
    }


def check(root: Path, name: str, home: Path) -> dict[str, Any]:
    """``airtune data check``."""
    arguments = ["data", "check", str(root), "--format", name, "--task", DRAWN[name][1], "--json"]
    found = measure([sys.executable, "-m", "airtune.cli", *arguments], AIRTUNE_HOME=str(home))
    told = json.loads(found.pop("printed"))
    return found | {"samples": told["samples"], "set_aside": told["set_aside"]}


def parse_lines(path: Path) -> int:
    """Every line of a file, and nothing else."""
    return sum(1 for line in path.read_bytes().splitlines() if orjson.loads(line))


def limit(root: Path) -> float:
    """Seconds in which this machine parses the annotations."""
    files = [path for path in root.rglob("*.json*") if path.is_file()]
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(parse_lines, files[:CORES]))
        begun = time.perf_counter()
        list(pool.map(parse_lines, files))
        return time.perf_counter() - begun


def one(name: str, rows: int, folder: Path, *, peers: bool) -> dict[str, Any]:
    """One line of the table."""
    root = folder / f"{name}-{rows}"
    DRAWN[name][0](root, rows)
    size = sum(path.stat().st_size for path in root.rglob("*.json*"))
    time.sleep(2.5)  # files that were written within two seconds are not taken for unchanged
    home = folder / "home"
    first, second = check(root, name, home), check(root, name, home)
    line = {
        "format": name,
        "rows": rows,
        "bytes": size,
        "rows_per_s": round(rows / first["wall_s"]),
        "cpu_us_per_row": round(first["cpu_s"] / rows * 1e6, 1),
        "limit_rows_per_s": round(rows / limit(root)),
        **{key: first[key] for key in ("wall_s", "cpu_s", "peak_mb", "samples", "set_aside")},
        "second": {key: second[key] for key in ("wall_s", "cpu_s", "peak_mb")},
    }
    if peers and name == "chat-jsonl":
        path = str(root / "train.jsonl")
        found = measure([sys.executable, "-c", LOAD, path], HF_HOME=str(folder / "hf"), HF_HUB_OFFLINE="1")
        loaded = int(found.pop("printed").split()[-1])
        line["load_dataset"] = found | {"rows": loaded, "rows_per_s": round(loaded / found["wall_s"])}
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=list(DRAWN), default=["chat-jsonl", "vi"])
    parser.add_argument("--peers", action="store_true", help="load_dataset, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machines")
    options = parser.parse_args()
    lines = []
    print(
        f"{'':22} {'rows/s':>8} {'CPU us/row':>10} {'wall s':>7} {'peak MB':>8} {'second s':>8} {'parsing alone':>14}"
    )
    for name in options.formats:
        for rows in options.rows:
            with tempfile.TemporaryDirectory(prefix="airtune-benchmark-") as folder:
                line = one(name, rows, Path(folder), peers=options.peers)
            lines.append(line)
            print(
                f"{name:12} {rows:9,} {line['rows_per_s']:8,} {line['cpu_us_per_row']:10} {line['wall_s']:7} "
                f"{line['peak_mb']:8,} {line['second']['wall_s']:8} {line['limit_rows_per_s']:14,}",
                flush=True,
            )
            if "load_dataset" in line:
                peer = line["load_dataset"]
                print(
                    f"{'load_dataset':12} {peer['rows']:9,} {peer['rows_per_s']:8,} "
                    f"{peer['cpu_s'] / peer['rows'] * 1e6:10.1f} {peer['wall_s']:7} {peer['peak_mb']:8,}"
                )
    if options.json is not None:
        options.json.write_text(json.dumps({"cores": CORES, "lines": lines}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What looking at a dataset's images costs: against Pillow alone, by headers alone, and a second time.

``python benchmarks/image_check.py [--photographs N] [--thumbnails N] [--json FILE]``

Two folders are drawn: photographs (1600 x 1200, JPEG, 0.3 MB each) and thumbnails (96 x 96, PNG). Each measurement is a
process of its own on warm files. The machine's limit stands beside each: Pillow that opens and decodes every file in as
many processes as there are cores, and does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

CORES = len(os.sched_getaffinity(0))
SETTLED_S = 2.5
"""Files that were written later than two seconds ago are not taken for unchanged."""


def draw(folder: Path, count: int, size: tuple[int, int], kind: str) -> None:
    """Pictures that compress like photographs: noise at several scales, drawn once and shifted for each file."""
    rng = random.Random(0)
    folder.mkdir(parents=True)
    canvas = Image.new("RGB", (size[0] * 2, size[1] * 2))
    for scale in (256, 64, 16, 4, 1):
        grid = (max(2, canvas.width // scale), max(2, canvas.height // scale))
        small = Image.merge("RGB", [Image.effect_noise(grid, 90) for _ in "RGB"])
        canvas = Image.blend(canvas, small.resize(canvas.size, Image.Resampling.BICUBIC), 0.35)
    for number in range(count):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        canvas.crop((x, y, x + size[0], y + size[1])).save(folder / f"{number:06}.{kind}", quality=85)


def decode_alone(path: str) -> int:
    """Pillow, and nothing else."""
    with Image.open(path) as image:
        image.load()
        return image.width


def ready() -> None:
    """Imports what is needed, before the clock runs."""
    import airtune.datasets.pictures.inspection
    from airtune.datasets.pictures.signature import signature_of

    assert airtune.datasets.pictures.inspection
    signature_of(Image.effect_noise((64, 64), 90).convert("RGB"))


def cpu_seconds() -> float:
    """Of this process and of its children that have ended: unlike seconds, they do not grow with other work beside."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def measure(what: str, folder: Path) -> float:
    """Seconds for every file of the folder."""
    from airtune.datasets.crew import Crew
    from airtune.datasets.pictures.images import Images
    from airtune.datasets.pictures.inspection import inspect

    paths = sorted(folder.iterdir())
    keys = [path.name for path in paths]
    if what == "pillow":
        with ProcessPoolExecutor(CORES) as pool:
            list(pool.map(decode_alone, map(str, paths[: 4 * CORES])))  # its processes are there before the clock runs
            begun = time.perf_counter()
            list(pool.map(decode_alone, map(str, paths), chunksize=16))
            return time.perf_counter() - begun
    images = Images(folder.as_uri())
    if what == "headers":
        images.header(keys[0])
        begun = time.perf_counter()
        for key in keys:
            images.header(key)
        return time.perf_counter() - begun
    with Crew() as crew:
        begun = time.perf_counter()
        found = inspect(images, keys, crew=crew)
        seconds = time.perf_counter() - begun
    assert len(found) == len(keys)
    return seconds


def in_a_process(what: str, folder: Path, home: Path) -> dict[str, float]:
    """One measurement."""
    words = [sys.executable, __file__, "--measure", what, str(folder)]
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env=os.environ | {"AIRTUNE_HOME": str(home)}
    )
    return dict(json.loads(done.stdout))


def rows_of(name: str, folder: Path, home: Path) -> dict[str, object]:
    """All measurements on one folder."""
    count = len(list(folder.iterdir()))
    size = sum(path.stat().st_size for path in folder.iterdir())
    in_a_process("pillow", folder, home)  # warms the files
    pillow = in_a_process("pillow", folder, home)
    first = in_a_process("inspect", folder, home)
    second = in_a_process("inspect", folder, home)
    headers = in_a_process("headers", folder, home)
    return {
        "images": name,
        "count": count,
        "megabytes": round(size / 1e6, 1),
        "pillow_per_s": round(count / pillow["seconds"], 1),
        "inspect_per_s": round(count / first["seconds"], 1),
        "of_pillow": round(pillow["seconds"] / first["seconds"], 3),
        "of_pillow_cpu": round(pillow["cpu"] / first["cpu"], 3),
        "second_per_s": round(count / second["seconds"], 1),
        "second_faster": round(first["seconds"] / second["seconds"], 1),
        "headers_per_s": round(count / headers["seconds"], 1),
        "peak_mib": round(first["peak_mib"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photographs", type=int, default=400)
    parser.add_argument("--thumbnails", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        ready()
        before = cpu_seconds()
        seconds = measure(given.measure[0], Path(given.measure[1]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu_seconds() - before, "peak_mib": peak}))
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name, count, size, kind in (
            ("photographs", given.photographs, (1600, 1200), "jpg"),
            ("thumbnails", given.thumbnails, (96, 96), "png"),
        ):
            folder = Path(place) / name
            draw(folder, count, size, kind)
            time.sleep(SETTLED_S)
            rows.append(rows_of(name, folder, Path(place) / f"home-{name}"))
            print(rows[-1], flush=True)
    titles = list(rows[0])
    print(f"\n{CORES} cores\n\n| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for row in rows:
        print("| " + " | ".join(str(row[title]) for title in titles) + " |")
    if given.json:
        given.json.write_text(json.dumps({"cores": CORES, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

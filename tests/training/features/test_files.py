"""A picture's features on disk: whole and right, or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.training

PICTURE = "ab" * 32


def features(seed: int = 0, rows: int = 16) -> Any:
    import torch

    from airtune.modeling.encoding import Picture
    from airtune.modeling.vision_features import DEEPSTACK, POOLED

    torch.manual_seed(seed)
    vision = {
        POOLED: torch.randn(rows, 8).bfloat16(),
        DEEPSTACK: torch.randn(2, rows, 8),
        "image_grid_thw": torch.tensor([[1, 8, 8]]),
    }
    return Picture({"input_ids": torch.arange(rows), "mm_token_type_ids": torch.ones(rows, dtype=torch.int32)}, vision)


def opened(folder: Path) -> Any:
    from airtune.training.features.files import FeatureFiles

    files = FeatureFiles(folder)
    files.prepare({"layout": 1})
    return files


def same(left: Any, right: Any) -> bool:
    import torch

    pairs = ((left.tokens, right.tokens), (left.vision, right.vision))
    return all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)
        for a, b in pairs
    )


def test_what_was_kept_comes_back_bit_for_bit_and_mapped(tmp_path: Path) -> None:
    files = opened(tmp_path)
    assert files.get(PICTURE) is None
    files.put(PICTURE, features())
    kept = opened(tmp_path).get(PICTURE)
    assert same(kept, features())
    mapped = Path("/proc/self/maps").read_text()
    assert str(files.path(PICTURE)) in mapped, "read by memory mapping, not into memory"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-17] ^= 1
    path.write_bytes(bytes(content))


def retold(path: Path) -> None:
    content = path.read_bytes()
    assert b'"shape":[2,16,8]' in content
    path.write_bytes(content.replace(b'"shape":[2,16,8]', b'"shape":[16,2,8]'))


def unsigned(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [cut, emptied, flipped, retold, unsigned])
def test_a_damaged_file_is_thrown_away_and_never_served(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    opened(tmp_path).put(PICTURE, features())
    files = opened(tmp_path)
    damage(files.path(PICTURE))
    assert files.get(PICTURE) is None
    assert not files.has(PICTURE)
    files.put(PICTURE, features())
    assert same(files.get(PICTURE), features())


def test_a_writer_that_is_killed_leaves_no_wrong_file(tmp_path: Path) -> None:
    script = """
import hashlib, sys
from pathlib import Path
import torch
from airtune.modeling.encoding import Picture
from airtune.training.features.files import FeatureFiles
files = FeatureFiles(Path(sys.argv[1]))
files.prepare({})
for number in range(100_000):
    name = hashlib.sha256(str(number).encode()).hexdigest()
    files.put(name, Picture({}, {"features.pooled": torch.full((20_000,), float(number))}))
"""
    writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        until = time.monotonic() + 120
        while len(list(tmp_path.glob("*/*.safetensors"))) < 20 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    written = list(tmp_path.glob("*/*.safetensors"))
    assert len(written) >= 20
    files = opened(tmp_path)
    assert all(files.get(path.stem) is not None for path in written)
    left = tmp_path / "00" / ".airtune-1-abandoned"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    opened(tmp_path)
    assert not left.exists(), "what killed writers have left is removed when it is old"


def test_only_a_pictures_digest_names_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no sha256"):
        opened(tmp_path).path("../../etc/passwd")

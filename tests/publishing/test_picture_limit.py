"""maxPixels in the published processor's files: the same as in the processor that was trained with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from airtune.configs import configs_root
from airtune.publishing.bundle import assemble
from airtune.publishing.picture_limit import limit_pictures
from airtune.runspec.resolved import Resolution
from airtune.stores import RunDirectory, layout

TINY = configs_root() / "demo" / "tiny-vlm"


@pytest.mark.training
def test_the_published_processor_sees_pictures_as_the_trained_one(
    file_root: str, make_run: Callable[..., RunDirectory]
) -> None:
    from airtune.modeling.loading import load_processor
    from airtune.modeling.picture_tokens import image_tokens

    run = make_run(file_root, max_pixels=5120)
    resolved = Resolution.from_json(run.store.read(layout.RESOLUTION)).run
    assemble(run, resolved, TINY)
    trained, published = load_processor(TINY, resolved), load_processor(run.workspace / layout.MODEL_FULL)
    sizes = [(64, 64), (200, 400), (1000, 30), (8, 8)]
    assert image_tokens(published, sizes) == image_tokens(trained, sizes)
    assert image_tokens(published, sizes) != image_tokens(load_processor(TINY), sizes)
    films = [(4, 64, 64), (6, 200, 400), (20, 300, 300), (8, 8, 8)]
    seen = [
        [processor.video_processor.get_num_of_video_patches(*film, {}) for film in films]
        for processor in (published, trained, load_processor(TINY))
    ]
    assert seen[0] == seen[1] != seen[2]


def test_the_older_spelling_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14}))
    limit_pictures(tmp_path, 501760)
    assert json.loads(path.read_text()) == {
        "patch_size": 14,
        "size": {"shortest_edge": 3136, "longest_edge": 501760},
    }
    limit_pictures(tmp_path, 1000)
    assert json.loads(path.read_text())["size"] == {"shortest_edge": 1000, "longest_edge": 1000}


def test_a_processor_without_pictures_is_left_alone(tmp_path: Path) -> None:
    shutil.copy(TINY / "tokenizer_config.json", tmp_path / "processor_config.json")
    before = (tmp_path / "processor_config.json").read_bytes()
    limit_pictures(tmp_path, 1000)
    assert (tmp_path / "processor_config.json").read_bytes() == before

"""The same dataset in every format of boxes: the same samples, the same fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest
from detection_formats import SCENES, WRITERS, Scene
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from airtune.datasets.annotations.boxes import finish
from airtune.datasets.check import Asked, Checked, check
from airtune.datasets.draft import Draft
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

BOXES = [name for name in WRITERS if name != "vi"]


def checked(name: str, folder: Path) -> Checked:
    """A dataset in this format, looked at as a whole."""
    WRITERS[name](folder / "data", SCENES)
    (folder / "work").mkdir()
    asked = Asked(uri=(folder / "data").as_uri(), task=Task.PHRASE_GROUNDING, minimum_images=1)
    return check(asked, folder / "work", lambda line: None)


@pytest.fixture(scope="module")
def in_vi(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    return checked("vi", tmp_path_factory.mktemp("vi"))


@pytest.mark.parametrize("name", BOXES)
def test_the_same_dataset_has_the_same_fingerprint_in_every_format(name: str, in_vi: Checked, tmp_path: Path) -> None:
    found = checked(name, tmp_path)
    assert found.verdict.passed, found.verdict
    assert found.facts["format"] == name.split()[0]
    assert found.facts["fingerprint"] == in_vi.facts["fingerprint"]
    assert found.facts["evaluation_set_digest"] == in_vi.facts["evaluation_set_digest"]
    assert found.facts["split"]["how"] == "delivered"
    # The image that shows nothing is on record, and counts against nobody.
    assert found.facts["set_aside_by_reason"] == {"no-object": 1}
    assert found.facts["set_aside_share"] == 0
    assert any("1 images are annotated as showing no object" in warning for warning in found.verdict.warnings)


def test_what_is_trained_of_it(in_vi: Checked) -> None:
    targets = {Path(record.images[0]).name: record.target for record in in_vi.assembly.records.rows(range(3))}
    assert targets["a.png"] == (
        '{"phrase_grounding":{"sentence":"\'dog\', hot dog","groundings":['
        '{"phrase":"\'dog\'","grounding":[[496,107,960,853],[16,469,320,1003]]},'
        '{"phrase":"hot dog","grounding":[[32,64,480,427]]}]}}'
    )
    assert '"grounding":[[0,0,1024,1024]]' in targets["c.png"]


class Undrawn(Scene):
    """A scene of which nobody looks at the picture."""

    def draw(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    width, height = draw(st.tuples(st.integers(16, 6000), st.integers(16, 6000)))
    step = draw(st.sampled_from([1, 0.5, 0.25]))

    def side(length: int) -> tuple[float, float]:
        low = draw(st.integers(0, int(length / step) - 1))
        return low * step, draw(st.integers(low + 1, int(length / step))) * step

    def box() -> tuple[float, float, float, float]:
        (x1, x2), (y1, y2) = side(width), side(height)
        assume(max(x2, y2) > 1.5)  # a box within the first pixel is taken for one in fractions
        return x1, y1, x2, y2

    names = draw(st.lists(st.sampled_from(["car", "carrot", "Ü, b"]), min_size=1, unique=True))
    return Undrawn("a.png", {name: [box() for _ in range(draw(st.integers(1, 3)))] for name in names}, (width, height))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenes())
def test_any_boxes_come_to_the_same_grid_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, scene: Scene
) -> None:
    root = tmp_path_factory.mktemp("same")
    found = {}
    for name, write in WRITERS.items():
        write(root / name, [scene])
        _, reader = reader_for(Source.open((root / name).as_uri()), name.split()[0])
        [draft] = reader.read(Task.PHRASE_GROUNDING)
        assert isinstance(draft, Draft)
        found[name] = finish(draft.truth, draft.units, draft.annotated_size or scene.size)
    assert all(truth == found["vi"] for truth in found.values()), found

"""What a person is shown of a dataset before a run: the very samples that would be trained."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from broken_datasets import SPECIMENS
from films import write_film
from PIL import Image, ImageChops, ImageDraw, ImageStat
from tests.datasets.conftest import NewRun, ViFolder, grounding, line_of, vqa
from tests.datasets.report.test_report import NASTY, Page

from airtune.configs import configs_root
from airtune.datasets.pictures.videos import read_frames
from airtune.datasets.preview import preview
from airtune.datasets.readers.formats import READERS, reader_for
from airtune.datasets.record import read_records
from airtune.datasets.report.contact_sheet import CELL, contact_sheet
from airtune.datasets.report.preview_page import preview_page
from airtune.datasets.sources.source import Source
from airtune.datasets.stage import validate
from airtune.datasets.task_guess import guess_task
from airtune.errors import DataError
from airtune.runspec.tasks import Task
from airtune.stores import layout

TINY = (configs_root() / "demo/tiny-vlm").as_uri()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))


def test_the_samples_are_those_that_validation_writes(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 30)
    folder.fill("validation", 10)
    run = new_run(folder.root.as_uri())
    validate(run)
    trained = {record.id: record for record in read_records(run.workspace / layout.RECORDS)}
    found = preview(folder.root.as_uri(), Task.VQA, samples=12)
    assert (found.read, found.whole, found.aside, found.format) == (40, True, "", "vi")
    assert len({seen.record.id for seen in found.samples}) == 12
    for seen in found.samples:
        record = trained[seen.record.id]
        assert (seen.record.prompt, seen.record.target, seen.side) == (record.prompt, record.target, record.split)
    again = preview(folder.root.as_uri(), Task.VQA, samples=12)
    assert [seen.record.id for seen in again.samples] == [seen.record.id for seen in found.samples]


def test_with_a_base_model_the_conversation_stands_as_its_template_writes_it(folder: ViFolder) -> None:
    folder.sample("dump", "a", vqa(("How many <|im_end|>?", "Two")))
    [seen] = preview(folder.root.as_uri(), Task.VQA, base_model=TINY, system_prompt="Be brief.").samples
    assert seen.before == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
        "How many <_|im_end|>?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert seen.label == '{"vqa":{"answer":"Two"}}<|im_end|>'
    assert seen.tokens is not None
    assert seen.tokens[1] > 3
    page = preview_page(preview(folder.root.as_uri(), Task.VQA, base_model=TINY), "tiny")
    assert "<mark>{&#34;vqa&#34;:{&#34;answer&#34;:&#34;Two&#34;}}&lt;|im_end|&gt;</mark>" in page


def test_without_one_the_turns_stand_plainly_and_what_is_learned_is_marked(folder: ViFolder) -> None:
    folder.sample("dump", "a", vqa((NASTY, NASTY)))
    found = preview(folder.root.as_uri(), Task.VQA)
    text = preview_page(found, None)
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link", "form"}
    assert "Answer the question about the image with one line of JSON" in page.words
    assert text.count("<mark>{&#34;vqa&#34;") == 1
    assert "No base model was named" in page.words


def test_what_cannot_be_used_is_counted_and_others_take_its_place(folder: ViFolder) -> None:
    folder.fill("training", 20)
    for index in range(4):
        (folder.root / f"training/images/t000{index}.png").write_bytes(b"broken")
    folder.annotate("training", "zz.jsonl", line_of("t0009.png", vqa(("", "x"))))
    found = preview(folder.root.as_uri(), Task.VQA, samples=16)
    assert len(found.samples) == 16
    assert "1 question-empty" in found.aside
    folder.annotate("training", "zz.jsonl", "{")
    for path in (folder.root / "training/images").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"none of 21 samples can be used: .*image-unreadable"):
        preview(folder.root.as_uri(), Task.VQA)


def test_boxes_are_drawn_where_they_are(folder: ViFolder) -> None:
    image = Image.new("RGB", (640, 480), "white")
    ImageDraw.Draw(image).rectangle((160, 240, 480, 400), fill="black")
    path = folder.root / "dump/images/a.png"
    path.parent.mkdir(parents=True)
    image.save(path)
    box = [160 / 640, 240 / 480, 480 / 640, 400 / 480]
    folder.annotate("dump", "a.json", line_of("a.png", grounding("A bar", ("A bar", [box])), image.size))
    found = preview(folder.root.as_uri(), Task.PHRASE_GROUNDING)
    sheet = Image.open(io.BytesIO(contact_sheet(found.samples, found.images)))
    left, top = 12, 12
    assert sheet.size == (CELL[0] + 24, CELL[1] + 84 + 24)
    red, green, blue = sheet.getpixel((left + 80, top + 180))  # on the box's left edge, below its label
    assert red > 200 > green + blue
    assert sheet.getpixel((left + 160, top + 160)) == (0, 0, 0)
    assert sheet.getpixel((left + 40, top + 60)) == (255, 255, 255)
    page = Page(preview_page(found, None))
    [rectangle] = [attributes for tag, attributes in page.tags if attributes.get("class") == "box"]
    assert {name: float(value or 0) for name, value in rectangle.items() if name != "class"} == pytest.approx(
        {"x": 120, "y": 180, "width": 240, "height": 120}, abs=0.5
    )


def test_pictures_that_cannot_be_drawn_leave_their_place_empty(folder: ViFolder) -> None:
    folder.fill("dump", 5)
    found = preview(folder.root.as_uri(), Task.VQA, samples=5)
    for path in (folder.root / "dump/images").iterdir():
        path.unlink()
    sheet = Image.open(io.BytesIO(contact_sheet(found.samples, found.images)))
    assert sheet.size == (3 * (CELL[0] + 12) + 12, 2 * (CELL[1] + 84 + 12) + 12)
    assert "data:image/" not in preview_page(found, None)


def test_text_alone_and_a_template_that_fails_are_shown_plainly(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/chat_template.jinja").write_text("{{ raise_exception('no system turns here') }}")
    model = (tmp_path / "model").as_uri()
    found = preview((tmp_path / "data").as_uri(), Task.GENERIC, base_model=model)
    [seen] = found.samples
    assert (seen.before, seen.label, seen.tokens) == (None, "Because.", None)
    assert "no chat template that could be used here" in preview_page(found, "model")
    assert contact_sheet(found.samples, found.images)[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", READERS)
def test_a_specimen_of_every_format_is_shown_with_its_pictures(name: str) -> None:
    uri = (SPECIMENS / name).as_uri()
    task = guess_task(reader_for(Source.open(uri), name)[1])
    assert task is not None
    found = preview(uri, task, dataset_format=name)
    page = preview_page(found, None)
    pictures = sum(max(1, len(seen.record.images)) for seen in found.samples)
    assert page.count("data:image/") == pictures >= 1
    if task is Task.PHRASE_GROUNDING:
        assert 'class="box"' in page
    assert contact_sheet(found.samples, found.images)[:4] == b"\x89PNG"


def test_of_a_film_the_first_frame_is_shown(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", frames=6, size=(64, 48))
    turns = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "A square."}]
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": turns, "videos": ["a.mp4"]}) + "\n")
    found = preview(tmp_path.as_uri(), Task.VIDEO_FREEFORM, base_model=TINY)
    [seen] = found.samples
    assert seen.before is not None
    assert "<|video_pad|>" in seen.before
    assert preview_page(found, None).count("data:image/") == 1
    sheet = Image.open(io.BytesIO(contact_sheet(found.samples, found.images)))
    first = Image.fromarray(read_frames(tmp_path / "a.mp4", [0], name="a")[0]).resize(CELL)
    shown = sheet.crop((12, 12, 12 + CELL[0], 12 + CELL[1]))
    assert ImageStat.Stat(ImageChops.difference(first, shown)).mean == pytest.approx([0, 0, 0], abs=3)

"""The page about a dataset: whole in one file, and what the data says stays text."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from tests.datasets.conftest import NewRun, ViFolder, grounding, line_of, vqa

from airtune.datasets.report import page as report_page
from airtune.datasets.stage import validate
from airtune.errors import DataError
from airtune.stores import layout

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e"


class Page(HTMLParser):
    """Collects what a browser would act on."""

    VOID = frozenset({"meta", "br", "img", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def page_of(folder: ViFolder, new_run: NewRun, task: str) -> tuple[str, Page]:
    run = new_run(folder.root.as_uri(), task)
    with contextlib.suppress(DataError):  # a refused dataset has its page as well
        validate(run)
    text = run.store.read(layout.VALIDATION_REPORT).decode()
    return text, Page(text)


def test_the_page_loads_nothing_runs_nothing_and_shows_data_as_text(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 100)
    folder.fill("validation", 10)
    folder.sample("training", "nasty", vqa((NASTY, NASTY)))
    folder.annotate("training", "<b>.json", line_of(f"{NASTY}.png", vqa((NASTY, "x"))))
    text, page = page_of(folder, new_run, "vqa")
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "img", "b"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#")), (tag, attributes)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert NASTY.replace("\u202e", "⟨U+202E⟩") in page.words
    assert "\u202e" not in text
    [policy] = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy


def test_the_verdict_comes_first_then_what_was_set_aside_with_its_picture(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(40):
        folder.sample("dump", f"{index:02}", grounding("A red car", ("A red car", [[0.1, 0.1, 0.9, 0.5]])))
    folder.sample("dump", "bad", grounding("A red car", ("A red car", [[0.5, 0.1, 0.2, 0.5]])))
    text, page = page_of(folder, new_run, "phrase-grounding")
    assert page.words.index("Passed: 40 samples on 40 images") < page.words.index("41 samples found")
    assert page.words.index("41 samples found = 40 used + 1 set aside") < page.words.index("box-inverted: 1")
    row = text[text.index("dump/annotations/bad.jsonl:1") :]
    assert "data:image/png;base64," in row[: row.index("</tr>")]
    boxes = [attributes for tag, attributes in page.tags if attributes.get("class") == "box"]
    assert len(boxes) == 16  # eight samples of each split, one box each
    # 64 x 48 pixels, shown 240 wide; 0.1 of 1024 is 102, and that 23.9 of 240
    assert {name: float(value or 0) for name, value in boxes[0].items() if name != "class"} == pytest.approx(
        {"x": 24, "y": 18, "width": 192, "height": 72}, abs=0.2
    )
    assert "Where boxes lie" in page.words
    assert "Most boxes (100%) have their middle in the top middle ninth of the picture" in page.words


def test_a_refusal_says_every_problem_on_top(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 10)
    (folder.root / "training/images/t0001.png").write_bytes(b"x")
    _, page = page_of(folder, new_run, "vqa")
    top = page.words[: page.words.index("samples found")]
    assert "Refused" in top
    assert "too few images that can be used: 9 of the 20" in top
    assert "1 of 10 samples (10.0%)" in top


def test_the_page_stays_small_however_much_is_wrong(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 25)
    folder.annotate("training", "many.jsonl", *[line_of("t0001.png", vqa(("", "x" * 300)))] * 3000)
    text, page = page_of(folder, new_run, "vqa")
    assert len(text) < 1_000_000
    assert "2,980 more stand in dataset/set-aside.jsonl" in page.words


def test_pictures_are_left_out_before_the_page_grows_too_large(
    folder: ViFolder, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(30):
        path = folder.root / "dump/images" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((300, 300), 80 + index).convert("RGB").save(path)
        folder.annotate("dump", f"{index}.json", line_of(f"{index}.png", vqa(("What?", "<&>" * 200)), (300, 300)))
    text, _ = page_of(folder, new_run, "vqa")
    pictures = text.count("data:image/")
    assert pictures == 14  # eight to train, six to validate
    monkeypatch.setitem(report_page._ROOM, "samples", 60_000)
    text, _ = page_of(folder, new_run, "vqa")
    assert 0 < text.count("data:image/") < pictures
    monkeypatch.setattr(report_page, "LARGEST", 60_000)
    text, page = page_of(folder, new_run, "vqa")
    assert "data:image/" not in text
    assert "Passed: 30 samples" in page.words


def test_every_picture_and_chart_says_what_it_is_to_those_who_do_not_see_it(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(40):
        folder.sample("dump", f"{index:02}", grounding("A red car", ("A red car", [[0.1, 0.1, 0.9, 0.5]])))
    _, page = page_of(folder, new_run, "phrase-grounding")
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert drawings
    assert all(each.get("aria-hidden") == "true" or (each["role"], bool(each["aria-label"])) == ("img", True)
               for each in drawings)  # fmt: skip
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    targets = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert {"content", "set-aside", "distributions", "samples"} <= targets <= ids
    labelled = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert labelled <= ids
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it: 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_words_can_be_read_in_light_and_in_dark() -> None:
    style = (Path(report_page.__file__).parent / "templates/report.css").read_text()
    palettes = [dict(re.findall(r"--(\w+): (#\w{6})", line)) for line in style.splitlines() if "--ink:" in line]
    assert len(palettes) == 2
    for colours in palettes:
        for name in ("ink", "soft", "good", "bad", "warn", "link"):
            for ground in ("paper", "panel"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in ("bar", "other"):
            assert contrast(colours[name], colours["paper"]) >= 3, name


def test_what_has_drifted_since_the_champion_is_drawn(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(80):
        folder.sample("dump", f"{index:03}", vqa(("What?", f"answer {index % 3}")))
    before = new_run(folder.root.as_uri())
    validate(before)
    text = before.store.read(layout.VALIDATION_REPORT).decode()
    assert 'id="drift"' not in text
    champion = before.model_store(layout.model_folder_name("a <run>"))
    champion.write(layout.CURRENT, json.dumps({"run_id": before.run_id}).encode())
    for index in range(80, 160):
        folder.sample("dump", f"{index:03}", vqa(("What?", "something else")), (640, 480))
    text, page = page_of(folder, new_run, "vqa")
    drift = text[text.index('id="drift"') : text.index('id="distributions"')]
    assert f"against {before.run_id}: 80 samples added, 0 removed" in drift
    assert drift.count('<svg class="pairs"') >= 2  # answers and image sizes
    assert 'href="#drift"' in text
    assert "stability index" in page.words

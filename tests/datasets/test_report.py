"""The page about a dataset: whole in one file, and what the data says stays text."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from airtune.datasets.record import write_records
from airtune.datasets.record_table import RecordTable
from airtune.datasets.report.charts import box_places, histogram, most_frequent
from airtune.datasets.stage import validate
from airtune.errors import DataError
from airtune.stores import layout

from .conftest import NewRun, ViFolder, grounding, line_of, vqa

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
            assert (attributes.get(name) or "data:image/jpeg").startswith("data:image/jpeg"), (tag, attributes)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert NASTY in page.words
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
    assert "data:image/jpeg;base64," in row[: row.index("</tr>")]
    boxes = [attributes for tag, attributes in page.tags if attributes.get("class") == "box"]
    assert len(boxes) == 16  # eight samples of each split, one box each
    assert boxes[0] == {"class": "box", "x": "6.4", "y": "4.8", "width": "51.2", "height": "19.2"} | {
        "x": boxes[0]["x"],
        "width": boxes[0]["width"],
    }
    assert "Where boxes lie" in page.words


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


@pytest.mark.parametrize(
    ("values", "first", "count"),
    [([5, 5, 5], "5", 3), ([0, 100], "0 to 5", 1), ([0.5, 2.5], "0.5 to 0.6", 1), ([1, 2, 3], "1", 1)],
)
def test_a_histogram_counts_every_value_once(values: list[float], first: str, count: int) -> None:
    chart = histogram("x", values)
    assert sum(bar.count for bar in chart.bars) == len(values)
    assert (chart.bars[0].label, chart.bars[0].count) == (first, count)
    assert len(chart.bars) <= 20
    assert histogram("x", []).bars == ()


def test_the_rest_of_many_values_is_counted_in_words(tmp_path: Path) -> None:
    chart = most_frequent("x", [str(n) for n in range(30)] + ["7"])
    assert (chart.bars[0].label, chart.bars[0].count) == ("7", 2)
    assert chart.more == "10 more, 10 times in all"
    write_records(tmp_path / "none.parquet", [])
    assert box_places(RecordTable(tmp_path / "none.parquet")) is None

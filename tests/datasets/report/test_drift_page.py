"""The page of a comparison: every bar inside its drawing, every text a text, and nothing loaded from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as Xml

import pytest
from tests.datasets.comparison.test_drift import Compare, drift, grounding, vqa

from airtune.datasets.comparison.drift import Drift
from airtune.datasets.report.drift_page import drift_page

__all__ = ["drift"]  # a fixture


class Tags(HTMLParser):
    """Which elements are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def compared(drift: Compare) -> Drift:
    """Much has drifted, and the texts are hostile."""
    hostile = "</svg><script>alert(1)</script>"
    before = [vqa(i, "What?", f"{hostile}{i % 3}", width=600 + i) for i in range(100)]
    before += [grounding(f"b{i}", {"<b>car": [[5, 5, 100 + i, 200]]}) for i in range(100)]
    after = [vqa(i, "What?", f"{hostile}{i % 2}", width=900 + 3 * i) for i in range(50, 150)]
    after += [grounding(f"a{i}", {"<b>bus": [[5, 5, 600 + i, 800]]}) for i in range(100)]
    return drift(before, after)


def test_every_bar_lies_inside_its_drawing(compared: Drift) -> None:
    drawings = re.findall(r"<svg.*?</svg>", drift_page(compared), re.DOTALL)
    assert len(drawings) == len(compared.properties) > 10
    for text in drawings:
        drawing = Xml.fromstring(text)
        width, height = map(float, drawing.attrib["viewBox"].split()[2:])
        bars = list(drawing.iter("rect"))
        assert bars
        for bar in bars:
            x, y, w, h = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert y >= 0
            assert w >= 0
            assert h >= 0
            assert x + w <= width + 0.2
            assert y + h <= height + 0.2
        for side in ("before", "after"):
            assert max(max(float(bar.attrib[name]) for name in ("width", "height"))
                       for bar in bars if bar.attrib["class"] == side) > 0  # fmt: skip
        assert drawing.attrib["aria-label"]


def test_texts_of_the_data_stay_texts_and_the_page_is_well_formed(compared: Drift) -> None:
    page = drift_page(compared)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "b" not in tags.seen
    assert any("<script>alert(1)" in text for text in tags.texts)
    assert "default-src 'none'" in page


def test_what_has_drifted_comes_first_and_furthest_first(compared: Drift) -> None:
    page = drift_page(compared)
    titles = [each.what.title for each in compared.drifted]
    places = [page.index(f"<figcaption>{title}") for title in titles]
    assert places == sorted(places)
    assert max(places) < page.index("What has not")

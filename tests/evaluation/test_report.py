from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from airtune.answering.scoring import PRIMARY, summarise
from airtune.errors import DataError, Problem
from airtune.evaluation.changes import changes
from airtune.evaluation.predictions import Prediction
from airtune.evaluation.report.charts import Curve, chart
from airtune.evaluation.report.gallery import choose, gather
from airtune.evaluation.report.page import LARGEST, ReportInput, render_report
from airtune.evaluation.report.wording import percent, visible
from airtune.runspec.answers import build_target
from airtune.runspec.tasks import Task

Row = Callable[..., Prediction]
CAT = {"answer": "cat"}
RIGHT, WRONG = '{"vqa":{"answer":"cat"}}', '{"vqa":{"answer":"dog"}}'
HOSTILE = (
    "</dd></script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!-- --><!DOCTYPE html>",
    "'; alert(1); '",
    "</style><style>*{display:none}</style>",
    "\u202egnp.exe\u202c \u200b\ufeff \x00\x1b[31m",
    "&lt;b&gt; &amp;amp;",
)


class Page(HTMLParser):
    """What a browser's parser would see: elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        self.inline[inside].append(data) if inside in self.inline else self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (not css or css in (attributes.get("class") or "").split())
        ]


def picture(sample: str, key: str) -> Image.Image:
    shade = int(hashlib.sha256(key.encode()).hexdigest()[:2], 16)
    return Image.new("RGB", (64, 48), (shade, 10, 200))


@pytest.fixture
def given_input(tools: Any) -> Callable[..., ReportInput]:
    def make(task: Task, rows: list[Prediction], *, run: dict[str, Any] | None = None, **changed: Any) -> ReportInput:
        resolution = tools.resolution(tools.resolved_run(task=task, **(run or {})))
        by = {
            (model, decoding): [row for row in rows if (row.model, row.decoding) == (model, decoding)]
            for model, decoding in (("base", "greedy"), ("tuned", "greedy"), ("tuned", "sampled"))
        }
        tuned = {"greedy": summarise(task, by["tuned", "greedy"])}
        if by["tuned", "sampled"]:
            tuned["sampled"] = summarise(task, by["tuned", "sampled"])
        samples = gather(task, rows)
        metrics = {
            "samples": len(samples),
            "primary": PRIMARY[task],
            "decoding": {"greedy": {"max_new_tokens": 24}},
            "base": {"greedy": summarise(task, by["base", "greedy"])},
            "tuned": tuned,
            "changes": changes(task, [(sample.tuned, sample.base) for sample in samples]),
            "evaluation_set_digest": "e" * 64,
            "fingerprints": {"base": "0" * 16, "tuned": "1" * 16},
            "versions": {"torch": "2.15.0"},
        }
        lines = [{"step": step, "loss": 4.0 / step, "learning_rate": 1e-4} for step in range(1, 50)]
        fields: dict[str, Any] = {
            "run_id": "run-1",
            "resolution": resolution,
            "metrics": metrics,
            "predictions": rows,
            "load": picture,
            "training": lines,
            "evaluations": [{"step": 25, "loss": 0.5}, {"step": 49, "loss": 0.25}],
            "facts": {"samples": 10},
            "training_result": {"steps": 49},
        }
        return ReportInput(**{**fields, **changed})

    return make


@pytest.fixture
def four_rows(row: Row) -> list[Prediction]:
    """One sample of each kind: fixed, broken, unreadable and right."""
    return [
        row(sample, model, text, CAT)
        for sample, base, tuned in (
            ("fixed", WRONG, RIGHT),
            ("broken", RIGHT, WRONG),
            ("unreadable", WRONG, "cat"),
            ("right", RIGHT, RIGHT),
        )
        for model, text in (("base", base), ("tuned", tuned))
    ]


def test_the_page_says_what_came_out_in_a_sentence(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    page = Page(render_report(given_input(Task.VQA, four_rows)))
    assert (
        "The trained model is as good as its base. Exact match on 4 validation samples: 50 % after training"
        in page.text
    )
    assert "Samples answered exactly: 1 gained, 1 lost, 1 kept." in page.text


def test_each_sample_shows_truth_trained_and_base_side_by_side(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    page = Page(render_report(given_input(Task.VQA, four_rows)))
    kinds = [(card["class"] or "").split()[1:] for card in page.all("li", "card")]
    assert kinds == [["broken", "wrong"], ["unreadable", "wrong"], ["fixed", "right"], ["right"]]
    assert page.text.count("Truth") == 4
    assert "there is no JSON object in the answer" in page.text


def test_the_page_loads_nothing_and_runs_only_its_own_script(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    html = render_report(given_input(Task.VQA, four_rows))
    page = Page(html)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (content,) = ["".join(page.inline[kind])]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    for tag, attributes in page.elements:
        assert "style" not in attributes, "a style attribute is refused by the policy"
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src"):
            if attributes.get(name):
                assert re.match(r"#|data:image/(png|jpeg);base64,", attributes[name] or ""), (tag, attributes)
    assert not page.all("link")
    assert len(page.all("script")) == len(page.all("style")) == 1


def test_the_filters_are_reached_with_the_keyboard_and_need_no_script(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    page = Page(render_report(given_input(Task.VQA, four_rows)))
    radios = [each for each in page.all("input") if each.get("type") == "radio"]
    assert {each["value"] for each in radios} == {"all", "wrong", "fixed", "broken", "unreadable", "cut-off", "right"}
    css = "".join(page.inline["style"])
    for each in radios:
        if each["value"] != "all":
            assert f"body:has(#{each['id']}:checked) .card:not(.{each['value']})" in css
    assert "prefers-color-scheme: dark" in css
    assert "@media print" in css


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text_wherever_it_comes_from(
    given_input: Callable[..., ReportInput], row: Row, four_rows: list[Prediction], text: str, tools: Any
) -> None:
    harmless = Page(render_report(given_input(Task.VQA, four_rows)))
    hostile_rows = [
        row("1", "tuned", text, {"answer": text}, prompt=text, images=(f"{text[:20]}.png",), problem=text),
        row("1", "base", RIGHT, {"answer": text}, prompt=text, images=(f"{text[:20]}.png",)),
    ]
    resolution = tools.resolution(tools.resolved_run(name=f"n {text}", system_prompt=text, base_model=text))
    resolution = resolution.model_copy(update={"warnings": (text,)})
    html = render_report(
        dataclasses.replace(
            given_input(Task.VQA, hostile_rows),
            run_id=text,
            resolution=resolution,
            facts={text: text, "more": [text]},
            training_result={text: text},
        )
    )
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements} | {"details", "summary", "bdi"}
    assert "".join(page.inline["script"]) == "".join(harmless.inline["script"])
    assert "".join(page.inline["style"]) == "".join(harmless.inline["style"])
    assert page.text.count(visible(text)) >= 6
    assert not set("\u202e\u202c\u200b\ufeff\x00\x1b") & set(html)


def test_a_megabyte_of_answer_is_cut_and_says_so(given_input: Callable[..., ReportInput], row: Row) -> None:
    rows = [row("1", model, "x" * 1_000_000, CAT) for model in ("base", "tuned")]
    html = render_report(given_input(Task.VQA, rows))
    assert len(html) < 60_000
    assert "of 1,000,000 characters" in html


def test_boxes_are_drawn_over_the_picture_in_its_own_units(given_input: Callable[..., ReportInput], row: Row) -> None:
    truth = {"sentence": "a cat", "groundings": [{"phrase": "a cat", "boxes": [[0, 0, 512, 1024]]}]}
    said = {"sentence": "a cat", "groundings": [{"phrase": "a cat", "boxes": [[256, 256, 512, 512]]}]}
    text = build_target(Task.PHRASE_GROUNDING, said).text
    rows = [row("1", model, text, truth, task=Task.PHRASE_GROUNDING) for model in ("base", "tuned")]
    page = Page(render_report(given_input(Task.PHRASE_GROUNDING, rows)))
    (box,) = page.all("rect", "truth")  # the picture is 64 x 48, shown as 320 x 240
    assert [box[name] for name in ("x", "y", "width", "height")] == ["0.0", "0.0", "160.0", "240.0"]
    (box,) = page.all("rect", "tuned")
    assert [box[name] for name in ("x", "y", "width", "height")] == ["80.0", "60.0", "80.0", "60.0"]
    assert len([each for each in page.all("input") if each.get("type") == "checkbox"]) == 3


def test_the_gallery_is_bounded_and_says_how_many_it_shows(given_input: Callable[..., ReportInput], row: Row) -> None:
    texts = [(RIGHT, WRONG), (WRONG, RIGHT), (WRONG, WRONG), (WRONG, "?"), (RIGHT, RIGHT)]
    rows = []
    for number in range(2000):
        base, tuned = texts[0] if number < 20 else texts[2 + number % 3]
        rows += [row(f"s{number}", "base", base, CAT), row(f"s{number}", "tuned", tuned, CAT)]
    noise = Image.effect_noise((900, 700), 90).convert("RGB")
    html = render_report(given_input(Task.VQA, rows, load=lambda sample, key: noise))
    assert len(html.encode()) < LARGEST < 5_000_000
    page = Page(html)
    shown = len(page.all("li", "card"))
    assert 50 < shown < 400
    assert f"{shown} of 2,000 samples are shown" in page.text
    classes = " ".join(card["class"] or "" for card in page.all("li", "card")).split()
    assert classes.count("broken") == 20, "the rare kind is shown whole"
    assert all(classes.count(kind) > 10 for kind in ("wrong", "unreadable", "right"))


def test_a_picture_stands_in_the_page_once_however_many_questions_it_has(
    given_input: Callable[..., ReportInput], row: Row
) -> None:
    rows = [
        row(f"{number}", model, RIGHT, CAT, images=("same.png",)) for number in range(5) for model in ("base", "tuned")
    ]
    page = Page(render_report(given_input(Task.VQA, rows)))
    assert len(page.all("image")) == 1
    assert len(page.all("use")) == 5


def test_a_picture_that_is_gone_costs_only_itself(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    def gone(sample: str, key: str) -> Image.Image:
        raise DataError(Problem(key, "is gone"))

    page = Page(render_report(given_input(Task.VQA, four_rows, load=gone)))
    assert page.text.count("(no picture)") == 4


def test_the_same_input_gives_the_same_page(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    assert render_report(given_input(Task.VQA, four_rows)) == render_report(given_input(Task.VQA, four_rows))


def test_advice_is_given_when_answers_are_cut_off_or_the_validation_loss_rises(
    given_input: Callable[..., ReportInput], row: Row
) -> None:
    rows = [row(str(n), model, "x", CAT, cut_off=n < 2) for n in range(10) for model in ("base", "tuned")]
    rising = [{"step": step, "loss": loss} for step, loss in ((1, 2.0), (2, 1.0), (3, 1.5))]
    page = Page(render_report(given_input(Task.VQA, rows, evaluations=rising)))
    assert "20 % of the answers end at maxNewTokens (24)" in page.text
    assert "The validation loss rose from 1 at step 2 to 1.5 at the end" in page.text


def test_curves_are_drawn_and_described_in_words(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    page = Page(render_report(given_input(Task.VQA, four_rows)))
    labels = [each.get("aria-label") or "" for each in page.all("svg", "chart")]
    assert labels[0].startswith("Loss: training from 4 at step 1 to 0.08163 at step 49; validation from 0.5 at step 25")
    assert labels[1].startswith("Learning rate: learning rate from 0.0001 at step 1")


def test_a_run_without_curves_or_with_broken_lines_still_has_a_report(
    given_input: Callable[..., ReportInput], four_rows: list[Prediction]
) -> None:
    broken = [{"step": 1, "loss": None}, {"step": "1", "loss": 1.0}, {"loss": 2.0}, {"step": 2, "loss": True}]
    page = Page(render_report(given_input(Task.VQA, four_rows, training=broken, evaluations=[])))
    assert "The training left no metrics." in page.text


def test_a_long_curve_is_thinned_without_losing_its_spike() -> None:
    points = [(float(step), 1.0) for step in range(10_000)]
    points[5_000] = (5_000.0, 50.0)
    drawn = chart("Loss", [Curve("training", "tuned", points)])
    assert drawn is not None
    places = drawn.lines[0].path.split()
    assert len(places) <= 300
    highest = min(float(place.split(",")[1]) for place in places)
    assert highest == pytest.approx(drawn.top, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(allow_nan=True, allow_infinity=True)), max_size=40))
def test_any_curve_stays_inside_its_frame(points: list[tuple[int, float]]) -> None:
    finite = [(float(step), value) for step, value in points if abs(value) < 1e12]
    drawn = chart("Loss", [Curve("training", "tuned", sorted(finite))])
    assert (drawn is None) == (not finite)
    if drawn is not None:
        for place in drawn.lines[0].path.split():
            x, y = map(float, place.split(","))
            assert drawn.left <= x <= drawn.right
            assert drawn.top - 0.2 <= y <= drawn.bottom + 0.2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_leaves_the_page_well_formed(given_input: Callable[..., ReportInput], row: Row, text: str) -> None:
    rows = [row("1", model, text, {"answer": text}, prompt=text) for model in ("base", "tuned")]
    page = Page(render_report(given_input(Task.VQA, rows)))
    assert page.open == []
    assert len(page.all("li", "card")) == 1


def test_shares_are_never_rounded_to_all_or_nothing() -> None:
    assert percent(0.99996) == "> 99.9 %"
    assert percent(0.00001) == "< 0.1 %"
    assert percent(1.0) == "100 %"
    assert percent(0.0) == "0 %"
    assert percent(2 / 3) == "66.7 %"


def test_any_beginning_of_the_chosen_order_has_samples_from_all_over_the_split(row: Row) -> None:
    rows = [row(f"{n}", model, RIGHT, CAT) for n in range(64) for model in ("base", "tuned")]
    first = [sample.number for sample in choose(gather(Task.VQA, rows))[:8]]
    assert sorted(first) == [1, 9, 17, 25, 33, 41, 49, 57]

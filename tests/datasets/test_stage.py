"""The stage `validate`: what it writes, what it refuses, and that nothing is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.datasets.conftest import NewRun, ViFolder, grounding, line_of, snapshot, vqa

from airtune.datasets.pictures.images import Images
from airtune.datasets.record import read_records
from airtune.datasets.stage import validate
from airtune.errors import DataError, ExitCode, SettingsError
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

WRITTEN = (
    layout.RECORDS,
    layout.IMAGES,
    layout.FACTS,
    layout.FINGERPRINT,
    layout.SET_ASIDE,
    layout.VALIDATION_RESULT,
    layout.VALIDATION_REPORT,
)


def aside_of(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.store.read(layout.SET_ASIDE).decode().splitlines()]


def facts_of(run: RunDirectory) -> dict[str, Any]:
    return dict(run.read_json(layout.FACTS))


def refused(run: RunDirectory) -> str:
    with pytest.raises(DataError) as caught:
        validate(run)
    assert caught.value.exit_code == ExitCode.DATA
    assert not run.exists(layout.RECORDS)
    return str(caught.value)


def test_a_good_dataset_becomes_records_facts_and_a_report(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 30)
    folder.fill("validation", 10)
    lines: list[str] = []
    run = new_run(folder.root.as_uri())
    result = validate(run, tell=lines.append)
    records = read_records(run.workspace / layout.RECORDS)
    assert Counter(record.split for record in records) == {"train": 30, "validation": 10}
    assert len({record.id for record in records}) == 40
    first = records[0]
    assert first.target == '{"vqa":{"answer":"answer 0"}}'
    assert json.loads(first.truth) == {"answer": "answer 0"}
    assert (first.width, first.height, first.source_line) == (64, 48, 1)
    assert Images(facts_of(run)["root_uri"]).verify(records) == 40
    facts = facts_of(run)
    assert facts["samples"] == facts["samples_found"] == result.facts["samples"] == 40
    assert facts["format"] == "vi"
    assert facts["split"] == {"how": "delivered", "ratio": None, "borrowed": 0, "alike": 0, "loose": 0}
    assert facts["image_width"] == {"least": 64, "mean": 64.0, "median": 64, "p95": 64, "most": 64}
    assert facts["distinct_answers"] == 7
    assert run.store.read(layout.FINGERPRINT).decode().strip() == facts["fingerprint"]
    assert run.read_json(layout.VALIDATION_RESULT)["passed"] is True
    assert any("40 samples on 40 images" in line for line in lines)
    assert not list(Path.cwd().glob("gx*"))


def test_what_a_killed_validation_left_a_week_ago_is_removed(folder: ViFolder, new_run: NewRun, tmp_path: Path) -> None:
    folder.fill("dump", 30)
    run = new_run(folder.root.as_uri())
    old, new = (tmp_path / "home/work" / name for name in ("validate-old", "validate-new"))
    for path in (old / "spool", new):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    validate(run)
    assert sorted(path.name for path in old.parent.iterdir()) == ["validate-new"]


def test_run_twice_it_writes_the_same(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("dump", 30)
    run = new_run(folder.root.as_uri())
    validate(run)
    before = snapshot(run.workspace, WRITTEN)
    validate(run)
    assert snapshot(run.workspace, WRITTEN) == before


def test_the_fingerprint_knows_neither_names_nor_order_nor_place_nor_format(
    folder: ViFolder, tmp_path: Path, new_run: NewRun
) -> None:
    folder.fill("dump", 25)
    run = new_run(folder.root.as_uri())
    validate(run)
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    lines = []
    for record in reversed(read_records(run.workspace / layout.RECORDS)):
        shutil.copy(folder.root / record.images[0], other / "images" / f"{record.id}.bin.png")
        answer = json.loads(record.truth)["answer"]
        messages = [{"role": "user", "content": record.prompt}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": messages, "images": [f"images/{record.id}.bin.png"]}))
    (other / "all.jsonl").write_text("\n".join(lines))
    second = new_run(other.as_uri())
    validate(second)
    one, two = facts_of(run), facts_of(second)
    assert (one["format"], two["format"]) == ("vi", "chat-jsonl")
    assert one["fingerprint"] == two["fingerprint"]
    assert one["evaluation_set_digest"] == two["evaluation_set_digest"]
    Image.new("RGB", (64, 48), "white").save(next((other / "images").iterdir()))
    third = new_run(other.as_uri())
    validate(third)
    assert facts_of(third)["fingerprint"] != one["fingerprint"]


def test_without_a_split_the_ratio_decides_by_content_and_groups_stay_whole(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(60):
        folder.sample("dump", f"{index:03}", vqa(("What?", f"x{index}"), ("Who?", "y"), ("How?", "z")))
    run = new_run(folder.root.as_uri(), splitRatio=0.4)
    validate(run)
    records = read_records(run.workspace / layout.RECORDS)
    sides: dict[str, set[str]] = {}
    for record in records:
        sides.setdefault(record.images[0], set()).add(record.split)
    assert all(len(side) == 1 for side in sides.values())
    share = sum("validation" in side for side in sides.values()) / 60
    assert 0.2 < share < 0.6
    assert facts_of(run)["split"] == {"how": "by content", "ratio": 0.4, "borrowed": 0, "alike": 0, "loose": 0}


def test_a_training_split_alone_gives_up_some_images_for_validation(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 60)
    run = new_run(folder.root.as_uri())
    validate(run)
    assert facts_of(run)["validation_images"] >= 10


def test_what_is_broken_is_set_aside_and_the_counts_close(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 100)
    folder.fill("validation", 20)
    (folder.root / "training/images/t0003.png").write_bytes(b"no image")
    (folder.root / "training/images/t0004.png").write_bytes(
        (folder.root / "training/images/t0005.png").read_bytes()[:60]
    )
    (folder.root / "validation/images/v0001.png").unlink()
    folder.annotate("training", "zz.jsonl", '{"id": ', line_of("t0001.png", vqa(("", "x"))))
    run = new_run(folder.root.as_uri())
    lines: list[str] = []
    validate(run, tell=lines.append)
    aside = aside_of(run)
    facts = facts_of(run)
    assert Counter(row["reason"] for row in aside) == {
        "annotation-malformed": 1,
        "question-empty": 1,
        "image-unreadable": 1,
        "image-truncated": 1,
        "image-missing": 1,
    }
    assert facts["samples_found"] == 122 == facts["samples"] + len(aside)
    assert facts["set_aside_share"] == pytest.approx(5 / 122)
    by_reason = {row["reason"]: row for row in aside}
    assert by_reason["annotation-malformed"]["source_file"] == "training/annotations/zz.jsonl"
    assert by_reason["annotation-malformed"]["source_line"] == 1
    assert by_reason["image-missing"]["images"] == ["validation/images/v0001.png"]
    assert all(row["remedy"] and row["message"] for row in aside)
    assert any("5 of 122 samples are set aside (4.1%)" in line for line in lines)
    used = {key for record in read_records(run.workspace / layout.RECORDS) for key in record.images}
    assert not used & {"training/images/t0003.png", "training/images/t0004.png", "validation/images/v0001.png"}


def test_too_much_to_set_aside_fails_the_run_with_places_and_remedies(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 90)
    folder.fill("validation", 20)
    for index in range(11):
        (folder.root / f"training/images/t{index:04}.png").write_bytes(b"no image")
    words = refused(run := new_run(folder.root.as_uri()))
    assert "11 of 110 samples (10.0%) would have to be set aside; at most 5.0% are allowed" in words
    assert "training/annotations/t0000.jsonl:1" in words
    assert "11 times image-unreadable" in words
    assert len(aside_of(run)) == 11
    assert run.read_json(layout.VALIDATION_RESULT)["passed"] is False
    assert "Refused" in run.store.read(layout.VALIDATION_REPORT).decode()
    validate(new_run(folder.root.as_uri(), maximumSetAside=0.2))


def test_few_images_are_refused_unless_the_run_says_otherwise(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 12)
    folder.fill("validation", 4)
    assert "too few images that can be used: 16 of the 20" in refused(new_run(folder.root.as_uri()))
    result = validate(new_run(folder.root.as_uri(), minimumImages=16))
    assert any("16 images are few" in warning for warning in result.warnings)


def test_a_split_whose_samples_are_all_broken_is_refused_and_not_replaced(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 200)
    folder.fill("validation", 5)
    for path in (folder.root / "validation/images").iterdir():
        path.write_bytes(b"no image")
    assert "the split validation has no sample" in refused(new_run(folder.root.as_uri()))


def test_no_image_that_can_be_read_is_said_first(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 30)
    for path in (folder.root / "training/images").iterdir():
        path.write_bytes(b"<html>not found</html>")
    words = refused(run := new_run(folder.root.as_uri()))
    assert "none of the 30 annotated images can be read: 30 image-unreadable" in words
    assert "HTML" in aside_of(run)[0]["message"]


def test_a_dataset_without_annotations_is_said(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(25):
        folder.image("training", f"{index}.png")
    assert "no annotations, and 25 images" in refused(new_run(folder.root.as_uri()))


def test_annotations_for_another_task_are_named(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 25)
    words = refused(new_run(folder.root.as_uri(), "phrase-grounding"))
    assert "none of the 25 annotations" in words
    assert "type Vqa" in words
    assert "'phrase-grounding'" in words


def test_annotations_for_two_tasks_serve_each_and_count_as_no_fault(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(30):
        name = f"{index:03}.png"
        folder.image("dump", name)
        both = [vqa(("What?", "x")), grounding("a car", ("a car", [[0.1, 0.1, 0.5, 0.5]]))]
        folder.annotate("dump", f"{index:03}.jsonl", *(line_of(name, contents) for contents in both))
    for task in ("vqa", "phrase-grounding"):
        run = new_run(folder.root.as_uri(), task)
        validate(run)
        facts = facts_of(run)
        assert (facts["samples"], facts["set_aside"], facts["samples_found"]) == (30, 30, 60)
        assert facts["set_aside_share"] == 0.0


def test_a_refused_dataset_leaves_no_records_of_an_earlier_try(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 25)
    run = new_run(folder.root.as_uri())
    validate(run)
    shutil.rmtree(folder.root / "training/images")
    assert "none of the 25 annotated images can be read: 25 image-missing" in refused(run)
    for name in (layout.RECORDS, layout.IMAGES, layout.FACTS, layout.FINGERPRINT):
        assert not run.exists(name)


def test_exif_orientation_counts_and_decides_the_size(folder: ViFolder, new_run: NewRun) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for task, contents in (("vqa", vqa(("What?", "x"))), ("phrase-grounding", grounding("a", ("a", [[0, 0, 1, 1]])))):
        shutil.rmtree(folder.root)
        for index in range(30):
            path = folder.image("training", f"{index:03}.jpg")
            Image.new("RGB", (64, 48), (index * 8, 9, 9)).save(path, exif=exif)
            size = (48, 64) if index < 29 else (64, 48)  # as it is seen; the last as it is stored
            folder.annotate("training", f"{index:03}.json", line_of(f"{index:03}.jpg", contents, size))
        run = new_run(folder.root.as_uri(), task)
        result = validate(run)
        assert {(record.width, record.height) for record in read_records(run.workspace / layout.RECORDS)} == {(48, 64)}
        ambiguous = [row["reason"] for row in aside_of(run)]
        # A question is about the picture however it was turned; a box may be meant for either frame.
        assert ambiguous == ([] if task == "vqa" else ["image-orientation"])
        assert f"{30 - len(ambiguous)} images were turned upright" in "\n".join(result.notes)


def test_another_size_of_the_same_picture_is_used_and_another_shape_is_not(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 28)
    folder.image("training", "scaled.png", (32, 24))
    folder.annotate("training", "scaled.json", line_of("scaled.png", vqa(("What?", "x")), (640, 480)))
    folder.image("training", "other.png", (48, 64))
    folder.annotate("training", "other.json", line_of("other.png", vqa(("What?", "x")), (640, 480)))
    result = validate(run := new_run(folder.root.as_uri()))
    [aside] = aside_of(run)
    assert (aside["reason"], aside["images"]) == ("image-size-differs", ["training/images/other.png"])
    assert "640 x 480" in aside["message"]
    assert "48 x 64" in aside["message"]
    assert any("1 samples have an image at another size" in warning for warning in result.warnings)


def test_an_image_on_both_sides_and_a_question_asked_twice_are_warned_of(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 20)
    folder.fill("validation", 5)
    shutil.copy(folder.root / "training/images/t0001.png", folder.root / "validation/images/v0001.png")
    folder.annotate("training", "again.json", line_of("t0002.png", vqa(("What?", "something else"))))
    result = validate(new_run(folder.root.as_uri()))
    words = "\n".join(result.warnings)
    assert "1 image is in training and in validation" in words
    assert "ask the same of the same images as another, and are answered otherwise" in words


def test_images_without_annotations_are_counted(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 25)
    folder.image("training", "lonely.png")
    result = validate(new_run(folder.root.as_uri()))
    assert any("1 images have no annotation and are left out: training/images/lonely.png" in w for w in result.warnings)


def test_characters_that_cannot_be_served_are_replaced_and_counted(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 25)
    folder.sample("training", "q", vqa(("Say?", 'the "red"\\blue')))
    run = new_run(folder.root.as_uri())
    result = validate(run)
    [record] = [record for record in read_records(run.workspace / layout.RECORDS) if record.prompt == "Say?"]
    assert "\\" not in record.target
    assert json.loads(record.target)["vqa"] == json.loads(record.truth)
    assert any("3 characters in 1 answers were replaced" in note for note in result.notes)


def test_prompts_of_the_task_stand_in_where_samples_bring_none(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(25):
        folder.sample("dump", f"{index:02}", grounding("A red car", ("A red car", [[0.1, 0.1, 0.9, 0.5]])))
    run = new_run(folder.root.as_uri(), "phrase-grounding")
    validate(run)
    records = read_records(run.workspace / layout.RECORDS)
    assert len({record.prompt for record in records}) == 1
    assert records[0].prompt
    assert json.loads(records[0].target)["phrase_grounding"]["groundings"] == [
        {"phrase": "A red car", "grounding": [[102, 102, 922, 512]]}
    ]


def test_a_generic_answer_needs_no_question(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(25):
        folder.sample("dump", f"{index:02}", {"type": "Freeform", "text": f"text {index}"})
    result = validate(run := new_run(folder.root.as_uri(), "generic"))
    records = read_records(run.workspace / layout.RECORDS)
    assert {record.prompt for record in records} == {""}
    assert sorted(record.target for record in records) == sorted(f"text {index}" for index in range(25))
    assert any("every sample has a text of the user" in warning for warning in result.warnings)


def test_an_export_of_images_has_nothing_for_a_task_of_videos(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("training", 25)
    with pytest.raises(DataError, match="no sample for video-freeform"):
        validate(new_run(folder.root.as_uri(), "video-freeform"))


def test_the_gate_of_great_expectations_is_the_users_own(
    folder: ViFolder, new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.fill("training", 25)
    configs = Path(__file__).parents[2] / "include" / "configs"
    (tmp_path / "configs" / "catalog").mkdir(parents=True)
    shutil.copytree(configs / "expectations", tmp_path / "configs" / "expectations")
    monkeypatch.setenv("AIRTUNE_CONFIGS", str(tmp_path / "configs"))
    suite = tmp_path / "configs/expectations/vqa.json"
    stated = json.loads(suite.read_text())
    answers = {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "answer", "value_set": ["yes", "no"]},
        "description": "answers are yes or no",
    }
    for severity in ("critical", "warning"):
        suite.write_text(json.dumps({**stated, "expectations": [{**answers, "severity": severity}]}))
        if severity == "critical":
            assert "not so: answers are yes or no; 25 of 25" in refused(new_run(folder.root.as_uri()))
        else:
            assert "answers are yes or no" in "\n".join(validate(new_run(folder.root.as_uri())).warnings)
    for broken in ("{", "[]", '{"expectations": [1]}', '{"expectations": [{"type": "expect_miracles", "kwargs": {}}]}'):
        suite.write_text(broken)
        with pytest.raises(SettingsError, match=r"vqa\.json"):
            validate(new_run(folder.root.as_uri()))
    suite.write_text(json.dumps({"expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "colour"}}]}))
    with pytest.raises(SettingsError, match="the table has no such column"):
        validate(new_run(folder.root.as_uri()))


def test_the_longest_sample_is_named_with_its_place(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("dump", 25)
    folder.sample("dump", "long", vqa(("What?", "short"), ("Why " * 50 + "?", "because " * 20)))
    folder.sample("dump", "wide", vqa(("?", "a very long answer, in bytes: " + "\N{SNOWMAN}" * 100)))
    run = new_run(folder.root.as_uri())
    validate(run)
    longest = facts_of(run)["longest_sample"]
    record = next(each for each in read_records(run.workspace / layout.RECORDS) if each.id == longest["id"])
    assert longest["source_file"] == record.source_file == "dump/annotations/long.jsonl"
    assert longest["characters"] == len(record.prompt) + len(record.target)


def test_a_validation_whose_answers_are_unlike_those_of_training_is_named(folder: ViFolder, new_run: NewRun) -> None:
    for index in range(60):
        folder.sample("training", f"t{index}", vqa(("What?", "cat" if index % 2 else "dog")))
    for index in range(30):
        folder.sample("validation", f"v{index}", vqa(("What?", "dog")))
    run = new_run(folder.root.as_uri())
    validate(run)
    unlike = facts_of(run)["validation_unlike_training"]
    assert (unlike["level"], unlike["answer"], unlike["train"], unlike["validation"]) == ("much", "dog", 0.5, 1.0)
    warnings = run.read_json(layout.VALIDATION_RESULT)["warnings"]
    assert any('"dog" is 50.0% of training and 100.0% of validation' in line for line in warnings)
    for index in range(30):
        folder.sample("validation", f"w{index}", vqa(("What?", "cat")))
    validate(run)
    assert facts_of(run)["validation_unlike_training"] is None

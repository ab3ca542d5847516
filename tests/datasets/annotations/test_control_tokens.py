"""Texts that a tokenizer takes for control tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.datasets.conftest import NewRun, ViFolder, vqa

from airtune.configs import config_file
from airtune.datasets.annotations.control_tokens import ControlTokens, tokens_of_model
from airtune.datasets.record import read_records
from airtune.datasets.stage import validate
from airtune.stores import layout

OF_THE_CATALOG = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|turn>",
    "<turn|>",
    "<image>",
    "<image_soft_token>",
    "<start_of_turn>",
    "</s>",
    "<IMG_CONTEXT>",
    "<bos>",
    "<｜end▁of▁sentence｜>",
)
OWN = ("[INST]", "[/INST]", "<own>", "§stop§")


def original(text: str, controls: ControlTokens) -> str:
    """What was written before one underscore was put into each control token."""
    return re.sub(controls._pattern.pattern.replace("(?=_*", "_(?=_*"), lambda found: found.group()[:-1], text)


@pytest.mark.parametrize("token", [*OF_THE_CATALOG, *OWN])
def test_a_control_token_becomes_text_that_is_none(token: str) -> None:
    controls = ControlTokens(OWN)
    escaped, count = controls.escape(f"say {token}{token}!")
    assert count == 2
    assert token not in escaped
    assert escaped == f"say {token[0]}_{token[1:]}{token[0]}_{token[1:]}!"


@pytest.mark.parametrize("text", ["2 < 3 > 1", "a <b>bold</b> word", "<_image>x", "[list]", "x_y", "a|b", "<think>"])
def test_other_texts_stay_as_they_are_but_what_looks_escaped(text: str) -> None:
    escaped, count = ControlTokens().escape(text)
    assert (escaped, count) == ((text, 0) if text != "<_image>x" else ("<__image>x", 1))


@given(st.lists(st.sampled_from([*OF_THE_CATALOG, *OWN, "<", "_", "|", ">", "x", "image>", "[", " "]), max_size=12))
def test_whatever_the_text_is_no_token_is_left_and_the_original_can_be_had_again(pieces: list[str]) -> None:
    text = "".join(pieces)
    controls = ControlTokens(OWN)
    escaped, count = controls.escape(text)
    assert not any(token in escaped for token in (*OF_THE_CATALOG, *OWN))
    assert len(escaped) == len(text) + count
    assert original(escaped, controls) == text


def test_the_tokens_of_a_model_are_those_its_tokenizer_files_name(tmp_path: Path) -> None:
    added = [{"content": "<a>", "special": True}, {"content": "<tool>", "special": False}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {"vocab": {"x": 1}}}))
    config = {
        "added_tokens_decoder": {"7": {"content": "<b>", "special": True}},
        "eos_token": {"content": "<c>", "lstrip": False},
        "pad_token": "<d>",
        "bos_token": None,
        "extra_special_tokens": {"image_token": "<e>"},
        "model_max_length": 12,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text("[broken")
    assert tokens_of_model(tmp_path.as_uri()) == {"<a>", "<b>", "<c>", "<d>", "<e>"}
    (tmp_path / "empty").mkdir()
    assert tokens_of_model((tmp_path / "empty").as_uri()) == frozenset()


def test_a_run_trains_escaped_texts_counts_them_and_the_fingerprint_does_not_see_them(
    folder: ViFolder, new_run: NewRun, tmp_path: Path
) -> None:
    folder.fill("dump", 24)
    folder.sample("dump", "x", vqa(("What does <|im_end|> mean?", "<own>")))
    before = new_run(folder.root.as_uri())
    validate(before)
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<own>"}))
    run = new_run(folder.root.as_uri(), baseModel=base.as_uri())
    validate(run)
    [record] = [record for record in read_records(run.path(layout.RECORDS)) if record.escaped]
    assert record.prompt == "What does <_|im_end|> mean?"
    assert record.target == '{"vqa":{"answer":"<_own>"}}'
    assert json.loads(record.truth) == {"answer": "<_own>"}
    assert record.escaped == 2
    facts = run.read_json(layout.FACTS)
    assert facts["control_tokens_escaped"] == {"times": 2, "samples": 1}
    assert any(
        "2 control tokens in the texts of 1 samples" in note
        for note in run.read_json(layout.VALIDATION_RESULT)["notes"]
    )
    assert before.read_json(layout.FACTS)["control_tokens_escaped"] == {"times": 1, "samples": 1}
    assert facts["fingerprint"] == before.read_json(layout.FACTS)["fingerprint"]


def test_the_model_that_comes_with_airtune_has_its_tokens_among_those_of_the_catalog() -> None:
    tokens = tokens_of_model(config_file("demo", "tiny-vlm", "config.json").parent.as_uri())
    assert "<|vision_start|>" in tokens
    assert all(ControlTokens().escape(token)[1] == 1 for token in tokens)

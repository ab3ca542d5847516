"""A model's tokenizer and chat template, read from its files: what transformers makes of the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.errors import SettingsError
from airtune.modeling.conversation import end_of_turn, messages, render_prompt
from airtune.modeling.text_files import TextFiles

TINY = configs_root() / "demo/tiny-vlm"
TEXT = "How many Übergänge, 你好?\n{}"


@pytest.fixture(scope="module")
def processor() -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(TINY)


@pytest.mark.parametrize(("system", "images", "videos"), [("Be brief.", 1, 0), ("", 2, 0), ("a", 0, 1), ("", 0, 0)])
def test_a_conversation_is_written_as_transformers_writes_it(
    processor: Any, system: str, images: int, videos: int
) -> None:
    files = TextFiles.read(TINY.as_uri())
    asked = messages(system, images, TEXT, videos=videos)
    assert files.render(asked, asks=True) == render_prompt(processor, system, images, TEXT, videos=videos)
    told = messages(system, images, TEXT, "Two", videos=videos)
    assert files.render(told, asks=False) == processor.apply_chat_template(told, tokenize=False)


def test_tokens_and_the_end_of_a_turn_are_those_of_the_processor(processor: Any) -> None:
    files = TextFiles.read(TINY.as_uri())
    assert files.count is not None
    assert files.count(TEXT) == len(processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    stops = {processor.tokenizer.eos_token_id}
    assert files.end_of_turn() == end_of_turn(processor, stops).text


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('not so') }}",
        "{% for %}",
        "{{ messages[9].content }}{{ messages[9]['x']['y'] }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
        None,
    ],
)
def test_a_template_that_cannot_be_run_is_none(template: str | None) -> None:
    files = TextFiles(None, template, {"eos_token": {"content": "</s>"}})
    assert files.render(messages("", 0, "x"), asks=True) in (None, "")
    assert files.end_of_turn() == "</s>"


def test_templates_are_found_in_each_of_their_places(tmp_path: Path) -> None:
    asked = messages("", 0, "x")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "one", "eos_token": "!"}))
    assert TextFiles.read(tmp_path.as_uri()).render(asked, asks=True) == "one"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "two{{ eos_token }}"}))
    assert TextFiles.read(tmp_path.as_uri()).render(asked, asks=True) == "two!"
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{% break %}{% endfor %}three")
    assert TextFiles.read(tmp_path.as_uri()).render(asked, asks=True) == "three"
    assert TextFiles.read(tmp_path.as_uri()).count is None
    (tmp_path / "tokenizer_config.json").write_text("broken")
    (tmp_path / "tokenizer.json").write_text("broken")
    with pytest.raises(SettingsError, match=r"tokenizer\.json is damaged"):
        TextFiles.read(tmp_path.as_uri())

"""Names of runs."""

import pytest

from airtune.runspec.names import has_version, next_version, suggested
from airtune.runspec.tasks import Task


def test_a_suggested_name_says_task_size_and_key_settings() -> None:
    assert suggested(Task.VQA, "7B", "LoRA", "NF4") == "VQA-7B-LoRA-NF4-v1"
    assert suggested(Task.PHRASE_GROUNDING, "26B A4B", "SFT", None) == "PhraseGrounding-26BA4B-SFT-v1"
    assert suggested(Task.GENERIC, "/", "LoRA", None) == "Generic-model-LoRA-v1"


@pytest.mark.parametrize(
    ("name", "after"), [("x-v1", "x-v2"), ("x-v9", "x-v10"), ("x", "x-v2"), ("a-v1-v3", "a-v1-v4")]
)
def test_the_next_version_counts_up(name: str, after: str) -> None:
    assert next_version(name) == after
    assert has_version(after)

"""The texts around a sample."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airtune.errors import SettingsError
from airtune.runspec.prompts import default_system_prompt, prompts_for, user_prompt, vi_system_prompt, vi_user_prompt
from airtune.runspec.tasks import Task

SCHEMA_TASKS = [task for task in Task if task.answers_in_json]


def test_without_a_prompt_the_tasks_own_is_used() -> None:
    prompts = prompts_for(Task.FREEFORM, None)
    assert prompts == (default_system_prompt(Task.FREEFORM), user_prompt(Task.FREEFORM), "default")


def test_a_prompt_of_the_user_is_taken_as_it_is_even_when_it_is_empty() -> None:
    assert prompts_for(Task.VQA, "") == ("", None, "user")
    assert prompts_for(Task.VQA, "Look.") == ("Look.", None, "user")


@pytest.mark.parametrize("task", SCHEMA_TASKS)
def test_vi_takes_the_texts_of_the_installed_sdk(task: Task) -> None:
    consts = pytest.importorskip("vi.inference.task_types.consts")
    kind = consts.TaskType(task.value)
    prompts = prompts_for(task, "vi")
    assert prompts.system == consts.TASK_TYPE_TO_SYSTEM_PROMPT_MAP[kind] == vi_system_prompt(task)
    assert prompts.source == "vi"
    assert prompts.user == (None if task is Task.VQA else consts.TASK_TYPE_TO_USER_PROMPT_MAP[kind])
    assert vi_user_prompt(task) == consts.TASK_TYPE_TO_USER_PROMPT_MAP[kind]


def test_reading_the_sdks_texts_imports_neither_the_sdk_nor_torch() -> None:
    pytest.importorskip("vi")
    code = (
        "import sys; from airtune.runspec.prompts import prompts_for; from airtune.runspec.tasks import Task; "
        "prompts_for(Task.VQA, 'vi'); print([m for m in ('vi', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_vi_has_no_prompt_for_generic() -> None:
    with pytest.raises(SettingsError, match="no prompt for the task generic"):
        prompts_for(Task.GENERIC, "vi")


def test_vi_without_the_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    for name in [name for name in sys.modules if name == "vi" or name.startswith("vi.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SettingsError, match="extra `vi`"):
        prompts_for(Task.VQA, "vi")


@pytest.mark.parametrize("task", list(Task))
def test_a_task_asks_its_own_question_or_has_a_users_text(task: Task) -> None:
    assert (user_prompt(task) is None) == task.asks_a_question

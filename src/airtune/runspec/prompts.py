"""The texts around a sample: the system prompt, and the user's text where a task's samples bring none.

Datature's SDK serves the four schema tasks with system prompts of its own, whatever a run.json says. So the prompt
is a choice on record: airtune has short ones of its own wording; ``systemPrompt: "vi"`` trains with the SDK's, read
from the installed package ``vi-sdk`` when the run is resolved.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Final, Literal, NamedTuple

from airtune.errors import Problem, SettingsError
from airtune.runspec.tasks import Task

VI: Final = "vi"
"""The value of ``systemPrompt`` that asks for the SDK's own texts."""

_SYSTEM: Final = {
    Task.PHRASE_GROUNDING: (
        "Write one sentence about the image and locate what it names. Answer with one line of JSON: "
        '{"phrase_grounding":{"sentence":"...","groundings":[{"phrase":"...","grounding":[[xmin,ymin,xmax,ymax]]}]}} '
        "where each phrase is copied from the sentence and boxes are integers from 0 to 1024."
    ),
    Task.VQA: 'Answer the question about the image with one line of JSON: {"vqa":{"answer":"..."}}',
    Task.FREEFORM: 'Describe the image with one line of JSON: {"freeform":{"caption":"..."}}',
    Task.VIDEO_FREEFORM: 'Describe the video with one line of JSON: {"freeform":{"caption":"..."}}',
    Task.GENERIC: "",
}

_USER: Final = {
    Task.PHRASE_GROUNDING: "Say what is in this image and where it is.",
    Task.FREEFORM: "Say what this image shows.",
    Task.VIDEO_FREEFORM: "Say what this video shows.",
}


class Prompts(NamedTuple):
    """The texts of a run.

    Attributes:
        system: the system prompt; may be empty, then no system turn is rendered.
        user: the user's text for samples that bring none; None where every sample brings its own.
        source: ``user`` (from the run.json), ``default`` (airtune's own) or ``vi`` (the SDK's).
    """

    system: str
    user: str | None
    source: Literal["user", "default", "vi"]


def prompts_for(task: Task, asked: str | None) -> Prompts:
    """The texts for a task, given the run.json's ``systemPrompt`` (None when it has none).

    Raises:
        SettingsError: ``vi`` is asked for and ``vi-sdk`` is not installed, or has no prompt for this task.
    """
    if asked == VI:
        user = vi_user_prompt(task) if not task.asks_a_question else None
        return Prompts(vi_system_prompt(task), user, "vi")
    if asked is not None:
        return Prompts(asked, user_prompt(task), "user")
    return Prompts(default_system_prompt(task), user_prompt(task), "default")


def default_system_prompt(task: Task) -> str:
    """The project's own system prompt for a task; empty for generic."""
    return _SYSTEM[task]


def user_prompt(task: Task) -> str | None:
    """The project's own user text for a task; None for the tasks whose samples bring their own."""
    return _USER.get(task)


def vi_system_prompt(task: Task) -> str:
    """The system prompt with which Datature's SDK serves a task.

    Raises:
        SettingsError: ``vi-sdk`` is not installed, or has no system prompt for this task (generic).
    """
    return _vi_text("TASK_TYPE_TO_SYSTEM_PROMPT_MAP", task)


def vi_user_prompt(task: Task) -> str:
    """The user's text with which Datature's SDK serves a task when its caller gives none.

    Raises:
        SettingsError: ``vi-sdk`` is not installed, or has no such text for this task (generic).
    """
    return _vi_text("TASK_TYPE_TO_USER_PROMPT_MAP", task)


def _vi_text(table: str, task: Task) -> str:
    where = "spec.flow.blocks[system-prompt].settings.systemPrompt"
    source = _vi_constants()
    if source is None:
        raise SettingsError(
            Problem(
                where,
                "asks for the prompts of Datature's SDK, which is not installed here",
                value=repr(VI),
                fix="install airtune with the extra `vi`, or write the prompt out",
            )
        )
    text = _read_table(source, table).get(task.name)
    if text is None:
        raise SettingsError(
            Problem(
                where,
                f"the installed vi-sdk has no prompt for the task {task.value}",
                value=repr(VI),
                fix="write the prompt out, or leave the block away",
            )
        )
    return text


def _vi_constants() -> Path | None:
    # Importing vi.inference would import torch (ten seconds, and a gigabyte that a scheduler need not have),
    # so the file that holds the constants is found and read without running it.
    package = importlib.util.find_spec("vi")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "inference", "task_types", "consts.py")
        if path.is_file():
            return path
    return None


def _read_table(source: Path, table: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    found: dict[str, str] = {}
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, value = statement.targets[0].id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            name, value = statement.target.id, statement.value
        else:
            continue
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            texts[name] = value.value
        elif name == table and isinstance(value, ast.Dict):
            for key, entry in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Attribute) and isinstance(entry, ast.Name) and entry.id in texts:
                    found[key.attr] = texts[entry.id]
    return found

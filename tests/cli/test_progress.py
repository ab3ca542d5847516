"""A run's progress: a line per event where nobody looks at a terminal, a table where somebody does."""

from __future__ import annotations

import io

from rich.console import Console

from airtune.cli.progress import show
from airtune.embedded.client import DagRunState, TaskState
from airtune.embedded.following import Training, View


def _view(state: str, *tasks: TaskState, training: Training | None = None) -> View:
    return View(DagRunState("r", state, None, tasks), None, training)


VIEWS = [
    _view("running", TaskState("finetune", None, None, 0), TaskState("load_run", "running", 0.5, 1)),
    _view("running", TaskState("load_run", "success", 1.25, 1), TaskState("finetune", "running", 0.1, 1)),
    _view(
        "running",
        TaskState("load_run", "success", 1.25, 1),
        TaskState("finetune", "running", 9.0, 1),
        training=Training(5, 10, 0.5, 0.25, 6.0),
    ),
    _view("running", TaskState("load_run", "success", 1.25, 1), TaskState("finetune", "up_for_retry", 11.0, 1)),
    _view("failed", TaskState("load_run", "success", 1.25, 1), TaskState("finetune", "failed", 3.0, 2)),
]


def test_each_event_is_said_once() -> None:
    out = io.StringIO()
    last = show(VIEWS, Console(file=out, width=120))
    assert last is VIEWS[-1]
    said = [line.split("s  ", 1)[1] for line in out.getvalue().splitlines()]
    assert said == [
        "load_run: running",
        "load_run: success after 1.2 s",
        "finetune: running",
        "finetune: step 5/10, epoch 0.50, loss 0.2500, 6 s to go",
        "finetune: up_for_retry after 11.0 s",
        "finetune: failed after 3.0 s (try 2)",
    ]


def test_a_terminal_shows_tasks_in_the_order_of_the_dag() -> None:
    out = io.StringIO()
    show(VIEWS[:3], Console(file=out, width=120, force_terminal=True, no_color=True))
    shown = out.getvalue()
    assert shown.rindex("load_run") < shown.rindex("finetune")
    assert "step 5/10" in shown

"""Shows a run while it goes: a live table at a terminal, a line per event anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from airtune.embedded.client import TaskState
from airtune.embedded.following import TASKS, View

_STYLES: Final = {
    "success": "green",
    "failed": "bold red",
    "upstream_failed": "dim red",
    "up_for_retry": "yellow",
    "running": "bold cyan",
}
_SAY_TRAINING_EVERY_S: Final = 5.0


def show(views: Iterable[View], console: Console) -> View:
    """Shows every view of a run.

    Returns:
        The last one.
    """
    return _live(views, console) if console.is_terminal else _lines(views, console)


def _live(views: Iterable[View], console: Console) -> View:
    begun = time.monotonic()
    last: View | None = None
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        for last in views:
            live.update(_table(last, time.monotonic() - begun))
    if last is None:
        raise ValueError("no view of the run")
    return last


def _table(view: View, seconds: float) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        table.add_column()
    for task in _ordered(view):
        said = f"{view.training}" if task.name == "finetune" and view.training else ""
        state = task.state or "waiting"
        took = "" if task.seconds is None else f"{task.seconds:.0f} s"
        table.add_row(escape(str(task)), Text(state, style=_STYLES.get(state, "dim")), took, said)
    return Group(Text(f"{view.dag_run.run_id}: {view.dag_run.state} for {seconds:.0f} s"), table)


def _lines(views: Iterable[View], console: Console) -> View:
    begun = time.monotonic()
    seen: dict[str, tuple[str | None, int]] = {}
    said_at, said_step = -_SAY_TRAINING_EVERY_S, 0
    last: View | None = None
    for last in views:
        now = time.monotonic() - begun
        for task in _ordered(last):
            if seen.get(str(task)) != (task.state, task.tries):
                seen[str(task)] = (task.state, task.tries)
                if task.state in _STYLES:
                    again = f" (try {task.tries})" if task.tries > 1 else ""
                    took = f" after {task.seconds:.1f} s" if task.state != "running" and task.seconds else ""
                    console.print(f"{now:6.1f} s  {escape(str(task))}: {task.state}{took}{again}")
        training = last.training
        if training is not None and training.step != said_step and now - said_at >= _SAY_TRAINING_EVERY_S:
            said_at, said_step = now, training.step
            console.print(f"{now:6.1f} s  finetune: {training}")
    if last is None:
        raise ValueError("no view of the run")
    return last


def _ordered(view: View) -> list[TaskState]:
    order = {name: place for place, name in enumerate(TASKS)}
    return sorted(view.dag_run.tasks, key=lambda task: order.get(task.name, len(order)))

"""What ``airtune show`` prints of a run: read from its run directory alone, however far the run has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from airtune.cli.words import OUT, tell_problems
from airtune.embedded.following import STAGES
from airtune.errors import AirtuneError
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import read_stage_record

_LONGEST_VALUE: Final = 60


def collect(run: RunDirectory) -> dict[str, Any]:
    """Everything worth showing; what does not exist yet is None.

    Returns:
        The keys ``run_uri``, ``asked`` (the run.json as it was asked for), ``stages`` (name -> its record),
        ``resolution``, ``facts`` (of the dataset), ``evaluation``, ``gate``, ``artifacts`` (``files``, ``bytes``),
        ``reload`` and ``promotion``.
    """
    manifest = _json(run, layout.MANIFEST)
    files = manifest["files"] if manifest else None
    return {
        "run_uri": run.uri,
        "asked": _json(run, layout.REQUEST),
        "stages": {stage: read_stage_record(run, stage) for stage in STAGES.values()},
        "resolution": _json(run, layout.RESOLUTION),
        "facts": _json(run, layout.FACTS),
        "evaluation": _json(run, layout.METRICS),
        "gate": _json(run, layout.GATE),
        "artifacts": None if files is None else {"files": len(files), "bytes": sum(each["size"] for each in files)},
        "reload": _json(run, layout.RELOAD),
        "promotion": _json(run, layout.PUBLISH_RESULT),
    }


def print_run(found: Mapping[str, Any]) -> None:
    """Prints what :func:`collect` found, for people."""
    flow = ((found["asked"] or {}).get("spec") or {}).get("flow") or {}
    OUT.print(f"[bold]{escape(str(flow.get('name') or '(no name)'))}[/]  {escape(found['run_uri'])}")
    _stages(found["stages"])
    if found["resolution"]:
        _settings(found["resolution"])
    if found["evaluation"]:
        print_scores(found["evaluation"])
    if found["gate"]:
        OUT.print(f"[bold]Gate[/]  {escape(found['gate']['decision'])}: {escape(found['gate']['reason'])}")
    if found["artifacts"]:
        OUT.print(f"[bold]Published[/]  {found['artifacts']['files']} files, {_size(found['artifacts']['bytes'])}")
    if found["reload"]:
        OUT.print(f"[bold]Loaded back[/]  {found['reload']['agreement']:.1%} of the answers agree")
    for stage, record in found["stages"].items():
        if record and record.get("exit_code"):
            OUT.print(f"[bold red]{escape(stage)} failed[/] (exit code {record['exit_code']})")
            tell_problems(record.get("problems") or [])


def print_scores(evaluation: Mapping[str, Any]) -> None:
    """Prints the scores of the base model and the tuned one, side by side."""
    columns = [
        (f"{model}, {decoding}", values)
        for model in ("base", "tuned")
        for decoding, values in (evaluation.get(model) or {}).items()
    ]
    table = Table(title=f"Scores on {evaluation['samples']} samples", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for metric in dict.fromkeys(metric for _, values in columns for metric in values):
        cells = [_number(values.get(metric)) for _, values in columns]
        style = "bold" if metric == evaluation.get("primary") else None
        table.add_row(escape(str(metric)), *cells, style=style)
    OUT.print(table)


def _stages(records: Mapping[str, Mapping[str, Any] | None]) -> None:
    table = Table(title="Stages", title_justify="left", box=None, pad_edge=False, show_header=False)
    for stage, record in records.items():
        if record is None:
            table.add_row(stage, "not begun", "")
        else:
            seconds = "" if record.get("seconds") is None else f"{record['seconds']:.1f} s"
            table.add_row(stage, escape(str(record.get("state"))), seconds)
    OUT.print(table)


def _settings(resolution: Mapping[str, Any]) -> None:
    OUT.print("[bold]Settings[/]")
    entries = resolution["entries"]
    width = max(len(entry["path"]) for entry in entries)
    for entry in entries:
        value = " ".join(str(entry["value"]).split())
        shown = value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 1] + "…"
        why = "" if entry["source"] == "user" else f": {entry['reason']}"
        OUT.print(f"{entry['path']:{width}}  {escape(shown)}  [dim]{entry['source']}{escape(why)}[/]")
    for warning in resolution["warnings"]:
        OUT.print(f"advice: {escape(warning)}", style="yellow")


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape("" if value is None else str(value)[:24])
    return f"{value}" if isinstance(value, int) else f"{value:.3f}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _json(run: RunDirectory, name: str) -> Any:
    try:
        return run.read_json(name) if run.exists(name) else None
    except AirtuneError:
        return None

"""The stage ``publish``: bundle, upload, verification, manifest, reload, and last the pointer ``current``.

The order is the promise. ``manifest.json`` is created after every file was read back and compared; ``current.json``
moves after a fresh process has loaded the published bundle and answered as the trained model did. Killed anywhere,
the stage goes on where it was; run again after it is done, it changes nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from airtune.environment import Environment
from airtune.errors import DefectError, Problem
from airtune.modeling.base_model import fetch_base_model
from airtune.publishing.bundle import assemble
from airtune.publishing.manifest import Manifest, check_unchanged, create_manifest, describe, read_manifest
from airtune.publishing.promote import Pointer, Promotion, promote
from airtune.publishing.reload import Answer, answers_of_fresh_process, compare
from airtune.publishing.run_document import model_warning, prompt_warning
from airtune.publishing.transfer_report import TransferReport
from airtune.publishing.upload import download_published, upload, verified
from airtune.runspec.resolved import Resolution, ResolvedRun
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune.stores.conditional import check_conditional_writes
from airtune.stores.run_directory import RunDirectory

Say = Callable[[str], None]

_NEEDED: Final = {
    layout.RESOLUTION: "resolve",
    layout.RECORDS: "validate",
    layout.TRAINING_RESULT: "train",
    layout.METRICS: "evaluate",
    layout.PREDICTIONS: "evaluate",
    layout.GATE: "gate",
}


@dataclass(frozen=True)
class PublishResult:
    """What is published.

    Attributes:
        run_uri: where.
        files: how many the manifest lists.
        bytes: of all of them.
        agreement: share of greedy answers, 0 to 1, that the published bundle gives as the trained model did.
        samples: how many were compared.
        promoted: whether the run is the champion of its name.
        reason: why, or why not.
        current: URI of the pointer.
        warnings: what a reader of the bundle should know.
    """

    run_uri: str
    files: int
    bytes: int
    agreement: float
    samples: int
    promoted: bool
    reason: str
    current: str
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        place = f"promoted, {self.current}" if self.promoted else "not promoted"
        return f"{self.run_uri}: {self.files} files, {self.bytes:,} bytes; {place} ({self.reason})"

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Reads ``publishing/result.json``.

        Raises:
            DefectError: it is not one.
        """
        try:
            return cls(**{**document, "warnings": tuple(document["warnings"])})
        except (KeyError, TypeError) as error:
            raise DefectError(
                Problem(layout.PUBLISH_RESULT, "cannot be read", fix="delete it and run `airtune publish` again")
            ) from error


def _print(line: str) -> None:
    print(line, flush=True)  # a log that is read while the stage runs


def publish(run: RunDirectory, *, answer: Answer = answers_of_fresh_process, say: Say = _print) -> PublishResult:
    """Publish a run that was trained, evaluated and gated.

    Args:
        run: the run.
        answer: how the published bundle is asked; the default starts a fresh process.
        say: takes a line for people.

    Raises:
        MissingError: a stage before has not run; each is named.
        DefectError: the store does not hold what was sent, or the published bundle answers otherwise.
        AirtuneError: see :mod:`airtune.publishing.bundle` and :mod:`airtune.stores`.
    """
    missing = [name for name in _NEEDED if not run.exists(name)]
    if missing:
        raise MissingError(
            Problem(f"{run.uri}/{name}", "is missing", fix=f"run `airtune {_NEEDED[name]}` first") for name in missing
        )
    resolution = Resolution.from_json(run.store.read(layout.RESOLUTION))
    resolved = resolution.run
    warnings = tuple(filter(None, (model_warning(resolution), prompt_warning(resolved))))
    for warning in warnings:
        say(f"warning: {warning}")
    manifest = read_manifest(run)
    if manifest is None:
        manifest, reloaded = _publish_files(run, resolved, answer, say)
    else:
        check_unchanged(run, manifest)
        reloaded = _reload_again(run, manifest, answer, say)
    if reloaded["agreement"] < 1:
        raise _disagreement(run, reloaded)
    if run.exists(layout.PUBLISH_RESULT):
        say("publish: published before, nothing is changed")
        return PublishResult.from_json(run.read_json(layout.PUBLISH_RESULT))
    promotion = _promote(run, resolved, manifest, say)
    result = PublishResult(
        run_uri=run.uri,
        files=len(manifest.files),
        bytes=manifest.size,
        agreement=reloaded["agreement"],
        samples=reloaded["samples"],
        promoted=promotion.promoted,
        reason=promotion.reason,
        current=f"{_models(run, resolved).uri}/{layout.CURRENT}",
        warnings=warnings,
    )
    run.write_json(layout.PUBLISH_RESULT, asdict(result))
    return result


def _publish_files(
    run: RunDirectory, resolved: ResolvedRun, answer: Answer, say: Say
) -> tuple[Manifest, dict[str, Any]]:
    """Everything up to the manifest, and the reload of what was read back."""
    check_conditional_writes(run.store.sub(layout.PUBLISHING))
    is_adapter = resolved.training_mode == "LoRA"
    run.fetch(
        layout.RUN_JSON, layout.RESOLUTION, layout.DATASET, layout.VALIDATION, layout.TRAINING, layout.EVALUATION,
        layout.MODEL_ADAPTER if is_adapter else layout.MODEL_FULL,
    )  # fmt: skip
    base = fetch_base_model(resolved.base_model, progress=TransferReport("fetching the base model", say))
    say("publish: putting the bundle together")
    bundle = assemble(run, resolved, base, TransferReport("copying the base model", say))
    upload(run, bundle, TransferReport("uploading", say))
    with _empty_folder(run) as folder:
        files = verified(run, folder, TransferReport("reading back", say))
        manifest = create_manifest(run, describe(run, resolved, files, bundle.base_model_digest(files)))
        say(f"publish: {len(files)} files with {manifest.size:,} bytes verified, the manifest is written")
        return manifest, _reload(run, folder, answer, say)


def _reload_again(run: RunDirectory, manifest: Manifest, answer: Answer, say: Say) -> dict[str, Any]:
    """The result of the reload, from the record where it is good, else from a new download."""
    if run.exists(layout.RELOAD):
        recorded: dict[str, Any] = run.read_json(layout.RELOAD)
        if recorded.get("agreement") == 1 and recorded.get("samples"):
            return recorded
    run.fetch(layout.DATASET, layout.EVALUATION, layout.RESOLUTION)
    with _empty_folder(run) as folder:
        bundle = [record for record in manifest.files if record.path.split("/")[0].startswith("model_")]
        download_published(run, bundle, folder, TransferReport("downloading the published bundle", say))
        return _reload(run, folder, answer, say)


def _reload(run: RunDirectory, folder: Path, answer: Answer, say: Say) -> dict[str, Any]:
    say("publish: loading the published bundle in a fresh process")
    for path in folder.iterdir():  # the process gets the bundle and nothing else
        if path.name not in (layout.MODEL_FULL, layout.MODEL_ADAPTER):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    reloaded = compare(run, answer(folder, run.workspace))
    run.write_json(layout.RELOAD, reloaded)
    say(f"publish: {reloaded['agreement']:.1%} of {reloaded['samples']} greedy answers are those of the trained model")
    return reloaded


def _promote(run: RunDirectory, resolved: ResolvedRun, manifest: Manifest, say: Say) -> Promotion:
    gate = run.read_json(layout.GATE)
    if gate["decision"] != "promote":
        promotion = Promotion(False, str(gate["reason"]))
    else:
        challenger = Pointer(
            run_id=run.run_id,
            run_uri=run.uri,
            metric=str(gate["metric"]),
            value=float(gate["challenger"]),
            evaluation_set_digest=run.read_json(layout.METRICS).get("evaluation_set_digest"),
            manifest_sha256=manifest.sha256,
        )
        promotion = promote(_models(run, resolved), challenger, compared_with=gate.get("champion_run"))
    say(f"publish: {'promoted' if promotion.promoted else 'not promoted'}: {promotion.reason}")
    return promotion


def _models(run: RunDirectory, resolved: ResolvedRun) -> Any:
    return run.model_store(layout.model_folder_name(resolved.name))


def _disagreement(run: RunDirectory, reloaded: dict[str, Any]) -> DefectError:
    return DefectError(
        Problem(
            f"{run.uri}, sample {each['sample']}",
            "the published bundle answers otherwise than the trained model, so nothing is promoted",
            value=repr(each["published"])[:200],
            allowed=repr(each["trained"])[:200],
            fix=f"see {layout.RELOAD}",
        )
        for each in reloaded["different"]
    )


@contextmanager
def _empty_folder(run: RunDirectory) -> Iterator[Path]:
    """An empty folder for downloads, gone afterwards; so are those of publishers of this run that were killed."""
    home = Environment.read().home / "work"
    stem = f"reload-{run.run_id}-"
    for left in home.glob(f"{stem}*"):
        if not Path(f"/proc/{left.name.removeprefix(stem)}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = home / f"{stem}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""The stage ``finetune``: ``accelerate launch -m airtune.training RUN_URI``. Top to bottom, it is the algorithm.

What comes in: ``resolution.json`` and ``dataset/`` of the run directory, and the base model. What goes out:
``model_adapter/`` (LoRA) or ``model_full/`` (SFT), and ``training/``. Killed at any moment and started again it goes
on from its newest complete checkpoint, and finished it does nothing.

Started as several processes, each runs this algorithm and holds a part of every batch (:mod:`.order`), of the
validation samples, and in full fine-tuning of the model (:mod:`.sharding`). The first one writes. What they have to
agree on is in :mod:`.ranks`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from airtune.errors import AirtuneError, DefectError, Problem, StoreError
from airtune.launch import exit_code_of
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import stage
from airtune.training import ranks
from airtune.training.disk import disk_fault
from airtune.training.handover import finished, hand_over, unsent
from airtune.training.stopping import StopRequest

if TYPE_CHECKING:
    from airtune.runspec.resolved import ResolvedRun
    from airtune.training.inputs import Inputs

STAGE: Final = "train"

log = logging.getLogger("airtune.training")


def train(run_uri: str, stop: StopRequest) -> dict[str, Any]:
    """Trains one run to its end.

    Returns:
        The content of ``training/result.json``.

    Raises:
        SettingsError: (64) the base model or a setting cannot be used.
        DataError: (65) the samples are not those that were validated, or do not fit the model.
        GpuMemoryError: (71) the GPU's memory is too small.
        DivergedError: (72) the loss is no longer a number.
        PreemptedError: (75) told to stop; a checkpoint was written.
        StoreError: (76) the store or the disk failed.
        PeerError: (76) another process of this run is gone.
    """
    directory = RunDirectory.open(run_uri)
    with _recorded(directory):
        ranks.join()
        done = ranks.told_by_main(_done_before(directory) if ranks.is_main() else None)
        if done is not None:
            return done

        # 1. What to do, and with which samples: exactly those that were validated, or nothing.
        from airtune.training.inputs import read_inputs

        with ranks.first_here():
            directory.fetch(layout.TRAINING)
            inputs = read_inputs(directory, log.info)
        stop.check()

        # 2. Everything else needs the heavy libraries.
        try:
            result = _train(directory, inputs, stop)
        except Exception as error:
            raise _in_words(error, inputs.run) from error
        ranks.leave()
        return result


def _train(directory: RunDirectory, inputs: Inputs, stop: StopRequest) -> dict[str, Any]:
    log.info("loading the libraries")
    from airtune.modeling.base_model import fetch_base_model
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_model, load_processor
    from airtune.modeling.vision_features import picture_encoder
    from airtune.training import checkpoints, sharding
    from airtune.training.accelerations import accelerate
    from airtune.training.features.identity import identity
    from airtune.training.features.keeping import kept_features
    from airtune.training.journal import Journal
    from airtune.training.mirror import Mirror
    from airtune.training.optimization import seed, training_arguments
    from airtune.training.pace import Pace
    from airtune.training.packing import ROW_TOKENS, Packer
    from airtune.training.probe import Probe
    from airtune.training.remedies import Remedies
    from airtune.training.report import describe, result_of
    from airtune.training.samples import CACHE_BYTES, Batches, Samples
    from airtune.training.saving import save_trained
    from airtune.training.schedule import total_steps
    from airtune.training.scores import Scores
    from airtune.training.selection import SET_ASIDE, select
    from airtune.training.selfcheck import SelfCheck
    from airtune.training.surroundings import Surroundings
    from airtune.training.trainable import make_trainable
    from airtune.training.trainer import VisionLanguageTrainer

    run, entry = inputs.run, inputs.entry

    # 3. The base model and its processor, in the run's precision or in 4 bit. The seed comes before the adapters.
    # A model that is divided among devices comes from the host's memory: it fits no device as a whole.
    with ranks.first_here():
        base = fetch_base_model(run.base_model)
    processor = load_processor(base, run, entry=entry)
    seed(run)
    arguments = training_arguments(run, folder=directory.path(layout.TRAINING))
    device = sharding.HOST if sharding.is_asked_for() else arguments.device
    model = load_model(base, run, entry=entry, for_training=True, device=device)
    stops = stop_token_ids(processor, model.generation_config)
    encoder = Encoder(processor, stops)
    stop.check()

    # 4. The samples that fit. The others are on record, none is cut.
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    chosen = select(inputs.records, run, encoder, inputs.images, context=context, say=log.info)
    if ranks.is_main():
        directory.path(SET_ASIDE).write_text(chosen.set_aside_lines(), encoding="utf-8")
    room = CACHE_BYTES // max(1, arguments.dataloader_num_workers)
    train_set, validation_set = (
        Samples(records, encoder, inputs.images, run.system_prompt, chosen.longest, room)
        for records in (chosen.train, chosen.validation)
    )
    total = total_steps(len(train_set), epochs=run.epochs, effective_batch=run.effective_batch)

    # 5. What is trained: adapters on the language model, or every parameter. What is frozen is not differentiated.
    model = make_trainable(model, run, entry)
    seeing = picture_encoder(model, run, entry)
    if ranks.rank() > 0:
        seed(run, ranks.rank())  # the adapters begin the same everywhere, dropout does not
    for line in describe(run, arguments, chosen, total):
        log.info(line)

    # 6. Cheap checks that what was promised is so.
    check = SelfCheck(model, run, entry, _write_by_main(directory, layout.TRAINING_SELFCHECK))
    for line in check.table():
        log.info(line)
    check.look_at_sample(train_set, encoder, chosen.lengths)
    check.watch_first_step(model)

    # 7. What a frozen tower makes of a picture is made once: for all epochs, and for the runs to come.
    features: AbstractContextManager[None] = nullcontext()
    if seeing is not None:
        features = kept_features(
            identity(model, entry, processor), seeing, train_set, validation_set,
            epochs=run.epochs, shared_uri=run.feature_cache, stop=stop, say=log.info,
        )  # fmt: skip

    # 8. Where to begin: at the newest checkpoint that is whole. What was logged after it will be logged again.
    found = checkpoints.newest(directory, log.warning) if ranks.is_main() else None
    resumed = ranks.told_by_main(0 if found is None else found[0])
    with ranks.first_here():
        checkpoint = checkpoints.at(directory, resumed) if resumed else None
    if checkpoint is not None:
        log.info("resuming at step %s of %s", resumed, total)
    metrics, evaluations = (
        Journal(directory.path(name), keep_until=resumed, keeps=ranks.is_main())
        for name in (layout.TRAINING_METRICS, layout.TRAINING_EVALUATIONS)
    )
    pace = Pace(metrics, total=total, resumed=resumed, say=log.info)
    mirror = Mirror(directory, log.warning, active=ranks.is_main())
    by_answers = run.early_stopping_patience is not None and run.early_stopping_metric != "loss" and chosen.validation
    scores = Scores(model, run, encoder, stops, inputs.images, chosen.validation) if by_answers else None
    longest = max(chosen.lengths[record.id] for record in chosen.train)
    # A row holds what the memory takes by the estimate; without one, no more than the micro-batch that was asked for.
    rows = inputs.row_tokens or min(ROW_TOKENS, run.batch_size * longest)
    packer = Packer.of(model, entry, rows)  # what samples begin with in common is computed once, where that can be done
    log.info("samples of a micro-batch %s", "are padded" if packer is None else "share what they begin with")
    remedies = Remedies(
        directory,
        run,
        longest=longest,
        say=log.info,
        devices=ranks.world(),
        row_tokens=None if packer is None else packer.row_tokens,
    )
    around = Surroundings(directory, pace, evaluations, mirror, stop, log.info, remedies, scores)

    # 9. The loop, after a probe of its largest micro-batch. Where memory runs out, in smaller pieces.
    trainer = VisionLanguageTrainer(
        model,
        run,
        arguments,
        train=train_set,
        validation=validation_set,
        batches=Batches(encoder, packer),
        around=around,
        seeing=seeing,
    )
    faster = accelerate(trainer)
    check.note("accelerations", [asdict(each) for each in faster])
    for each in faster:
        log.info(str(each))
    trainer.add_callback(check)
    trainer.add_callback(Probe(trainer, [chosen.lengths[record.id] for record in chosen.train]))
    try:
        with features:
            trainer.fit(total, resumed, checkpoint)
    finally:
        mirror.close()
    if stop and trainer.state.global_step < total:
        if ranks.is_main():
            directory.push(layout.TRAINING, layout.checkpoint(trainer.state.global_step))
        stop.obey(f"checkpoint of step {trainer.state.global_step} saved")

    # 10. What the run leaves, the result last: with it the run is done.
    folder = save_trained(model, processor, run, entry, base, directory)
    if not ranks.is_main():
        return {}
    result = result_of(run, trainer, check.report, chosen, total, resumed)
    log.info("trained %s steps in %.0f s: %s/", result["steps"], result["seconds"], folder)
    return hand_over(directory, {"saved": folder, **result})


def _done_before(directory: RunDirectory) -> dict[str, Any] | None:
    """The result when an earlier try has trained to the end; what it could not copy to the store is copied now."""
    done = finished(directory)
    if done is not None:
        print(f"already trained: {done['steps']} steps", flush=True)  # not into the log: nothing changes
        return done
    left = unsent(directory)
    if left is None:
        return None
    log.info("an earlier try has trained to the end: what it saved is copied to the store")
    return hand_over(directory, left)


def _in_words(error: Exception, run: ResolvedRun) -> Exception:
    """Memory that runs out, a disk that fails and a process that is gone are endings of their own."""
    from airtune.training.out_of_memory import first_line, is_out_of_memory, too_large

    if isinstance(error, AirtuneError):
        return error
    if ranks.is_about_a_peer(error):
        return ranks.lost(error)
    if is_out_of_memory(error):
        return too_large(run, first_line(error))
    said = disk_fault(error)
    return error if said is None else StoreError(Problem("disk", said, fix="make room, and try again: it resumes"))


def _write_by_main(directory: RunDirectory, name: str) -> Callable[[dict[str, Any]], None]:
    """Writes a document; the other processes' is the same."""

    def write(document: dict[str, Any]) -> None:
        if ranks.is_main():
            directory.write_json_here(name, document)

    return write


@contextmanager
def _recorded(directory: RunDirectory) -> Iterator[None]:
    """The first of several processes keeps the stage's record and its log; the others say warnings only."""
    if not ranks.is_main():
        log.setLevel(logging.WARNING)
        yield
        return
    with stage(directory, STAGE), _logged(directory):
        yield


@contextmanager
def _logged(directory: RunDirectory) -> Iterator[None]:
    """The stage's lines go to the terminal and to ``training/log.txt``, which begins with the first line."""
    log.setLevel(logging.INFO)
    handler = logging.FileHandler(directory.path(layout.TRAINING_LOG), encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def main() -> int:
    """The command line; returns the exit code."""
    if len(sys.argv) != 2:
        print("usage: accelerate launch -m airtune.training RUN_URI", file=sys.stderr)
        return int(DefectError.exit_code)
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    log.propagate = False
    stop = StopRequest.listen()
    return exit_code_of(lambda: train(sys.argv[1], stop))


if __name__ == "__main__":
    sys.exit(main())

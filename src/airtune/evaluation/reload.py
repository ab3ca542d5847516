"""Answers as a consumer of the published bundle would: a fresh process, and nothing but the bundle's own files.

``python -m airtune.evaluation.reload BUNDLE_DIR OUT_JSON --run WORKSPACE`` loads ``BUNDLE_DIR/model_full`` (and
``model_adapter`` on top where there is one) as the run.json inside says, answers the validation samples of the run
greedily, and writes ``{"samples": n, "answers": {sample id: text}, "settings": ..., "versions": ...}``. From the run's
workspace come the samples only; publishing compares the answers with those of the evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from airtune.answering.answerer import Answerer
from airtune.answering.decoding import greedy
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import read_records
from airtune.errors import DefectError, Problem
from airtune.evaluation.contestants import Contestants, loaded
from airtune.evaluation.progress import Progress
from airtune.evaluation.versions import versions
from airtune.launch import exit_code_of
from airtune.modeling.base_model import entry_for
from airtune.modeling.conversation import stop_token_ids
from airtune.modeling.encoding import Encoder
from airtune.modeling.loading import load_processor
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import ResolvedRun, Sampling
from airtune.runspec.spec import RunSpec
from airtune.stores import layout


def answer_from_bundle(bundle: Path, workspace: Path) -> dict[str, Any]:
    """The bundle's greedy answers to the validation samples.

    Args:
        bundle: holds ``model_full/`` and, for LoRA, ``model_adapter/``.
        workspace: of the run: its ``dataset/``, nothing else is read.

    Raises:
        DefectError: the published run.json leaves open how the model is loaded or decodes.
        AirtuneError: a part of the bundle cannot be loaded.
    """
    full, adapter = bundle / layout.MODEL_FULL, bundle / layout.MODEL_ADAPTER
    where = f"{layout.MODEL_FULL}/{layout.RUN_JSON}"
    spec = RunDocument.parse((full / layout.RUN_JSON).read_bytes(), where=where).spec
    run = as_published(spec, where)
    entry = entry_for(run.architecture, full)
    records = read_records(workspace / layout.RECORDS, "validation")
    facts = json.loads((workspace / layout.FACTS).read_bytes())
    has_adapter = adapter.is_dir()
    contestants = Contestants(full, adapter if has_adapter else None, None if has_adapter else full)
    processor = load_processor(full, entry=entry)
    decoding = greedy(run.sampling)
    progress = Progress(len(records))
    answers: dict[str, str] = {}
    # The group in which the trained model answered in the evaluation, so that it is loaded in the same way.
    models = contestants.groups()[-1]
    with loaded(contestants, models, run, entry) as holder, holder.answering_as("tuned"):
        stops = stop_token_ids(processor, holder.model.generation_config)
        encoder = Encoder(processor, stops)
        answerer = Answerer(holder.model, encoder, stops, Images(facts["root_uri"]), run.system_prompt)
        for batch in answerer.encoded(answerer.plan(records, decoding.max_new_tokens)):
            replies = answerer.answer(batch, decoding)
            answers.update((record.id, reply.text) for record, reply in zip(batch.records, replies, strict=True))
            progress.add(len(replies), "bundle, greedy")
    return {
        "samples": len(records),
        "answers": {record.id: answers[record.id] for record in records},
        "settings": {
            "architecture": run.architecture,
            "adapter": has_adapter,
            "quantization": run.quantization_type if run.quantization_enabled else None,
            "precision": run.precision,
            "decoding": decoding.to_json(),
        },
        "versions": versions(),
    }


def as_published(spec: RunSpec, where: str) -> ResolvedRun:
    """The run as its published run.json alone describes it; what only training needs has a neutral value.

    Raises:
        DefectError: something that loading or decoding needs is not there.
    """
    model, sampling = spec.model, spec.model.evaluation
    needed = {
        "quantization.enabled": model.quantization_enabled,
        "compute.precisionType": model.precision,
        "evaluation.maxNewTokens": sampling.max_new_tokens,
        "evaluation.repetitionPenalty": sampling.repetition_penalty,
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise DefectError(
            Problem(f"{where}: {name}", "the published run.json does not say it", fix="run `airtune publish` again")
            for name in missing
        )
    return ResolvedRun.model_validate(
        {
            "name": spec.name,
            "task": spec.task,
            "system_prompt": spec.system_prompt or "",
            "system_prompt_source": "user",
            "user_prompt": None,
            "base_model": model.base_model or "",
            "architecture": model.architecture_name,
            "size": model.architecture_size,
            "parameters": None,
            "training_mode": model.training_mode or "LoRA",
            "quantization_enabled": model.quantization_enabled,
            "quantization_type": model.quantization_type or "NF4",
            "precision": model.precision,
            "epochs": 1,
            "learning_rate": 1.0,
            "batch_size": 1,
            "gradient_accumulation": 1,
            "optimizer": "AdamW",
            "learning_rate_schedule": "constant",
            "warmup_ratio": 0.0,
            "weight_decay": 0.0,
            "max_grad_norm": 0.0,
            "seed": 0,
            "early_stopping_patience": None,
            "lora_rank": 1,
            "lora_alpha": 1,
            "lora_dropout": 0.0,
            "max_pixels": None,
            "max_sequence_length": None,
            "checkpoint_every_steps": None,
            "checkpoint_every_minutes": None,
            "checkpoints_kept": 1,
            "gradient_checkpointing": False,
            "sampling": Sampling(
                max_new_tokens=sampling.max_new_tokens or 1,
                top_k=0,
                top_p=1.0,
                temperature=0.0,
                repetition_penalty=sampling.repetition_penalty or 1.0,
                stop_strings=sampling.stop_strings or (),
            ),
            "dataset_source": "",
            "dataset_format": "",
        }
    )


def main(arguments: list[str]) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m airtune.evaluation.reload", description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder that holds model_full and, for LoRA, model_adapter")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--run", type=Path, required=True, help="the run's workspace, for its samples")
    given = parser.parse_args(arguments)

    def work() -> None:
        found = answer_from_bundle(given.bundle, given.run)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    return exit_code_of(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

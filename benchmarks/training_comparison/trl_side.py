"""TRL's side: SFTTrainer 1.16 with the settings that are correct for it and fastest.

``python -m training_comparison.trl_side RUN_URI NOTES.json OUT.json``, where ``NOTES.json`` is what airtune's side
has left. Against its defaults: no truncation (it would cut image tokens), no gradient checkpointing (slower), the
loss on the completion alone, which here is the answer and its end token and nothing else (asserted), LoRA by anchored
names (``all-linear`` would reach into the vision tower). Its loss goes through the output layer in chunks; packing
and padding-free batches are refused by it for samples with pictures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from training_comparison.watch import Watch, write


def main(run_uri: str, notes: Path, out: Path) -> None:
    """Trains the same samples in the same order, from the same adapters."""
    from trl import SFTConfig, SFTTrainer

    import datasets
    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.base_model import fetch_base_model
    from airtune.modeling.conversation import end_of_turn, render_prompt, stop_token_ids
    from airtune.modeling.loading import load_model, load_processor
    from airtune.modeling.precision import default_device
    from airtune.stores.opening import local_path
    from airtune.stores.run_directory import RunDirectory
    from airtune.training.inputs import read_inputs

    inputs = read_inputs(RunDirectory.open(run_uri), lambda _: None)
    run, base = inputs.run, fetch_base_model(inputs.run.base_model)
    processor = load_processor(base, run)
    model = load_model(base, run, entry=inputs.entry, for_training=True, device=default_device())
    loaded = time.perf_counter()
    stops = stop_token_ids(processor, model.generation_config)
    if run.training_mode == "LoRA":
        model = add_adapters(model, run, inputs.entry)  # the same names, in the same part of the model
    else:
        model.requires_grad_(True)
    _take_over(model, notes.with_suffix(".safetensors"))

    order = json.loads(notes.read_text(encoding="utf-8"))["order"]
    records = {record.id: record for record in inputs.records}
    end = end_of_turn(processor, stops).text
    root = local_path(inputs.images.root_uri) or Path()
    rows = [
        {
            "images": [str(root / key) for key in record.images],
            "prompt": render_prompt(processor, run.system_prompt, len(record.images), record.prompt),
            "completion": record.target + end,
        }
        for record in (records[name] for step in order for name in step)
    ]
    table = datasets.Dataset.from_list(rows).cast_column("images", datasets.List(datasets.Image()))
    arguments = SFTConfig(
        output_dir=str(out.with_suffix("")),
        num_train_epochs=1,  # the order already has every epoch in it
        per_device_train_batch_size=run.batch_size,
        gradient_accumulation_steps=run.gradient_accumulation,
        learning_rate=run.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=run.weight_decay,
        max_grad_norm=run.max_grad_norm,
        adam_beta2=0.999,
        bf16=run.precision == "BFloat16",
        gradient_checkpointing=run.gradient_checkpointing,
        max_length=None,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=4 if torch.cuda.is_available() else 0,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=run.seed,
    )
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=table, processing_class=processor)
    _check_labels(trainer, table, processor)
    before = time.perf_counter() - loaded
    watch = Watch(model, inputs.entry)
    trainer.add_callback(watch)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    write(watch.result(losses=losses, before=before), out)


def _take_over(model: Any, weights: Path) -> None:
    """Puts airtune's first adapter weights into this model: all of them."""
    saved = load_file(weights)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if saved.keys() != trained.keys():
        raise SystemExit(f"the two sides train other weights: {sorted(saved.keys() ^ trained.keys())[:5]}")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name])


def _check_labels(trainer: Any, table: Any, processor: Any) -> None:
    """Labels are the answer and the end of its turn, and nothing else."""
    labels = trainer.data_collator([table[0]])["labels"][0]
    text = processor.tokenizer.decode(labels[labels != -100])
    if text != table[0]["completion"]:
        raise SystemExit(f"TRL would train {text!r} instead of {table[0]['completion']!r}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

"""The reference: a plain loop over padded batches, in which nothing is clever and the loss needs no trust.

``python -m training_comparison.reference RUN_URI NOTES.json OUT.json``. Every row is padded to the longest, pictures
go through the vision tower in each step, the output layer runs on every token, and the loss is torch's mean cross
entropy over all labels.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

from training_comparison.watch import Watch, write


def main(run_uri: str, notes: Path, out: Path) -> None:
    """Trains the same samples in the same order, from the same adapters."""
    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.base_model import fetch_base_model
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import IGNORED, Encoder
    from airtune.modeling.loading import load_model, load_processor
    from airtune.modeling.precision import default_device
    from airtune.stores.run_directory import RunDirectory
    from airtune.training.inputs import read_inputs

    inputs = read_inputs(RunDirectory.open(run_uri), lambda _: None)
    run, base = inputs.run, fetch_base_model(inputs.run.base_model)
    processor = load_processor(base, run)
    device = default_device()
    model = load_model(base, run, entry=inputs.entry, for_training=True, device=device)
    encoder = Encoder(processor, stop_token_ids(processor, model.generation_config))
    loaded = time.perf_counter()
    model = add_adapters(model, run, inputs.entry)
    saved = load_file(notes.with_suffix(".safetensors"))
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(saved[name])
    optimizer = torch.optim.AdamW(trained.values(), lr=run.learning_rate, weight_decay=run.weight_decay)
    records = {record.id: record for record in inputs.records}
    before = time.perf_counter() - loaded
    watch, losses = Watch(model, inputs.entry), []
    for step in json.loads(notes.read_text(encoding="utf-8"))["order"]:
        encoded = [
            encoder.encode(run.system_prompt, record.prompt, inputs.images.load_all(record), record.target)
            for record in (records[name] for name in step)
        ]
        batch = {name: value.to(device) for name, value in encoder.collate(encoded, padding="right").items()}
        labels = batch.pop("labels")
        logits = model(**batch, use_cache=False).logits
        loss = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED
        )
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained.values(), run.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        watch.step_ends()
    write(watch.result(losses=losses, before=before), out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

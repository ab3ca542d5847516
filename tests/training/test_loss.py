from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]


def gradients_of_first_step(assembled: Any) -> dict[str, Any]:
    """The gradients with which the first step is taken."""
    from transformers import TrainerCallback

    found: dict[str, Any] = {}

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not found:
                found.update({n: p.grad.clone() for n, p in kwargs["model"].named_parameters() if p.requires_grad})

    assembled.trainer.add_callback(Keep())
    assembled.fit()
    return found


def test_a_last_step_that_is_not_full_counts_its_own_tokens(assemble: Assemble) -> None:
    import torch

    short = assemble(batch_size=2, gradient_accumulation=3, epochs=1, train=2, max_grad_norm=0.0)
    plain = assemble(batch_size=2, gradient_accumulation=1, epochs=1, train=2, max_grad_norm=0.0)
    one, other = gradients_of_first_step(short), gradients_of_first_step(plain)
    assert short.trainer.state.global_step == 1
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=0, atol=1e-9)


def test_the_loss_on_label_positions_is_the_loss_on_all_positions(assemble: Assemble) -> None:
    """And the output layer sees these positions and no others."""
    import torch

    from airtune.training.loss import output_layer, summed_loss

    pieces = assemble()
    samples = [pieces.train[index].encoded for index in range(4)]
    (row,) = pieces.trainer.data_collator([pieces.train[index] for index in range(4)])["rows"]
    batch = pieces.encoder.collate(samples, padding="right")
    assert len(row.targets) == int((batch["labels"] != -100).sum()) < batch["labels"].numel() / 2
    seen: list[Any] = []
    hook = output_layer(pieces.model).register_forward_hook(lambda layer, given, logits: seen.append(logits.shape))
    with torch.no_grad():
        ours = summed_loss(pieces.model, row) / len(row.targets)
        theirs = pieces.model(**batch).loss
    hook.remove()
    assert [shape[:2].numel() for shape in seen] == [len(row.targets), batch["labels"].numel()]
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_validation_is_weighted_by_tokens_and_leaves_random_states_alone(assemble: Assemble) -> None:
    import torch

    pieces = assemble(train=4, validation=5, batch_size=2, epochs=1, lora_dropout=0.3)
    pieces.fit()
    state = torch.random.get_rng_state()
    loss = pieces.trainer.evaluate()["eval_loss"]
    assert torch.equal(state, torch.random.get_rng_state())
    summed, tokens = 0.0, 0
    pieces.model.eval()
    for sample in pieces.validation:  # one by one: another batching, the same mean over tokens
        batch = pieces.encoder.collate([sample.encoded], padding="right")
        count = int((batch["labels"][:, 1:] != -100).sum())
        with torch.no_grad():
            summed += float(pieces.model(**batch).loss) * count
        tokens += count
    assert loss == pytest.approx(summed / tokens, rel=1e-5)


def test_a_4_bit_model_trains_the_same_after_a_validation(assemble: Assemble) -> None:
    """On CPUs with AVX512-BF16 bitsandbytes repacks a layer in evaluation mode and then cuts its gradient off."""
    import torch

    def gradients(pieces: Any, *, validate: bool) -> list[Any]:
        batch = pieces.encoder.collate([pieces.train[0].encoded], padding="right")
        if validate:
            pieces.model.eval()
            with torch.no_grad():
                pieces.model(**batch)
        pieces.model.train()
        pieces.model.zero_grad()
        pieces.model(**batch).loss.backward()
        return [p.grad.clone() for p in pieces.model.parameters() if p.requires_grad]

    pieces = assemble(quantization_enabled=True)
    with torch.no_grad():  # adapters begin at 0 and would pass no gradient on
        for name, parameter in pieces.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    before, after = gradients(pieces, validate=False), gradients(pieces, validate=True)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other)

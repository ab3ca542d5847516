from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airtune.configs import configs_root

pytestmark = pytest.mark.training

TINY = configs_root() / "demo" / "tiny-vlm"


def test_a_frozen_tower_that_the_library_draws_into_the_backward_pass_is_kept_out_with_equal_gradients(
    resolved: Callable[..., Any],
) -> None:
    """With gradient checkpointing the library marks a tower's first output as requiring a gradient."""
    import torch
    from PIL import Image

    from airtune.catalog.registry import entry
    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_model, load_processor
    from airtune.modeling.parts import run_frozen_parts_without_gradients

    run, known = resolved(), entry("qwen3vl")
    model = add_adapters(load_model(TINY, run, entry=known, for_training=True), run, known)
    processor = load_processor(TINY, run)
    encoder = Encoder(processor, stop_token_ids(processor, model.generation_config))
    batch = encoder.collate([encoder.encode("Answer.", "What?", [Image.new("RGB", (64, 64))], "red")], padding="right")
    visual = model.get_base_model().model.visual
    visual.patch_embed.register_forward_hook(lambda module, given, made: made.requires_grad_(True))
    in_backward: list[int] = []
    for number, block in enumerate(visual.blocks):
        block.register_forward_hook(
            lambda module, given, made, number=number: in_backward.append(number) if made.grad_fn is not None else None
        )

    def gradients() -> list[Any]:
        in_backward.clear()
        model.zero_grad()
        model(**batch).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.requires_grad]

    drawn_in = gradients()
    assert in_backward == [0, 1, 2]
    assert run_frozen_parts_without_gradients(model, known) == ["model.visual"]
    kept_out = gradients()
    assert in_backward == []
    assert all(torch.equal(one, other) for one, other in zip(drawn_in, kept_out, strict=True))

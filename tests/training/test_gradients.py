"""What the optimizer is given for weights that a step's samples did not touch."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.training


def test_a_weight_trained_before_goes_on_by_its_moments_and_one_never_touched_stands_still() -> None:
    import torch

    from airtune.training.gradients import settle

    seen, unseen, reference = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    optimizer = torch.optim.AdamW([seen, unseen], lr=0.1, weight_decay=0.5)
    optimizer.register_step_pre_hook(settle)
    by_hand = torch.optim.AdamW([reference], lr=0.1, weight_decay=0.5)
    for gradient in (torch.full((3,), 2.0), None):
        seen.grad = gradient
        reference.grad = torch.zeros(3) if gradient is None else gradient.clone()
        optimizer.step()
        by_hand.step()
        optimizer.zero_grad()
    assert torch.equal(seen, reference)
    assert torch.equal(unseen, torch.ones(3))
    assert unseen not in optimizer.state

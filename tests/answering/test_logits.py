from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from airtune.answering.decoding import Decoding, sample_seed, sampled  # noqa: E402
from airtune.answering.logits import RepetitionPenalty, SeededDraw, logits_processors  # noqa: E402
from airtune.errors import DivergedError  # noqa: E402
from airtune.runspec.resolved import Sampling  # noqa: E402

pytestmark = pytest.mark.training

LOGITS = [2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0, -3.0]


def draws(decoding: Decoding, rows: int, prompt: list[int] | None = None) -> list[float]:
    """How often each token is drawn in ``rows`` samples, as a share."""
    ids = torch.tensor([prompt or [0]] * rows)
    steps = logits_processors(decoding, torch.ones_like(ids), [f"sample {row}" for row in range(rows)])
    tokens = steps(ids, torch.tensor([LOGITS] * rows)).argmax(dim=-1)
    return [float((tokens == token).float().mean()) for token in range(len(LOGITS))]


def expected(temperature: float, top_k: int, top_p: float, penalty: float, prompt: list[int]) -> list[float]:
    """The probabilities by the definitions: penalty, temperature, top-k, top-p."""
    logits = [
        (value / penalty if value > 0 else value * penalty) if token in prompt else value
        for token, value in enumerate(LOGITS)
    ]
    order = sorted(range(len(logits)), key=lambda token: -logits[token])[: top_k or None]
    weights = {token: math.exp(logits[token] / temperature) for token in order}
    total, kept, sum_kept = sum(weights.values()), [], 0.0
    for token in order:
        kept.append(token)
        sum_kept += weights[token] / total
        if sum_kept >= top_p:
            break
    norm = sum(weights[token] for token in kept)
    return [weights[token] / norm if token in kept else 0.0 for token in range(len(logits))]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "penalty"),
    [
        (1.0, 0, 1.0, 1.0),
        (0.5, 0, 1.0, 1.0),
        (2.0, 0, 1.0, 1.0),
        (1.0, 3, 1.0, 1.0),
        (1.0, 0, 0.8, 1.0),
        (1.0, 0, 1.0, 1.8),
        (1.4, 5, 0.9, 1.3),
    ],
)
def test_drawn_tokens_have_the_frequencies_of_the_configured_sampling(
    temperature: float, top_k: int, top_p: float, penalty: float
) -> None:
    rows, prompt = 20_000, [0, 3, 3, 5]
    decoding = Decoding("sampled", 4, penalty, temperature=temperature, top_k=top_k, top_p=top_p, seed=5)
    found = draws(decoding, rows, prompt)
    wanted = expected(temperature, top_k, top_p, penalty, prompt)
    assert [share > 0 for share in found] == [share > 0 for share in wanted]
    free = [(one, other) for one, other in zip(found, wanted, strict=True) if other > 0]
    chi_square = sum(rows * (one - other) ** 2 / other for one, other in free)
    # 99.9 % quantiles of chi-square by degrees of freedom: the seed is fixed, so this cannot be unlucky twice.
    assert chi_square < [0, 10.8, 13.8, 16.3, 18.5, 20.5, 22.5, 24.3][len(free) - 1]


def test_padding_on_the_left_is_not_penalised() -> None:
    # Token 0 pads the first row and stands in the prompt of the second.
    ids, mask = torch.tensor([[0, 0, 4], [0, 1, 4]]), torch.tensor([[0, 0, 1], [1, 1, 1]])
    penalised = RepetitionPenalty(2.0, mask)(ids, torch.tensor([LOGITS, LOGITS]))
    assert penalised[0, 0] == 2.0
    assert penalised[1, 0] == 1.0
    assert penalised[:, 4].tolist() == [-1.0, -1.0]


def test_the_penalty_is_applied_once_for_each_distinct_token_of_prompt_and_answer() -> None:
    step = RepetitionPenalty(2.0, torch.ones(1, 2, dtype=torch.long))
    ids = torch.tensor([[1, 1]])
    logits = torch.tensor([LOGITS])
    assert step(ids, logits)[0].tolist() == [2.0, 0.5, 0.5, 0.0, -0.5, -1.0, -2.0, -3.0]
    ids = torch.cat([ids, torch.tensor([[5]])], dim=1)
    assert step(ids, logits)[0].tolist() == [2.0, 0.5, 0.5, 0.0, -0.5, -2.0, -2.0, -3.0]
    ids = torch.cat([ids, torch.tensor([[5]])], dim=1)
    assert step(ids, logits)[0].tolist() == [2.0, 0.5, 0.5, 0.0, -0.5, -2.0, -2.0, -3.0]


def test_a_draw_never_takes_an_impossible_token() -> None:
    scores = torch.full((500, 8), -torch.inf)
    scores[:, 6] = 0.0
    draw = SeededDraw(list(range(500)), 1, 1)
    assert set(draw(torch.zeros(500, 1, dtype=torch.long), scores).argmax(dim=-1).tolist()) == {6}


def test_logits_that_are_no_numbers_are_refused_in_words() -> None:
    ids = torch.tensor([[1]])
    steps = logits_processors(Decoding("greedy", 4, 1.0), torch.ones_like(ids), ["a"])
    with pytest.raises(DivergedError, match="NaN"):
        steps(ids, torch.tensor([[float("nan"), 1.0]]))


def test_seeds_differ_by_sample_and_by_seed_and_stay_the_same() -> None:
    assert sample_seed(0, "a") == sample_seed(0, "a")
    assert len({sample_seed(seed, sample) for seed in range(50) for sample in "abcdef"}) == 300


def test_a_seed_of_minus_1_is_new_for_each_run_and_the_same_for_the_same_run() -> None:
    settings = Sampling(max_new_tokens=4, top_k=0, top_p=1.0, temperature=1.0, repetition_penalty=1.0, seed=-1)
    one, again, other = (sampled(settings, run_id) for run_id in ("one", "one", "other"))
    assert one is not None
    assert other is not None
    assert one == again
    assert one.seed != other.seed >= 0


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"do_sample": False}, {"top_k": 1}])
def test_settings_that_leave_no_choice_are_not_drawn(change: dict[str, float]) -> None:
    settings = Sampling(max_new_tokens=4, top_k=50, top_p=1.0, temperature=1.0, repetition_penalty=1.0)
    assert sampled(settings.model_copy(update=change), "one") is None

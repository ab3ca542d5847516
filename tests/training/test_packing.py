"""A packed row against the padded batch: the same loss, the same gradients, a fraction of the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_tiny
from training_runs import resolved

pytestmark = pytest.mark.training

LONG = "Answer with JSON and nothing else, in the language of the question. " * 4
SIZES = {"a": (64, 64), "b": (128, 64), "c": (96, 128)}

Shown = tuple[str, tuple[str, ...], str, str]
"""Of a sample: system prompt, names of its pictures, question, answer."""


@dataclass
class Bench:
    """A model with what it takes to compute batches of it both ways."""

    model: Any
    encoder: Any
    packer: Any
    pictures: dict[str, Any]

    def sample(self, shown: Shown) -> Any:
        """One sample, its pictures taken from those that were seen before."""
        system, names, question, answer = shown
        return self.encoder.encode(system, question, [self.pictures[name] for name in names], answer)

    def both(self, batch: Sequence[Shown]) -> tuple[Outcome, Outcome, list[Any]]:
        """The batch padded, and packed, and the packed rows."""
        from airtune.training.rows import padded_row

        samples = [self.sample(shown) for shown in batch]
        rows = self.packer.rows(samples, [names for _, names, _, _ in batch])
        return self.outcome([padded_row(self.encoder, samples)]), self.outcome(rows), rows

    def outcome(self, rows: Sequence[Any]) -> Outcome:
        """Summed loss and gradients of rows."""
        import torch

        from airtune.training.loss import summed_loss

        self.model.zero_grad()
        dtype, loss = next(self.model.parameters()).dtype, 0.0
        for row in rows:
            share = summed_loss(self.model, row._mapped(lambda t: t.to(dtype) if t.is_floating_point() else t))
            share.backward()
            loss += float(share.detach())
        grads = [p.grad for p in self.model.parameters() if p.requires_grad and p.grad is not None]
        return Outcome(loss, torch.cat([grad.flatten() for grad in grads]))


@dataclass
class Outcome:
    """What a batch comes to."""

    loss: float
    gradient: Any

    def apart(self, other: Outcome) -> tuple[float, float]:
        """How far apart loss and gradient are, relative to the first's."""
        difference = (self.gradient - other.gradient).norm() / self.gradient.norm()
        return abs(self.loss - other.loss) / self.loss, float(difference)


def bench(folder: Path, run: Any, key: str) -> Bench:
    """A tiny model of a catalog entry, as a run trains it, with adapters that pass gradients on."""
    import torch
    from PIL import Image

    from airtune.catalog.registry import entry
    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_model, load_processor
    from airtune.training.packing import Packer

    known = entry(key)
    processor = load_processor(folder, entry=known)
    torch.manual_seed(3)
    model = load_model(folder, run, entry=known, for_training=True)
    encoder = Encoder(processor, stop_token_ids(processor, model.generation_config))
    if run.training_mode == "LoRA":
        model = add_adapters(model, run, known)
        with torch.no_grad():  # adapters begin at 0 and would pass no gradient on
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.2)
    else:
        model.requires_grad_(True)
    model.train()
    noise = {name: Image.effect_noise(size, 90).convert("RGB") for name, size in SIZES.items()}
    return Bench(model, encoder, Packer.of(model, known), {name: encoder.see(image) for name, image in noise.items()})


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """LoRA on a tiny Qwen3-VL in float32."""
    return bench(make_tiny("qwen3vl", tmp_path_factory.mktemp("models") / "qwen3vl"), resolved(), "qwen3vl")


WORDS = st.lists(st.sampled_from(["what", "is", "red", "blue", "?"]), min_size=1, max_size=5).map(" ".join)
SAMPLE = st.tuples(
    st.sampled_from(["", LONG, LONG + "Be brief."]),
    st.lists(st.sampled_from(list(SIZES)), max_size=2).map(tuple),
    WORDS,
    WORDS,
)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.lists(SAMPLE, min_size=1, max_size=7),
    row_tokens=st.sampled_from([1, 300, 16_384]),
    form=st.sampled_from(["branches", "boolean"]),
)
def test_loss_and_gradients_are_those_of_the_padded_batch(
    lora: Bench, batch: list[Shown], row_tokens: int, form: Any
) -> None:
    """Whatever samples share: nothing, a beginning, pictures, everything; in one row, or in several."""
    from dataclasses import replace

    packer = lora.packer
    assert packer.attention.form == "branches"
    lora.packer = replace(packer, row_tokens=row_tokens, attention=replace(packer.attention, form=form))
    try:
        padded, packed, rows = lora.both(batch)
    finally:
        lora.packer = packer
    loss, gradient = padded.apart(packed)
    assert loss <= 1e-6
    assert gradient <= 1e-6
    lengths = [lora.sample(shown).length for shown in batch]
    assert all(row.tokens <= max(row_tokens, *lengths) for row in rows)
    assert sum(row.tokens for row in rows) <= sum(lengths)
    if row_tokens == 1:
        assert len(rows) == len(batch)


def questions(pictures: Sequence[str], each: int, system: str = LONG * 3) -> list[Shown]:
    """Several questions about each picture."""
    return [
        (system, (name,), f"What is number {number}?", "red " * (1 + 2 * number))
        for name in pictures
        for number in range(each)
    ]


def test_four_questions_an_image_and_a_long_system_prompt_cost_a_third_of_the_padded_tokens(lora: Bench) -> None:
    batch = questions("ab", 4)
    padded, packed, rows = lora.both(batch)
    samples = [lora.sample(shown) for shown in batch]
    assert max(padded.apart(packed)) <= 1e-6
    (row,) = rows
    assert row.tokens < 0.35 * len(samples) * max(sample.length for sample in samples)
    assert row.digests == ("a", "b")  # each picture's pixels once
    shown = [lora.pictures[name].vision["pixel_values"] for name in "ab"]
    assert row.model_inputs()["pixel_values"].shape[0] == sum(len(pixels) for pixels in shown)


def test_the_same_sample_twice_is_computed_once_and_counts_twice(lora: Bench) -> None:
    once = questions("a", 1)
    padded, packed, (row,) = lora.both(once * 2)
    assert max(padded.apart(packed)) <= 1e-6
    assert row.tokens == lora.sample(once[0]).length
    alone = lora.both(once)[0]
    assert packed.loss == pytest.approx(2 * alone.loss, rel=1e-6)
    assert row.targets.tolist() == lora.both(once)[2][0].targets.tolist() * 2


def test_equal_pictures_of_another_file_are_not_shared(lora: Bench) -> None:
    """What makes a picture the same is its digest, not the tokens that stand for it."""
    lora.pictures["a2"] = lora.pictures["a"]
    system, _, question, answer = questions("a", 1)[0]
    _, _, (row,) = lora.both([(system, ("a",), question, answer), (system, ("a2",), question, answer)])
    assert row.digests == ("a", "a2")
    shared = lora.both([(system, ("a",), question, answer)] * 2)[2][0]
    assert row.tokens > shared.tokens


def test_a_tree_that_is_too_large_is_cut_between_pictures(lora: Bench) -> None:
    from dataclasses import replace

    batch = questions("abc", 4, system="Be brief.")
    samples = [lora.sample(shown) for shown in batch]
    names = [shown[1] for shown in batch]
    (whole,) = lora.packer.rows(samples, names)
    rows = replace(lora.packer, row_tokens=whole.tokens - 1).rows(samples, names)
    assert sorted(digest for row in rows for digest in row.digests) == ["a", "b", "c"]
    assert len(rows) == 2
    # Where a longer row costs more than to compute the beginning again, it is cut as well.
    dear = replace(lora.packer, pair_cost=1.0).rows(samples, names)
    assert [row.digests for row in dear] == [("a",), ("b",), ("c",)]


def test_dropout_of_adapters_works_on_shared_tokens(lora: Bench) -> None:
    """Another draw than on separate tokens: valid, and only the mean is the same."""
    from peft.tuners.lora import LoraLayer
    from torch import nn

    layers = [module for module in lora.model.modules() if isinstance(module, LoraLayer)]
    before = [layer.lora_dropout["default"] for layer in layers]
    for layer in layers:
        layer.lora_dropout["default"] = nn.Dropout(0.3)
    try:
        padded, packed, _ = lora.both(questions("ab", 4))
    finally:
        for layer, module in zip(layers, before, strict=True):
            layer.lora_dropout["default"] = module
    plain = lora.both(questions("ab", 4))[1]
    assert packed.loss != plain.loss
    assert packed.loss == pytest.approx(plain.loss, rel=0.3)
    assert packed.gradient.isfinite().all()
    assert padded.apart(packed)[1] > 1e-3


@pytest.mark.parametrize(
    "key", ["qwen25vl", "qwen3vl", "internvl35", "llavanext", "gemma4", "gemma4-experts", "deepseekocr"]
)
def test_every_architecture_that_packs_gives_the_padded_loss_and_gradients(key: str, tmp_path: Path) -> None:
    """In float64, where a mask or a position that is wrong by one cannot hide behind rounding; every parameter trained.

    Samples are longer than the sliding window of the tiny Gemma 4.
    """
    import torch

    made = bench(make_tiny(key, tmp_path / key), resolved(training_mode="SFT"), key.split("-")[0])
    if hasattr(made.model, "set_experts_implementation"):
        made.model.set_experts_implementation("eager")  # the grouped kernel knows no float64
    made.model.to(torch.float64)
    batch = [*questions("ab", 2, system=LONG), (LONG, (), "hi", "yes"), ("", ("c", "a"), "both?", "no no")]
    batch.append(batch[-1])
    padded, packed, rows = made.both(batch)
    loss, gradient = padded.apart(packed)
    assert loss <= 1e-12
    assert gradient <= 1e-6  # norms and angles are computed in float32 even so
    assert sum(row.tokens for row in rows) < 0.75 * sum(made.sample(shown).length for shown in batch)


@pytest.mark.parametrize("key", ["qwen35", "qwen36"])
def test_architectures_with_recurrent_layers_are_padded(key: str, tmp_path: Path) -> None:
    made = bench(make_tiny(key, tmp_path / key), resolved(training_mode="SFT"), key)
    assert made.packer is None


@pytest.mark.parametrize("kind", ["NF4", "FP4"])
def test_a_4_bit_model_is_packed_as_well(kind: str, tmp_path: Path) -> None:
    folder = make_tiny("qwen25vl", tmp_path / "tiny")
    made = bench(folder, resolved(quantization_enabled=True, quantization_type=kind), "qwen25vl")
    padded, packed, rows = made.both(questions("ab", 4))
    assert max(padded.apart(packed)) <= 2e-6
    assert len(rows) == 1


def test_samples_of_one_picture_meet_even_where_a_run_asks_for_one_sample_at_a_time(assemble: Any) -> None:
    """Accumulation is there to save memory; rows are bounded by their tokens instead."""
    pieces = assemble(batch_size=1, gradient_accumulation=4, train=8, epochs=1)
    batches = list(pieces.trainer.get_train_dataloader())
    assert [len(batch["sample_ids"]) for batch in batches] == [4, 4]
    pieces.trainer.data_collator.limit(1)
    assert [len(batch["rows"]) for batch in pieces.trainer.get_train_dataloader()] == [4, 4]


@dataclass(frozen=True)
class Noise:
    """A film of noise, the same at each reading."""

    frames: int = 12
    rate: float = 4.0
    width: int = 64
    height: int = 64

    def read(self, numbers: Sequence[int]) -> Any:
        import numpy as np

        shape = (self.frames, self.height, self.width, 3)
        return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)[list(numbers)]


def test_questions_about_one_film_share_a_row_as_those_about_a_picture_do(lora: Bench) -> None:
    lora.pictures["film"] = lora.encoder.see(Noise())
    asked: list[Shown] = [(LONG, ("film",), f"What is number {number}?", "red " * (1 + number)) for number in range(3)]
    padded, packed, (row,) = lora.both([*asked, (LONG, (), "hi", "yes")])
    assert max(padded.apart(packed)) <= 1e-6
    assert row.digests == ("film",)
    lengths = [lora.sample(shown).length for shown in asked]
    assert row.tokens < 0.5 * sum(lengths)


@pytest.mark.nightly
@pytest.mark.usefixtures("flex_attention_here")
@pytest.mark.parametrize("key", ["qwen25vl", "qwen3vl", "internvl35", "llavanext", "deepseekocr"])
def test_every_architecture_that_packs_can_do_so_by_flex_attention(key: str, tmp_path: Path) -> None:
    """But for Gemma 4, which cuts its masks as only tensors can be cut: there the comparison keeps the boolean mask."""
    from airtune.modeling.block_attention import go_by_blocks

    made = bench(make_tiny(key, tmp_path / key), resolved(training_mode="SFT"), key)
    go_by_blocks(made.model)
    made.packer = made.packer.by_blocks()
    batch = [*questions("ab", 2, system=LONG), (LONG, (), "hi", "yes"), ("", ("c", "a"), "both?", "no no")]
    padded, packed, _ = made.both(batch)
    assert max(padded.apart(packed)) <= 2e-5

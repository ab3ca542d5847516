"""Real answers of the tiny base model, with and without an adapter."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from airtune.answering.answerer import Answerer, Reply  # noqa: E402
from airtune.answering.decoding import Decoding  # noqa: E402
from airtune.catalog.registry import entry  # noqa: E402
from airtune.configs import configs_root  # noqa: E402
from airtune.datasets.pictures.images import Images  # noqa: E402
from airtune.datasets.record import Record  # noqa: E402
from airtune.evaluation.contestants import Contestants, Loaded, loaded  # noqa: E402
from airtune.evaluation.predictions import read_predictions  # noqa: E402
from airtune.evaluation.stage import evaluate  # noqa: E402
from airtune.modeling.conversation import stop_token_ids  # noqa: E402
from airtune.modeling.encoding import Encoder  # noqa: E402
from airtune.modeling.loading import load_processor  # noqa: E402
from airtune.runspec.resolved import Sampling  # noqa: E402
from airtune.stores import layout  # noqa: E402

pytestmark = pytest.mark.training

TINY = configs_root() / "demo" / "tiny-vlm"
GREEDY = Decoding("greedy", 16, 1.0)
SAMPLED = Decoding("sampled", 16, 1.0, temperature=1.5, top_k=40, top_p=0.98, seed=11)


@dataclasses.dataclass(frozen=True)
class Stand:
    """A loaded base with the adapter on it, and what is needed to ask it."""

    holder: Loaded
    answerer: Answerer
    encoder: Encoder
    records: list[Record]

    def ask(self, records: Sequence[Record], decoding: Decoding, model: str = "tuned") -> list[Reply]:
        with self.holder.answering_as(model):  # type: ignore[arg-type]
            (batch,) = self.answerer.encoded([tuple(records)])
            return self.answerer.answer(batch, decoding)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, adapter_folder: Path, tools: Any) -> Iterator[Stand]:
    data = tmp_path_factory.mktemp("pictures")
    records = tools.draw_records(data, 6)
    resolved = tools.resolved_run()
    processor = load_processor(TINY, resolved)
    with loaded(Contestants(TINY, adapter_folder, None), ("base", "tuned"), resolved, entry("qwen3vl")) as holder:
        stops = stop_token_ids(processor, holder.model.generation_config)
        encoder = Encoder(processor, stops)
        images = Images(data.as_uri())
        yield Stand(holder, Answerer(holder.model, encoder, stops, images, "Answer in JSON."), encoder, records)


def by_hand(stand: Stand, record: Record, steps: int, penalty: float = 1.0, *, stop: bool = True) -> list[int]:
    """Greedy tokens without generate(), without a cache and without padding: the whole text anew for each token."""
    model = stand.holder.model
    (batch,) = stand.answerer.encoded([(record,)])
    inputs = stand.encoder.collate(batch.encoded, padding="left")
    said: list[int] = []
    for _ in range(steps):
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1].float()
        for token in set(inputs["input_ids"][0].tolist()):
            logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
        said.append(int(logits.argmax()))
        for name, new in (("input_ids", said[-1]), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.tensor([[new]])], dim=1)
        if stop and said[-1] in stand.answerer._stops:
            break
    return said


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_answers_are_the_likeliest_tokens_computed_by_hand(stand: Stand, penalty: float) -> None:
    decoding = dataclasses.replace(GREEDY, repetition_penalty=penalty)
    replies = stand.ask(stand.records, decoding)  # twelve prompts of two lengths in one batch, padded on the left
    tokenizer = stand.encoder.processor.tokenizer
    for record, reply in list(zip(stand.records, replies, strict=True))[:4]:
        tokens = by_hand(stand, record, GREEDY.max_new_tokens, penalty)
        assert reply.text == tokenizer.decode(tokens, skip_special_tokens=True)
        assert reply.tokens == len(tokens)


def test_a_repetition_penalty_changes_the_answers(stand: Stand) -> None:
    plain, penalised = (
        stand.ask(stand.records, dataclasses.replace(GREEDY, repetition_penalty=penalty)) for penalty in (1.0, 3.0)
    )
    assert sum(one.text != other.text for one, other in zip(plain, penalised, strict=True)) >= 6


def test_the_adapter_changes_answers_and_switching_it_off_gives_the_base_back(stand: Stand, tools: Any) -> None:
    base = stand.ask(stand.records, GREEDY, "base")
    assert base != stand.ask(stand.records, GREEDY, "tuned")
    with loaded(Contestants(TINY, None, TINY), ("base",), tools.resolved_run(), entry("qwen3vl")) as plain:
        answerer = Answerer(
            plain.model, stand.encoder, stand.answerer._stops, stand.answerer._images, "Answer in JSON."
        )
        (batch,) = answerer.encoded([tuple(stand.records)])
        assert answerer.answer(batch, GREEDY) == base


def test_a_seed_gives_the_same_draws_in_any_batch_and_another_seed_others(stand: Stand) -> None:
    together = stand.ask(stand.records, SAMPLED)
    alone = [stand.ask([record], SAMPLED)[0] for record in stand.records]
    backwards = stand.ask(stand.records[::-1], SAMPLED)[::-1]
    assert together == alone == backwards
    assert together != stand.ask(stand.records, dataclasses.replace(SAMPLED, seed=12))
    assert together != stand.ask(stand.records, GREEDY)


def test_the_settings_of_the_base_models_own_generation_config_have_no_effect(stand: Stand) -> None:
    before = stand.ask(stand.records, GREEDY)
    own = stand.holder.model.get_base_model().generation_config
    changed = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "suppress_tokens": list(range(50, 200))}
    kept = {name: getattr(own, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(own, name, value)
        assert stand.ask(stand.records, GREEDY) == before
    finally:
        for name, value in kept.items():
            setattr(own, name, value)


def test_an_answer_that_reaches_the_longest_length_is_cut_off_and_one_that_stops_is_not(stand: Stand) -> None:
    record = stand.records[0]
    tokens = by_hand(stand, record, 12, stop=False)
    end = next(place for place in range(2, len(tokens)) if tokens[place] not in tokens[:place])
    # Whatever this model says there is its stop token for once: it is met for the first time at a known place.
    answerer = Answerer(
        stand.holder.model, stand.encoder, {tokens[end]}, stand.answerer._images, stand.answerer._system_prompt
    )
    (batch,) = answerer.encoded([(record,)])
    stopped, exact, short = (
        answerer.answer(batch, dataclasses.replace(GREEDY, max_new_tokens=longest))[0] for longest in (64, end + 1, end)
    )
    assert stopped == exact  # the stop token is the last that fits
    assert (stopped.tokens, stopped.cut_off) == (end + 1, False)
    assert (short.tokens, short.cut_off, short.text) == (end, True, stopped.text)


def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(stand: Stand) -> None:
    whole = stand.ask(stand.records[:3], GREEDY)
    middle = whole[0].text[len(whole[0].text) // 2]
    stopped = stand.ask(stand.records[:3], dataclasses.replace(GREEDY, stop_strings=(middle,)))
    assert stopped[0].text == whole[0].text.split(middle)[0]
    assert stopped[0].tokens <= whole[0].tokens
    assert not stopped[0].cut_off


def test_a_batch_that_does_not_fit_is_halved_with_the_same_answers(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = stand.ask(stand.records, GREEDY)
    generate = Answerer._generate
    sizes: list[int] = []

    def scarce(self: Answerer, batch: Any, decoding: Decoding) -> list[Reply]:
        sizes.append(len(batch.records))
        if len(batch.records) > 4:  # what a GPU says that holds four
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, batch, decoding)

    monkeypatch.setattr(Answerer, "_generate", scarce)
    assert stand.ask(stand.records, GREEDY) == expected
    assert sizes == [12, 6, 3, 3, 6, 3, 3]


def test_the_stage_scores_base_and_tuned_and_run_again_changes_nothing(prepare_run: Callable[..., Any]) -> None:
    prepared = prepare_run(quantization_enabled=True)
    metrics = evaluate(prepared.run)
    assert metrics["samples"] == 12
    assert set(metrics["base"]) == {"greedy"}
    assert set(metrics["tuned"]) == {"greedy", "sampled"}
    rows = read_predictions(prepared.run.path(layout.PREDICTIONS))
    assert len(rows) == 36
    assert [row.sample for row in rows[:12]] == [record.id for record in prepared.records]
    written = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in _files(prepared.run.workspace)}
    assert evaluate(prepared.run) == metrics
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in _files(prepared.run.workspace)} == written


def test_greedy_sampling_settings_skip_the_drawn_answers(prepare_run: Callable[..., Any]) -> None:
    settings = {"max_new_tokens": 4, "top_k": 0, "top_p": 1.0, "temperature": 0.0, "repetition_penalty": 1.0}
    prepared = prepare_run(pictures=1, sampling=Sampling(**settings))
    assert set(evaluate(prepared.run)["tuned"]) == {"greedy"}


def test_after_full_fine_tuning_both_sets_of_weights_answer(prepare_run: Callable[..., Any]) -> None:
    from safetensors.torch import load_file, save_file

    prepared = prepare_run(pictures=3, training_mode="SFT", quantization_enabled=False)
    weights = prepared.run.path(layout.MODEL_FULL) / "model.safetensors"
    tensors = load_file(weights)
    torch.manual_seed(0)
    changed = {
        name: value + 0.1 * torch.randn_like(value) if "language_model.layers" in name else value
        for name, value in tensors.items()
    }
    save_file(changed, weights, metadata={"format": "pt"})
    metrics = evaluate(prepared.run)
    rows = read_predictions(prepared.run.path(layout.PREDICTIONS))
    texts = {model: [row.text for row in rows if (row.model, row.decoding) == (model, "greedy")] for model in metrics}
    assert texts["base"] != texts["tuned"]
    assert metrics["fingerprints"]["base"] != metrics["fingerprints"]["tuned"]


def test_killed_in_the_middle_it_keeps_what_it_has_and_ends_with_the_same_files(
    prepare_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole, killed = prepare_run("whole", pictures=40), prepare_run("killed", pictures=40)
    expected = evaluate(whole.run)
    command = [sys.executable, "-m", "airtune.evaluation", killed.run.uri]
    rows = killed.run.path(layout.PREDICTIONS)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (rows.exists() and rows.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    finally:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output
    kept = len(read_predictions(rows))
    assert 0 < kept < 240
    with rows.open("ab") as file:  # a kill may leave half a line
        file.write(b'{"key":"12')
    capsys.readouterr()
    assert evaluate(killed.run) == expected
    assert f"{kept:,} answers are there already and are kept" in capsys.readouterr().out
    assert rows.read_bytes() == whole.run.path(layout.PREDICTIONS).read_bytes()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "evaluation").rglob("*") if path.is_file())

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airtune.answering.batches import CACHE_BYTES, PROMPT_TOKENS, ROWS, cache_bytes_per_token, plan_batches

QWEN_7B = {
    "text_config": {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
}


@given(st.lists(st.integers(1, 5000), max_size=300), st.integers(1, 2048), st.integers(64, 200_000))
def test_every_sample_is_in_one_batch_and_no_batch_is_larger_than_allowed(
    lengths: list[int], new: int, per_token: int
) -> None:
    batches = plan_batches(lengths, new, per_token)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[position] for position in batch)
        if len(batch) > 1:  # a single sample is tried whatever it takes
            assert len(batch) <= ROWS
            assert len(batch) * longest <= PROMPT_TOKENS
            assert len(batch) * (longest + new) * per_token <= CACHE_BYTES
    ordered = [lengths[position] for batch in batches for position in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_equal_lengths_keep_the_order_of_the_samples() -> None:
    assert plan_batches([7] * 5, 10, 100) == [[0, 1, 2, 3, 4]]


def test_a_tiny_model_answers_a_hundred_samples_in_one_batch() -> None:
    assert (
        len(plan_batches([40] * 100, 256, cache_bytes_per_token({"num_hidden_layers": 2, "hidden_size": 64}, 4))) == 1
    )


def test_the_cache_of_a_7b_is_28_layers_of_4_heads_of_128_numbers_twice() -> None:
    assert cache_bytes_per_token(QWEN_7B, 2) == 2 * 28 * 4 * 128 * 2
    assert len(plan_batches([1500] * 100, 512, cache_bytes_per_token(QWEN_7B, 2))[0]) == 2**31 // (2012 * 57344)

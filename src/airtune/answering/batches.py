"""Which samples are answered together: of similar length, and no more than memory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

ROWS: Final = 128
"""At most so many samples in a batch: beyond it a step's time grows with the rows."""

CACHE_BYTES: Final = 2 * 2**30
"""At most so many bytes of keys and values in a batch. A constant, not what is free on the device: the batches,
and with them the rounding of low precision, are the same wherever the answers are generated again."""

PROMPT_TOKENS: Final = 64 * 1024
"""At most so many prompt tokens in a batch: the first forward pass computes them all at once."""


def plan_batches(lengths: Sequence[int], max_new_tokens: int, bytes_per_token: int) -> list[list[int]]:
    """Groups samples by the lengths of their prompts.

    Args:
        lengths: tokens of each sample's prompt, pictures included.
        max_new_tokens: longest answer.
        bytes_per_token: of the cache of keys and values, see :func:`cache_bytes_per_token`.

    Returns:
        Lists of positions in ``lengths``: every position once, longest first, so that what does not fit fails at
        once and the estimate of the time left is on the safe side. The same input gives the same batches.
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batches: list[list[int]] = []
    for position in order:
        if batches and _fits(len(batches[-1]) + 1, lengths[batches[-1][0]], max_new_tokens, bytes_per_token):
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def cache_bytes_per_token(config: Mapping[str, Any], bytes_per_number: int) -> int:
    """Bytes that a token's keys and values take in all layers of the language model.

    Args:
        config: the model's ``config.json``; the language model's part is used where it is apart.
        bytes_per_number: 2 for BFloat16 and Float16, 4 for Float32.
    """
    text = config.get("text_config") or config.get("llm_config") or config.get("language_config") or config
    layers = _number(text, "num_hidden_layers", 32)
    heads = _number(text, "num_attention_heads", 32)
    shared_heads = _number(text, "num_key_value_heads", heads)
    head = _number(text, "head_dim", _number(text, "hidden_size", 4096) // max(heads, 1))
    return 2 * layers * shared_heads * head * bytes_per_number


def _fits(rows: int, longest: int, max_new_tokens: int, bytes_per_token: int) -> bool:
    return (
        rows <= ROWS
        and rows * longest <= PROMPT_TOKENS
        and rows * (longest + max_new_tokens) * bytes_per_token <= CACHE_BYTES
    )


def _number(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default

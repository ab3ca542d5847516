"""An estimate as lines of text, for ``airtune resolve`` and ``airtune estimate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_PARTS: Final = {
    "weights": "weights",
    "adapters": "adapters",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "logits": "logits",
    "vision": "vision tower and pixels",
    "overhead": "overhead",
}


def estimate_lines(estimate: Mapping[str, Any]) -> Iterator[str]:
    """What ``resolution.json`` says under ``estimate``, for people."""
    yield f"steps      {estimate['steps']:,} ({estimate['steps_per_epoch']:,} an epoch), {_batch(estimate)}"
    yield from _lengths(estimate)
    if estimate["missing"]:
        yield f"parameters, memory and time: {estimate['missing']}"
        return
    yield from _parts(estimate)
    yield from _memory(estimate)
    yield _time(estimate)
    yield from _verdict(estimate["verdict"])


def _batch(estimate: Mapping[str, Any]) -> str:
    return f"effective batch {estimate['effective_batch']}"


def _lengths(estimate: Mapping[str, Any]) -> Iterator[str]:
    lengths = estimate["lengths"]
    if lengths is None or lengths["tokens"] is None:
        return
    tokens, labels = lengths["tokens"], lengths["label_tokens"]
    how = "counted" if lengths["exact"] else "guessed from characters and pixels"
    yield (
        f"samples    {tokens['mean']:,.0f} tokens on average, {tokens['most']:,} at most, "
        f"{labels['mean']:,.0f} of them learned ({how})"
    )
    batch = estimate["epoch"]
    if batch is not None and batch["tokens"] < batch["tokens_padded"]:
        packed, padded = batch["tokens"], batch["tokens_padded"]
        yield f"packing    {packed:,} tokens an epoch instead of {padded:,} ({padded / packed:.1f} times fewer)"
        if estimate["row_tokens"]:
            yield f"           rows of at most {estimate['row_tokens']:,} tokens"


def _parts(estimate: Mapping[str, Any]) -> Iterator[str]:
    yield f"trained    {estimate['trained_parameters']:,} parameters"
    yield f"  {'part':<12}{'parameters':>16}{'trained':>16}{'4-bit layers':>14}"
    for name, part in estimate["parts"].items():
        yield f"  {name:<12}{part['parameters']:>16,}{part['trained']:>16,}{part['quantized']:>14}"


def _memory(estimate: Mapping[str, Any]) -> Iterator[str]:
    memory = estimate["memory"]
    if memory is None:
        return
    yield "memory of one device"
    for key, words in _PARTS.items():
        if memory[key]:
            yield f"  {words:<26}{_bytes(memory[key]):>12}"
    yield f"  {'peak':<26}{_bytes(memory['peak']):>12}  (not all of it at once; dearest moment: {memory['moment']})"


def _time(estimate: Mapping[str, Any]) -> str:
    pace = estimate["pace"]
    if pace is None:
        return "time       not known for this device"
    return (
        f"time       about {_seconds(pace['seconds_per_step'])} a step, {_seconds(pace['seconds'])} in all on "
        f"{pace['device']} (estimated)"
    )


def _verdict(verdict: Mapping[str, Any] | None) -> Iterator[str]:
    if verdict is None:
        return
    yield f"verdict    {verdict['verdict'] or 'none'}: {verdict['reason']}"
    if verdict["change_in_words"]:
        by = "by itself, training takes" if verdict["automatic"] else "cheapest change"
        yield f"           {by}: {verdict['change_in_words']}"
    if verdict["smallest_card_gb"] is not None and verdict["verdict"] != "Allow":
        yield f"           as it is, it fits a GPU with {verdict['smallest_card_gb']} GB"


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.2f} GB"


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

"""The numbers of a model's control tokens, read from its tokenizer's files without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Control tokens by number.

    Attributes:
        eos: those at which generation stops, the tokenizer's own first; empty when nothing names one.
        pad: fills up shorter rows of a batch, or None.
        bos: begins a text, or None where the tokenizer has none.
    """

    eos: tuple[int, ...]
    pad: int | None
    bos: int | None


def token_ids(folder: Path) -> TokenIds:
    """The control tokens of the model in ``folder``: its tokenizer's, then its generation config's."""
    settings = _json(folder / "tokenizer_config.json")
    special = _json(folder / "special_tokens_map.json")
    numbers = _numbers(folder, settings)
    generation = _json(folder / "generation_config.json")
    config = _json(folder / "config.json")

    def named(role: str) -> int | None:
        text = settings.get(role, special.get(role))
        text = text.get("content") if isinstance(text, dict) else text
        return numbers.get(text) if isinstance(text, str) else None

    def configured(role: str) -> list[int]:
        value = generation.get(role)
        if value is None:
            value = config.get(role)
        if value is None and isinstance(config.get("text_config"), dict):
            value = config["text_config"].get(role)
        found = value if isinstance(value, list) else [value]
        return [number for number in found if isinstance(number, int) and not isinstance(number, bool) and number >= 0]

    own = named("eos_token")
    eos = tuple(dict.fromkeys([*([own] if own is not None else []), *configured("eos_token_id")]))
    pad = named("pad_token")
    bos = named("bos_token")
    return TokenIds(
        eos=eos,
        pad=pad if pad is not None else next(iter(configured("pad_token_id")), None),
        bos=bos if bos is not None else next(iter(configured("bos_token_id")), None),
    )


def _numbers(folder: Path, settings: dict[str, Any]) -> dict[str, int]:
    """Token text -> number, from whichever of the tokenizer's files there are."""
    tokenizer = _json(folder / "tokenizer.json")
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict):  # a unigram model lists [text, score] pairs
        vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary or []) if entry}
    numbers: dict[str, int] = {**_json(folder / "vocab.json"), **vocabulary}
    numbers.update(_json(folder / "added_tokens.json"))
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        numbers[token["content"]] = int(number)
    for token in tokenizer.get("added_tokens") or []:
        numbers[token["content"]] = int(token["id"])
    return numbers


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

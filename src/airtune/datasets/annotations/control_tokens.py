"""Texts that a model's tokenizer takes for control tokens, and how they are kept from being taken so.

``<|im_end|>`` in a question would end the turn there, and ``<image>`` would stand for a picture that is not shown.
An underscore after the first character makes it ordinary text: ``<_|im_end|>``. What already looks so gets one more,
so nothing is lost: leaving out one underscore gives the original again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from airtune.stores.base import MissingError, Store
from airtune.stores.opening import open_store

_KNOWN: Final = (
    r"\|[^|<>\s]{1,40}\|>",  # Qwen, Llama, InternVL: <|im_end|>, <|eot_id|>
    r"\|[a-z]+(?:_[a-z]+)*>|[a-z]+(?:_[a-z]+)*\|>",  # Gemma 4: <|turn>, <turn|>
    r"｜[^｜<>\s]{1,40}｜>",  # DeepSeek, with full-width bars
    r"(?:image|video|audio)(?:_soft_token|_pad)?>",
    r"(?:start|end)_of_(?:turn|image|audio)>",
    r"/?(?:s|img|quad|ref|box)>|IMG_CONTEXT>",
    r"(?:bos|eos|pad|unk|mask)>",
    r"vila/(?:sentinel|video|image)>",
)
"""What follows the ``<`` of a control token in the models of the catalog."""

_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_LISTS: Final = ("added_tokens", "additional_special_tokens", "extra_special_tokens", "added_tokens_decoder")


class ControlTokens:
    """The control tokens of the catalog's models, and those of one more model.

    Args:
        own: control tokens of the run's base model. One that begins with an underscore or has only one character cannot
            be escaped and is left alone: training sets such a sample aside.
    """

    def __init__(self, own: Iterable[str] = ()) -> None:
        rests: defaultdict[str, set[str]] = defaultdict(set)
        for token in own:
            if len(token) > 1 and token[0] != "_":
                rests[token[0]].add(re.escape(token[1:]))
        groups = {first: sorted(found) for first, found in rests.items()}
        groups["<"] = [*_KNOWN, *groups.get("<", [])]
        self._firsts = tuple(groups)
        self._pattern = re.compile(
            "|".join(f"{re.escape(first)}(?=_*(?:{'|'.join(found)}))" for first, found in groups.items())
        )

    def escape(self, text: str) -> tuple[str, int]:
        """The text with an underscore after the first character of every control token, and how many there were."""
        if not any(first in text for first in self._firsts):
            return text, 0
        return self._pattern.subn(r"\g<0>_", text)

    def escape_all(self, value: Any) -> tuple[Any, int]:
        """The same for every text of a truth (see :mod:`airtune.runspec.answers`), however deep it stands."""
        if isinstance(value, str):
            return self.escape(value)
        if isinstance(value, list):
            found = [self.escape_all(item) for item in value]
            return [item for item, _ in found], sum(count for _, count in found)
        if isinstance(value, Mapping):
            # Boxes are numbers, and there may be millions of them.
            inner = {key: (item, 0) if key == "boxes" else self.escape_all(item) for key, item in value.items()}
            return {key: item for key, (item, _) in inner.items()}, sum(count for _, count in inner.values())
        return value, 0


def tokens_of_model(uri: str) -> frozenset[str]:
    """The control tokens that the tokenizer files of a model name; none where it has no such files.

    Damaged files name none either: the stage `resolve` reads them whole and says so.

    Args:
        uri: the model's folder, ``file://`` or ``s3://``.

    Raises:
        StoreError: the store failed.
    """
    store = open_store(uri)
    found: set[str] = set()
    for name in _FILES:
        settings = _object(store, name)
        for key, value in settings.items():
            if key in _LISTS or key.endswith("_token"):
                found |= _contents(value)
    return frozenset(found)


def _object(store: Store, name: str) -> dict[str, Any]:
    try:
        found = json.loads(store.read(name))
    except (MissingError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _contents(value: Any) -> set[str]:
    """The texts of one token, of a list of tokens or of tokens by name or number."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, list):
        return {text for item in value for text in _contents(item)}
    if not isinstance(value, Mapping):
        return set()
    if "content" in value:
        # An added token that is not special (a tag for tool calls) is ordinary text, which a model may be taught.
        return _contents(value["content"]) if value.get("special", True) else set()
    return {text for item in value.values() for text in _contents(item)}

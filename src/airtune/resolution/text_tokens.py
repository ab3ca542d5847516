"""How many tokens a text has: by the base model's own tokenizer where it is at hand, else by its characters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from airtune.errors import Problem, SettingsError
from airtune.modeling.conversation import messages
from airtune.stores.opening import open_store
from airtune.stores.permission import is_hub_id

CHARACTERS_A_TOKEN: Final = 3.5
"""Of English prose and JSON under vocabularies of 30,000 tokens and more; other scripts have fewer."""

_BEFORE: Final = 9
"""Tokens that a chat template writes before a question, around the system turn; and three for each picture."""
_AFTER: Final = 5
"""Tokens that it writes between a question and its answer."""
_END: Final = 1
"""The token that ends an answer."""
_TOKENIZER: Final = "tokenizer.json"
_SYSTEM, _QUESTION = "word", "question"
_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


@dataclass(frozen=True)
class TextRule:
    """Counts for one base model.

    Attributes:
        exact: whether its own tokenizer counts, and its own chat template stands around the texts.
        before: tokens that its chat template writes before a question, without the pictures' own: what samples share.
        after: tokens between a question and its answer.
        end: tokens after an answer.
    """

    exact: bool
    before: int
    after: int
    end: int
    _count: Callable[[str], int]

    def __call__(self, text: str) -> int:
        """Tokens of a text."""
        return self._count(text)


def text_rule(source: str, *, images: int) -> TextRule:
    """How to count for a base model.

    Args:
        source: where it lies; a model of the hub is not fetched for its tokenizer.
        images: pictures of a sample.
    """
    found = None if is_hub_id(source) else _own(source)
    if found is None:
        return TextRule(False, _BEFORE + 2 * images, _AFTER, _END, _by_characters)
    count, template, special = found
    around = _around(template, special, count, images) if template else None
    before, after = around or (_BEFORE + 2 * images, _AFTER)
    return TextRule(around is not None, before, after, _END, count)


def _by_characters(text: str) -> int:
    return -(-len(text) * 10 // round(CHARACTERS_A_TOKEN * 10))


def _own(source: str) -> tuple[Callable[[str], int], str | None, Mapping[str, Any]] | None:
    """The model's own tokenizer and chat template; None where they are not there or the library is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    store = open_store(source)
    names = {info.key for info in store.list() if "/" not in info.key}
    if _TOKENIZER not in names:
        return None
    try:
        tokenizer = Tokenizer.from_str(store.read(_TOKENIZER).decode())
    except Exception as error:  # the library raises nothing more precise
        raise SettingsError(
            Problem("baseModel", f"{_TOKENIZER} is damaged: {str(error)[:200]}", value=source)
        ) from error
    files = {name: store.read(name).decode() for name in _TEMPLATES if name in names}
    settings = _object(files.get("tokenizer_config.json"))
    template = (
        files.get("chat_template.jinja")
        or _object(files.get("chat_template.json")).get("chat_template")
        or settings.get("chat_template")
    )

    @lru_cache(maxsize=65_536)
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count, template if isinstance(template, str) else None, settings


def _around(
    template: str, settings: Mapping[str, Any], count: Callable[[str], int], images: int
) -> tuple[int, int] | None:
    """What the chat template writes before a question and after it; None where it cannot be run here."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    tokens = {name: _text_of(value) for name, value in settings.items() if name.endswith("_token")}
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        rendered = environment.from_string(template).render(
            **tokens, messages=messages(_SYSTEM, images, _QUESTION), add_generation_prompt=True, tools=None
        )
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return None
    before, found, after = rendered.rpartition(_QUESTION)
    # One placeholder a picture stands for the picture's own tokens, which are counted elsewhere.
    return (count(before) - count(_SYSTEM) - images, count(after)) if found else None


def _text_of(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

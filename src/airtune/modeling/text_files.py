"""What a base model's files say about texts: its tokenizer and its chat template, without torch or transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from airtune.errors import Problem, SettingsError
from airtune.modeling.conversation import messages
from airtune.stores.base import Store
from airtune.stores.opening import open_store

_TOKENIZER: Final = "tokenizer.json"
_CONFIG: Final = "tokenizer_config.json"
_SENTINEL: Final = "airtune"
_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json", _CONFIG)


@dataclass(frozen=True)
class TextFiles:
    """The text side of a base model.

    Attributes:
        count: tokens of a text, without those that a tokenizer adds around it; None where there is no tokenizer.json
            or the library `tokenizers` is not installed.
        template: the chat template, or None.
        special: the content of tokenizer_config.json.
    """

    count: Callable[[str], int] | None
    template: str | None
    special: Mapping[str, Any]

    @classmethod
    def read(cls, source: str) -> TextFiles:
        """What lies at a source.

        Args:
            source: ``file://…`` or ``s3://…`` of a folder.

        Raises:
            SettingsError: the tokenizer is damaged, or it is no such URI.
            StoreError: the store failed, or there is no such folder.
        """
        store = open_store(source)
        names = {info.key for info in store.list() if "/" not in info.key}
        files = {name: store.read(name).decode(errors="replace") for name in _TEMPLATES if name in names}
        special = _object(files.get(_CONFIG))
        template = (
            files.get("chat_template.jinja")
            or _object(files.get("chat_template.json")).get("chat_template")
            or special.get("chat_template")
        )
        count = _counter(store, source) if _TOKENIZER in names else None
        return cls(count, template if isinstance(template, str) else None, special)

    def render(self, turns: Sequence[Mapping[str, Any]], *, asks: bool) -> str | None:
        """A conversation as the chat template writes it; None where there is none, or it cannot be run here.

        Args:
            turns: its turns, see :func:`airtune.modeling.conversation.messages`.
            asks: whether the assistant's turn is begun after them.
        """
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        if self.template is None:
            return None
        tokens = {name: _text_of(value) for name, value in self.special.items() if name.endswith("_token")}
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
        try:
            return environment.from_string(self.template).render(
                **tokens, messages=turns, add_generation_prompt=asks, tools=None, raise_exception=_refuse
            )
        except Exception:  # a template is a program: whatever it does wrong, it writes nothing
            return None

    def end_of_turn(self) -> str:
        """The text that ends the assistant's turn and is learned with it: the template's, else the tokenizer's.

        :func:`airtune.modeling.conversation.end_of_turn` says the same in tokens, from the loaded processor.
        """
        whole = self.render(messages("", 0, "?", _SENTINEL), asks=False) or ""
        _, _, tail = whole.rpartition(_SENTINEL)
        return tail.strip() or _text_of(self.special.get("eos_token"))


def _refuse(message: str) -> None:
    """How a template says that it cannot write a conversation."""
    raise ValueError(message)


def _counter(store: Store, source: str) -> Callable[[str], int] | None:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:
        tokenizer = Tokenizer.from_str(store.read(_TOKENIZER).decode())
    except Exception as error:  # the library raises nothing more precise
        raise SettingsError(
            Problem("baseModel", f"{_TOKENIZER} is damaged: {str(error)[:200]}", value=source)
        ) from error

    @lru_cache(maxsize=65_536)
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count


def _text_of(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

"""How many tokens a text has: by the base model's own tokenizer where it is at hand, else by its characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from airtune.modeling.conversation import messages
from airtune.modeling.text_files import TextFiles
from airtune.stores.permission import is_hub_id

CHARACTERS_A_TOKEN: Final = 3.5
"""Of English prose and JSON under vocabularies of 30,000 tokens and more; other scripts have fewer."""

_BEFORE: Final = 9
"""Tokens that a chat template writes before a question, around the system turn."""
_PICTURE: Final = 2
"""Tokens that it writes around each picture."""
_AFTER: Final = 5
"""Tokens that it writes between a question and its answer."""
_END: Final = 1
"""The token that ends an answer."""
_SYSTEM, _QUESTION = "word", "question"


@dataclass(frozen=True)
class TextRule:
    """Counts for one base model.

    Attributes:
        exact: whether its own tokenizer counts, and its own chat template stands around the texts.
        before: tokens that its chat template writes before a question and its pictures: what samples share.
        picture: tokens that it writes around each picture, without the picture's own.
        after: tokens between a question and its answer.
        end: tokens after an answer.
    """

    exact: bool
    before: int
    picture: int
    after: int
    end: int
    _count: Callable[[str], int]

    def __call__(self, text: str) -> int:
        """Tokens of a text."""
        return self._count(text)


def text_rule(source: str, *, system: bool = True) -> TextRule:
    """How to count for a base model.

    Args:
        source: where it lies; a model of the hub is not fetched for its tokenizer.
        system: whether there is a system prompt, without which a template writes no turn for it.
    """
    files = None if is_hub_id(source) else TextFiles.read(source)
    if files is None or files.count is None:
        return TextRule(False, _BEFORE, _PICTURE, _AFTER, _END, _by_characters)
    plain, with_picture = (_around(files, files.count, images, system) for images in (0, 1))
    if plain is None or with_picture is None:
        return TextRule(False, _BEFORE, _PICTURE, _AFTER, _END, files.count)
    return TextRule(True, plain[0], with_picture[0] - plain[0], plain[1], _END, files.count)


def _by_characters(text: str) -> int:
    return -(-len(text) * 10 // round(CHARACTERS_A_TOKEN * 10))


def _around(files: TextFiles, count: Callable[[str], int], images: int, system: bool) -> tuple[int, int] | None:
    """What the chat template writes before a question and after it; None where it cannot be run here."""
    rendered = files.render(messages(_SYSTEM if system else "", images, _QUESTION), asks=True)
    if rendered is None:
        return None
    before, found, after = rendered.rpartition(_QUESTION)
    # One placeholder a picture stands for the picture's own tokens, which are counted elsewhere.
    return (count(before) - (count(_SYSTEM) if system else 0) - images, count(after)) if found else None

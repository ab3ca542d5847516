"""The sentence of an image that has boxes with class names and no caption.

Phrase grounding answers with a sentence and the boxes of its phrases. A detection format has class names alone, so the
sentence is made of them: each class of the image once, in the order of the alphabet, ``"car, dog, traffic light"``.
All boxes of a class stand under its one phrase. The sentence depends on nothing but which classes the image shows:
not on the format, nor on the order of the annotations, nor on other images.

Every phrase occurs exactly once in its sentence, so that it can be found there again. Where one name is part of
another (``dog`` of ``hot dog``, ``car`` of ``carrot``), and both are in the picture, the shorter one stands in quotes:
``"'dog', hot dog"``, with the phrase ``'dog'``. :func:`names_of` undoes it.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airtune.datasets.draft import Reject, short, writable
from airtune.runspec.answers import clean

_QUOTE: Final = "'"
_BETWEEN: Final = ", "
_LONGEST_NAME: Final = 200


@functools.lru_cache(maxsize=4096)
def class_name(name: str) -> str:
    """A class's name as it stands in a sentence: one line, letters composed, without space at its ends.

    Raises:
        Reject: nothing is left of it, or it is no name but a text.
    """
    tidy = " ".join(writable(unicodedata.normalize("NFC", name)).split())
    if not tidy:
        raise Reject("annotation-shape", "the name of a class is empty")
    if len(tidy) > _LONGEST_NAME:
        raise Reject("annotation-shape", f"the name of a class has {len(tidy)} characters: {short(tidy)}")
    return tidy


def truth_of(boxes: Mapping[str, list[list[float]]]) -> dict[str, Any]:
    """The truth of an image, for phrase grounding.

    Args:
        boxes: of each class of the image, by its name (see :func:`class_name`), at least one; unchecked.

    Raises:
        Reject: the names cannot be told apart in a sentence.
    """
    names = tuple(sorted(boxes))
    sentence, phrases = sentence_of(names)
    groundings = [{"phrase": phrase, "boxes": list(boxes[name])} for name, phrase in zip(names, phrases, strict=True)]
    return {"sentence": sentence, "groundings": groundings}


@functools.lru_cache(maxsize=16384)
def sentence_of(names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The sentence that names each class once, and the phrase of each.

    Args:
        names: distinct, in rising order.

    Raises:
        Reject: even in quotes one of them is part of another.
    """
    phrases = list(names)
    while True:
        # As they are trained: cleaning may make two names alike.
        cleaned = [_cleaned(phrase) for phrase in phrases]
        sentence = _BETWEEN.join(cleaned)
        repeated = [
            place for place, phrase in enumerate(cleaned) if sentence.find(phrase, sentence.index(phrase) + 1) >= 0
        ]
        if not repeated:
            return _BETWEEN.join(phrases), tuple(phrases)
        for place in repeated:
            if phrases[place] != names[place]:
                raise Reject("phrase-ambiguous", f"{short(names[place])} is part of another name: {short(sentence)}")
            phrases[place] = f"{_QUOTE}{names[place]}{_QUOTE}"


def names_of(phrases: Sequence[str], sentence: str) -> list[str]:
    """The class names behind a sentence's phrases; phrases of a sentence that was not made here are names as they are.

    Args:
        phrases: of the sentence, in any order.
        sentence: the whole.
    """
    bare = [phrase[1:-1] if len(phrase) > 2 and phrase[0] == phrase[-1] == _QUOTE else phrase for phrase in phrases]
    try:
        made = sentence_of(tuple(sorted(set(bare))))[0] == sentence
    except Reject:
        made = False
    return bare if made else list(phrases)


@functools.lru_cache(maxsize=4096)
def _cleaned(phrase: str) -> str:
    return clean(phrase)[0]

"""How close two texts are: exact match and token F1, with the normalisation that both use."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Final

from airtune.runspec.answers import clean

_SPACES: Final = re.compile(r"\s+")
# A word is a run of letters and digits; scripts written without spaces count character by character.
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def normalise(text: str) -> str:
    """The form in which texts are compared.

    In this order: characters that no trained answer can hold are replaced as the training target has them
    (:func:`airtune.runspec.answers.clean`), Unicode NFKC, case folding, runs of white space become one space,
    the ends are trimmed, and one full stop at the end is dropped. Articles, other punctuation and the order of
    words count.
    """
    folded = unicodedata.normalize("NFKC", clean(text)[0]).casefold()
    # Folding can decompose again ("ΐ"), so that equal texts need a second pass to be equal code points.
    trimmed = _SPACES.sub(" ", unicodedata.normalize("NFKC", folded)).strip()
    return trimmed[:-1].rstrip() if trimmed.endswith(".") else trimmed


def exact_match(truth: str, said: str) -> float:
    """1.0 if both texts are equal once normalised, else 0.0."""
    return float(normalise(truth) == normalise(said))


def words(text: str) -> list[str]:
    """The words of a text once normalised: runs of letters and digits; Chinese and Japanese character by character."""
    return _WORD.findall(normalise(text))


def token_f1(truth: str, said: str) -> float:
    """Harmonic mean of precision and recall over the words of both texts, each counted as often as it occurs, in 0..1.

    This is the F1 of the SQuAD evaluation (Rajpurkar et al. 2016) on our own normalisation. Texts without any
    word are compared as :func:`exact_match` does.
    """
    expected, found = words(truth), words(said)
    if not expected or not found:
        return exact_match(truth, said)
    common = (Counter(expected) & Counter(found)).total()
    return 2 * common / (len(expected) + len(found))

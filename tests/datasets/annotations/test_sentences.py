"""The sentence made of class names."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airtune.datasets.annotations.sentences import class_name, names_of, sentence_of, truth_of
from airtune.datasets.draft import Reject
from airtune.runspec.answers import clean


def occurrences(part: str, whole: str) -> int:
    return sum(whole.startswith(part, start) for start in range(len(whole)))


def test_classes_are_named_once_in_the_order_of_the_alphabet() -> None:
    truth = truth_of({"dog": [[0, 0, 1, 1], [2, 2, 3, 3]], "car": [[0, 0, 1, 1]]})
    assert truth["sentence"] == "car, dog"
    assert [(item["phrase"], len(item["boxes"])) for item in truth["groundings"]] == [("car", 1), ("dog", 2)]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("dog", "hot dog"), "'dog', hot dog"),
        (("car", "carrot", "cat"), "'car', carrot, cat"),
        (("bear", "dog", "hot dog", "teddy bear"), "'bear', 'dog', hot dog, teddy bear"),
        (("a", "aa", "aaa"), "'a', 'aa', aaa"),
        (("hot dog",), "hot dog"),
        (('5"', "5' pipe"), "'5\"', 5' pipe"),
    ],
)
def test_a_name_that_is_part_of_another_stands_in_quotes(names: tuple[str, ...], sentence: str) -> None:
    assert sentence_of(names)[0] == sentence
    assert names_of(sentence_of(names)[1], sentence) == list(names)


def test_names_that_quotes_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(Reject, match="part of another name"):
        sentence_of(("'dog'", "dog"))


def test_phrases_of_a_sentence_that_somebody_wrote_are_names_as_they_are() -> None:
    assert names_of(["'Nsync'", "a stage"], "'Nsync' on a stage") == ["'Nsync'", "a stage"]


def test_a_name_is_one_line_of_composed_letters() -> None:
    assert class_name("  cafe\N{COMBINING ACUTE ACCENT}\n table ") == "caf\N{LATIN SMALL LETTER E WITH ACUTE} table"
    for bad in ("", " \n", "x" * 201):
        with pytest.raises(Reject):
            class_name(bad)


@given(
    st.lists(st.text("ab '\"\\,", min_size=1, max_size=5).filter(str.strip).map(class_name), min_size=1, unique=True)
)
def test_every_phrase_stands_in_the_sentence_exactly_once(given_names: list[str]) -> None:
    names = tuple(sorted(given_names))
    try:
        sentence, phrases = sentence_of(names)
    except Reject:
        assume(False)
    for phrase in phrases:
        assert occurrences(phrase, sentence) == 1
        assert occurrences(clean(phrase)[0], clean(sentence)[0]) == 1

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.answering.text_metrics import exact_match, token_f1, words


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ("Two", "two"),
        ("a red car", "  A  red\ncar "),
        ("3", "3."),
        ("3", "３"),  # full-width digit
        ("Straße", "STRASSE"),
        ("Καλημέρα", "ΚΑΛΗΜΈΡΑ"),
        ('a 5" pipe', "a 5' pipe"),  # what the trained target makes of a quotation mark
        ("café", "cafe\u0301"),
    ],
)
def test_texts_that_differ_only_in_form_match(truth: str, said: str) -> None:
    assert exact_match(truth, said) == 1.0


@pytest.mark.parametrize(
    ("truth", "said"),
    [("two", "2"), ("red car", "car red"), ("a car", "car"), ("yes", "no"), ("yes", ""), ("1.0", "10"), ("x!", "x")],
)
def test_texts_that_differ_in_content_do_not_match(truth: str, said: str) -> None:
    assert exact_match(truth, said) == 0.0


@pytest.mark.parametrize(
    ("truth", "said", "expected"),
    [
        ("a red car", "a red car", 1.0),
        ("a red car", "the red bus", 1 / 3),  # 1 common word: 2 * 1 / (3 + 3)
        ("red red car", "red", 2 * 1 / 4),  # a word counts as often as it occurs
        ("a b c d", "a b", 2 * 2 / 6),
        ("car", "bus", 0.0),
        ("car", "", 0.0),
        ("?!", "?!", 1.0),  # without words the texts themselves are compared
        ("?!", "...", 0.0),
        ("红色的车", "红车", 2 * 2 / 6),  # character by character
        ("well-known", "well known", 1.0),
    ],
)
def test_token_f1_is_as_computed_by_hand(truth: str, said: str, expected: float) -> None:
    assert token_f1(truth, said) == pytest.approx(expected, abs=1e-12)


@given(st.text(), st.text())
def test_scores_lie_between_0_and_1_and_do_not_depend_on_the_side(one: str, other: str) -> None:
    assert 0.0 <= token_f1(one, other) <= 1.0
    assert token_f1(one, other) == pytest.approx(token_f1(other, one))
    assert exact_match(one, other) == exact_match(other, one)


@given(st.text())
def test_a_text_matches_itself(text: str) -> None:
    assert exact_match(text, text) == 1.0
    assert token_f1(text, text) == 1.0


@given(st.lists(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), min_size=1), st.randoms())
def test_the_order_of_words_is_of_no_account_to_token_f1(given_words: list[str], random: object) -> None:
    shuffled = list(given_words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert token_f1(" ".join(given_words), " ".join(shuffled)) == pytest.approx(1.0)
    assert sorted(words(" ".join(given_words))) == sorted(given_words)

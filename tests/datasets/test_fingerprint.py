"""Digests by which datasets are told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.datasets.fingerprint import fingerprint, fingerprint_of, sample_digest


def test_order_means_nothing_and_number_does() -> None:
    assert fingerprint(["a", "b"]) == fingerprint(["b", "a"])
    assert fingerprint(["a", "a"]) != fingerprint(["a"])
    assert fingerprint(["a", "b"]) != fingerprint(["ab"])
    assert fingerprint([]) != fingerprint([""])


def test_everything_that_is_learnt_changes_the_digest_of_a_sample() -> None:
    base = {"task": "vqa", "image_digests": ["aa"], "prompt": "What?", "truth": {"answer": "x"}}
    variants = [
        {"task": "generic"},
        {"image_digests": ["bb"]},
        {"image_digests": ["aa", "bb"]},
        {"prompt": "Who?"},
        {"truth": {"answer": "y"}},
        {"video": "cc"},
    ]
    digests = {sample_digest(**{**base, **variant}) for variant in [{}, *variants]}  # type: ignore[arg-type]
    assert len(digests) == len(variants) + 1
    assert sample_digest(task="t", image_digests=[], prompt="", truth={"a": 1, "b": 2}) == sample_digest(
        task="t", image_digests=[], prompt="", truth={"b": 2, "a": 1}
    )


TRUTHS = st.dictionaries(
    st.text(max_size=4), st.text(max_size=6) | st.lists(st.integers(0, 1024), max_size=4), max_size=3
)


@given(st.text(max_size=9), TRUTHS)
def test_the_digest_is_that_of_the_sample_as_minified_json_with_its_keys_in_order(prompt: str, truth: Any) -> None:
    content = [1, "vqa", ["aa"], None, prompt, truth]
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = sample_digest(task="vqa", image_digests=["aa"], prompt=prompt, truth=truth)
    assert digest == hashlib.sha256(text.encode()).hexdigest()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=4))
def test_columns_of_digests_have_the_fingerprint_of_the_digests(parts: list[list[int]]) -> None:
    digests = [[hashlib.sha256(bytes([number])).hexdigest() for number in part] for part in parts]
    columns = [pa.array(["x" * 64, *part], pa.string()).slice(1) for part in digests]
    assert fingerprint_of(columns) == fingerprint([digest for part in digests for digest in part])

from __future__ import annotations

import pytest

pytestmark = pytest.mark.training


def test_what_was_used_least_recently_leaves_first_when_room_runs_out() -> None:
    from airtune.training.samples import Kept

    kept: Kept[str, str] = Kept(100)
    for key in ("a", "b"):
        kept.put(key, key.upper(), 40)
    assert kept.get("a") == "A"
    kept.put("c", "C", 40)
    assert kept.get("b") is None
    assert kept.get("a") == "A"
    assert kept.get("c") == "C"
    kept.put("too large", "D", 101)
    assert kept.get("too large") is None
    assert kept.get("a") == "A"


def test_a_sample_that_was_kept_equals_the_one_that_was_made(assemble: object) -> None:
    import torch

    pieces = assemble(train=4)  # type: ignore[operator]
    made, kept = pieces.train[2].encoded, pieces.train[2].encoded
    assert made is not kept
    assert list(made.tokens) == list(kept.tokens)
    for name, value in {**made.tokens, **made.vision[0]}.items():
        assert torch.equal(value, {**kept.tokens, **kept.vision[0]}[name])
    assert torch.equal(made.picture, kept.picture)
    assert torch.equal(made.labels, kept.labels)


def test_a_picture_that_changes_during_training_is_named_with_its_sample(assemble: object, tmp_path: object) -> None:
    from airtune.errors import DataError

    pieces = assemble(train=4, epochs=2)  # type: ignore[operator]
    record = pieces.train.records[1]
    path = tmp_path / "data" / record.images[0]  # type: ignore[operator]
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataError, match=f"{record.images[0]}: the file is not the one that was validated"):
        pieces.fit()

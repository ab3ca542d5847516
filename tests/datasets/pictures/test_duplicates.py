"""Pictures that are nearly the same are found, and only those."""

from __future__ import annotations

import io
import random
import time

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from airtune.datasets.drawn.shapes import draw_scene
from airtune.datasets.pictures.duplicates import near_duplicates, near_duplicates_of
from airtune.datasets.pictures.image_facts import ImageFacts
from airtune.datasets.pictures.signature import signature_of


def facts_of(name: str, image: Image.Image) -> ImageFacts:
    looks = signature_of(image)
    return ImageFacts(
        digest=name,
        width=image.width,
        height=image.height,
        stored_size=image.size,
        changes=(),
        format="PNG",
        bytes=1,
        phash=looks.phash,
        colours=looks.colours,
        brightness=looks.brightness,
    )


def scene(index: int) -> Image.Image:
    return draw_scene(5, index, objects=(1, 3), side=256).image


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def test_a_picture_is_found_again_smaller_recompressed_and_brighter_and_no_other_is_taken_for_it() -> None:
    images = [facts_of(f"{index:02}", scene(index)) for index in range(60)]
    images += [
        facts_of("03 half", scene(3).resize((128, 128))),
        facts_of("03 jpeg", as_jpeg(scene(3), 40)),
        facts_of("07 brighter", ImageEnhance.Brightness(scene(7)).enhance(0.95)),
    ]
    assert near_duplicates_of(images) == [("03", "03 half", "03 jpeg"), ("07", "07 brighter")]


def test_the_hash_is_that_of_imagehash() -> None:
    for index in range(20):
        image = as_jpeg(scene(index).resize((64, 64)), 80)
        assert signature_of(image).phash == str(imagehash.phash(image))


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    red, blue = (Image.new("RGB", (64, 64), "white") for _ in range(2))
    red.paste((150, 40, 40), (8, 20, 40, 50))
    blue.paste((20, 40, 255), (8, 20, 40, 50))
    first, second = facts_of("red", red), facts_of("blue", blue)
    assert near_duplicates({"red": first.phash, "blue": second.phash}) == [("blue", "red")]
    assert near_duplicates_of([first, second]) == []


def test_plain_pictures_are_like_no_other() -> None:
    plain = [facts_of(str(level), Image.new("RGB", (64, 64), (level, level, level))) for level in range(5)]
    assert [facts.phash for facts in plain] == [""] * 5
    assert [facts.brightness for facts in plain] == [0, 1, 2, 3, 4]
    assert near_duplicates_of(plain) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(0, 60))
def test_the_bands_find_what_comparing_all_pairs_finds(seed: int, distance: int, count: int) -> None:
    rng = random.Random(seed)
    hashes = [rng.getrandbits(64) for _ in range(max(1, count // 3))]
    while len(hashes) < count:
        flipped = rng.choice(hashes)
        for _ in range(rng.randint(0, distance + 3)):
            flipped ^= 1 << rng.randrange(64)
        hashes.append(flipped)
    groups = {index: {index} for index in range(len(hashes))}
    for i, first in enumerate(hashes):
        for j, second in enumerate(hashes[:i]):
            if (first ^ second).bit_count() <= distance and groups[i] is not groups[j]:
                groups[i] |= groups[j]
                for member in groups[j]:
                    groups[member] = groups[i]
    expected = sorted({tuple(sorted(f"{index:03}" for index in group)) for group in groups.values() if len(group) > 1})
    found = near_duplicates({f"{index:03}": f"{value:016x}" for index, value in enumerate(hashes)}, distance)
    assert found == expected


@pytest.mark.parametrize("phashes", [{}, {"a": "00" * 8}, {"a": "", "b": ""}])
def test_of_nothing_there_are_no_groups(phashes: dict[str, str]) -> None:
    assert near_duplicates(phashes) == []


def test_all_frames_of_one_camera_are_one_group_in_little_time_and_memory() -> None:
    """As pairs they would be 200 million."""
    generator = np.random.default_rng(3)
    bits = 1 << generator.integers(0, 63, (20_000, 3), dtype=np.uint64)
    hashes = np.bitwise_xor.reduce(bits, axis=1) ^ np.uint64(0x123456789ABCDEF0)
    phashes = {f"{index:064x}": f"{value:016x}" for index, value in enumerate(hashes.tolist())}
    began = time.process_time()
    assert [len(group) for group in near_duplicates(phashes)] == [20_000]
    assert time.process_time() - began < 10


@given(
    st.lists(st.integers(0, 11), min_size=2, max_size=700),
    st.integers(0, 8),
    st.lists(st.integers(0, 2**64 - 1), min_size=12, max_size=12),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_groups_are_those_of_comparing_each_with_each(
    scenes: list[int], distance: int, looks: list[int], dice: random.Random
) -> None:
    """Few scenes and many frames, so that some bands are shared by hundreds and some by two."""
    hashes = [looks[scene] ^ (1 << dice.randrange(64)) ^ (1 << dice.randrange(64)) for scene in scenes]
    names = [f"{index:064x}" for index in range(len(hashes))]
    parent = list(range(len(hashes)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for i, one in enumerate(hashes):
        for j in range(i):
            if (one ^ hashes[j]).bit_count() <= distance:
                parent[root(i)] = root(j)
    groups: dict[int, list[str]] = {}
    for index, name in enumerate(names):
        groups.setdefault(root(index), []).append(name)
    expected = sorted(tuple(group) for group in groups.values() if len(group) > 1)
    phashes = {name: f"{value:016x}" for name, value in zip(names, hashes, strict=True)}
    assert near_duplicates(phashes, distance) == expected

from __future__ import annotations

from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.errors import DataError

pytestmark = pytest.mark.training

TINY = configs_root() / "demo" / "tiny-vlm"
TARGET = '{"vqa":{"answer":"two red squares"}}'


@pytest.fixture(scope="module")
def encoder() -> Any:
    from transformers import GenerationConfig

    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_processor

    processor = load_processor(TINY)
    return Encoder(processor, stop_token_ids(processor, GenerationConfig.from_pretrained(str(TINY))))


def picture(width: int = 64, height: int = 64) -> Any:
    from PIL import Image

    return Image.new("RGB", (width, height), (200, 40, 40))


def learned(encoder: Any, encoded: Any) -> str:
    return str(encoder.processor.tokenizer.decode(encoded.labels[encoded.labels != -100]))


def test_the_labels_are_the_answer_and_the_end_of_its_turn_and_nothing_else(encoder: Any) -> None:
    """Notes, 2."""
    encoded = encoder.encode("Answer with JSON.", "What is this?", [picture()], TARGET)
    assert learned(encoder, encoded) == TARGET + "<|im_end|>"
    where = (encoded.labels != -100).nonzero().flatten().tolist()
    assert where == list(range(where[0], encoded.length))  # one run, up to the last token
    assert encoded.labels[where].tolist() == encoded.tokens["input_ids"][where].tolist()


def test_the_stop_token_is_trained(encoder: Any) -> None:
    encoded = encoder.encode("", "What?", [picture()], TARGET)
    stop = encoder.processor.tokenizer.eos_token_id
    assert encoded.labels[-1] == stop == encoder.end.ids[-1]


def test_the_prompt_in_training_is_the_prompt_that_generation_starts_from(encoder: Any) -> None:
    asked = encoder.encode("Answer.", "What?", [picture()])
    taught = encoder.encode("Answer.", "What?", [picture()], TARGET)
    assert asked.labels is None
    assert taught.tokens["input_ids"][: asked.length].tolist() == asked.tokens["input_ids"].tolist()
    assert (taught.labels[: asked.length] == -100).all()


def test_an_answer_without_any_text_still_teaches_to_stop_and_pictures_are_never_labels(encoder: Any) -> None:
    assert learned(encoder, encoder.encode("", "What?", [picture()], "")) == "<|im_end|>"
    odd = encoder.encode("", "What?", [picture()], "<|image_pad|>")
    assert learned(encoder, odd) == "<|im_end|>"


def test_training_pads_on_the_right_and_generation_on_the_left(encoder: Any) -> None:
    """Notes, 9."""
    short = encoder.encode("", "A?", [picture()], "b")
    long = encoder.encode("", "A?", [picture()], "b c d e f g h")
    right = encoder.collate([short, long], padding="right")
    left = encoder.collate([short, long], padding="left")
    missing = long.length - short.length
    assert missing > 0
    assert right["attention_mask"][0].tolist() == [1] * short.length + [0] * missing
    assert left["attention_mask"][0].tolist() == [0] * missing + [1] * short.length
    assert (right["input_ids"][0, -missing:] == encoder.pad_id).all()
    assert (right["labels"][0, -missing:] == -100).all()
    assert right["labels"].shape == right["input_ids"].shape == (2, long.length)


def test_the_token_types_that_m_rope_needs_are_kept(encoder: Any) -> None:
    import torch

    batch = encoder.collate(
        [encoder.encode("", "A?", [picture()], "b"), encoder.encode("", "Longer question?", [picture(128, 64)], "c")],
        padding="right",
    )
    image = encoder.processor.image_token_id
    assert torch.equal(batch["mm_token_type_ids"] == 1, batch["input_ids"] == image)
    assert batch["pixel_values"].shape[0] == 64 + 128
    assert batch["image_grid_thw"].tolist() == [[1, 8, 8], [1, 8, 16]]


def test_lengths_follow_from_the_sizes_of_pictures_alone(encoder: Any) -> None:
    """Notes, 10: no picture is opened."""
    for sizes in ([(64, 64)], [(70, 111)], [(64, 64), (300, 40)], [], [(1000, 1000)]):
        pictures = [picture(width, height) for height, width in sizes]
        encoded = encoder.encode("Be brief.", "What is this?", pictures, TARGET)
        predicted = encoder.prompt_length("Be brief.", "What is this?", sizes) + len(encoder.target_ids(TARGET))
        assert predicted == encoded.length


def test_special_tokens_are_not_added_a_second_time(encoder: Any) -> None:
    tokenizer = encoder.processor.tokenizer
    text = encoder.prompt_text("Answer.", 0, "What?")
    ids = encoder.encode("Answer.", "What?", []).tokens["input_ids"].tolist()
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    before = tokenizer.bos_token
    tokenizer.bos_token = "<|im_start|>"  # a template that writes the first token itself
    try:
        assert encoder.encode("Answer.", "What?", []).tokens["input_ids"].tolist() == ids
    finally:
        tokenizer.bos_token = before


def test_a_placeholder_without_a_picture_is_refused_in_words(encoder: Any) -> None:
    with pytest.raises(DataError, match="its text has 2 places for its 1 pictures"):
        encoder.encode("", "What is <|image_pad|>?", [picture()], "a")


def test_a_picture_mark_in_the_text_of_a_sample_without_pictures_is_refused_in_words(encoder: Any) -> None:
    with pytest.raises(DataError, match="the model's processor refuses it"):
        encoder.encode("", "What is <|image_pad|>?", [], "a")


def test_pictures_processed_one_by_one_are_what_the_processor_makes_of_them_together(encoder: Any) -> None:
    import torch

    pictures = [picture(64, 64), picture(128, 70), picture(40, 90)]
    ours = encoder.collate([encoder.encode("Be brief.", "What?", pictures)], padding="right")
    text = encoder.prompt_text("Be brief.", 3, "What?")
    theirs = encoder.processor(text=[text], images=pictures, return_tensors="pt")
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        assert torch.equal(ours[name], value), name


def test_each_token_of_a_picture_says_whose_it_is(encoder: Any) -> None:
    from airtune.modeling.picture_tokens import image_tokens

    encoded = encoder.encode("", "What?", [picture(64, 64), picture(128, 64)], "a")
    owners = encoded.picture.tolist()
    image = encoder.processor.image_token_id
    assert [owner >= 0 for owner in owners] == [token == image for token in encoded.tokens["input_ids"].tolist()]
    assert [owners.count(number) for number in (0, 1)] == image_tokens(encoder.processor, [(64, 64), (64, 128)])


def test_samples_with_and_without_pictures_share_a_batch(encoder: Any) -> None:
    seen, text = encoder.encode("", "A?", [picture()], "b"), encoder.encode("", "A?", [], "b")
    batch = encoder.collate([text, seen], padding="right")
    assert batch["mm_token_type_ids"].sum(1).tolist() == [0, 16]
    assert batch["image_grid_thw"].tolist() == [[1, 8, 8]]


def test_a_template_that_ends_no_turn_gets_the_tokenizers_end_token(encoder: Any) -> None:
    from airtune.modeling.conversation import end_of_turn

    processor = encoder.processor
    template = processor.chat_template
    processor.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content[-1].text }}\n{% endfor %}"
    try:
        end = end_of_turn(processor, [processor.tokenizer.eos_token_id])
    finally:
        processor.chat_template = template
    assert (end.text, end.from_template) == ("<|im_end|>", False)
    assert encoder.end.from_template


def test_the_turns_are_system_then_pictures_then_text(encoder: Any) -> None:
    text = encoder.prompt_text("Be brief.", 2, "What?")
    place = "<|vision_start|><|image_pad|><|vision_end|>"
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{place}{place}What?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert encoder.prompt_text("", 0, "What?").startswith("<|im_start|>user\n")


def test_pictures_of_different_tilings_are_joined_and_filled_up() -> None:
    import torch

    from airtune.modeling.encoding import join

    joined = join([torch.ones(1, 2, 3), torch.ones(1, 4, 3)])
    assert joined.shape == (2, 4, 3)
    assert joined[0, 2:].sum() == 0
    assert joined.sum() == 18

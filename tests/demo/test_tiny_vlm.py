"""The tiny base model that ships: it loads offline, reads any text, and sees what its model card says it sees."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from airtune.datasets.drawn.demo import COLOUR_NAMES, SHAPE_NAMES
from airtune.datasets.drawn.shapes import draw_scene

FOLDER = Path(__file__).parents[2] / "include" / "configs" / "demo" / "tiny-vlm"
PICTURES = 50


@pytest.fixture(scope="module")
def tiny() -> SimpleNamespace:
    """The model in float32 and its processor."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=torch.float32, local_files_only=True)
    processor = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)
    return SimpleNamespace(model=model.eval(), processor=processor, tokenizer=processor.tokenizer)


def ask(tiny: SimpleNamespace, images: list[Image.Image], question: str, system: str = "") -> list[str]:
    """The greedy answer to one question about each picture."""
    turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    turns.append({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]})
    text = tiny.processor.apply_chat_template(turns, add_generation_prompt=True)
    inputs = tiny.processor(text=[text] * len(images), images=images, return_tensors="pt")
    output = tiny.model.generate(**inputs, do_sample=False, max_new_tokens=16)
    return tiny.processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_folder_is_at_most_two_megabytes() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 2_000_000


def test_weights_are_safetensors_and_nothing_in_the_folder_is_code_or_pickle() -> None:
    assert {file.suffix for file in FOLDER.iterdir()} <= {".json", ".jinja", ".safetensors", ".md"}


def test_it_is_a_qwen3_vl_with_room_for_long_prompts(tiny: SimpleNamespace) -> None:
    assert type(tiny.model).__name__ == "Qwen3VLForConditionalGeneration"
    assert tiny.model.config.model_type == "qwen3_vl"
    assert tiny.model.config.text_config.max_position_embeddings >= 16_384


@pytest.mark.parametrize(
    "text",
    [
        "A red circle.",
        '{"phrase_grounding":{"sentence":"a","groundings":[{"phrase":"a","grounding":[[0,7,64,1024]]}]}}',
        "naïve café 日本語 العربية 🎉👩‍🚀 \u0000\u200b",
        "composed é and decomposed e\u0301 stay apart",
        "  spaces,\ttabs\r\nand\n\n\nlines  ",
    ],
)
def test_any_text_survives_encoding_and_decoding(tiny: SimpleNamespace, text: str) -> None:
    assert tiny.tokenizer.decode(tiny.tokenizer.encode(text)) == text


def test_numbers_are_single_digits(tiny: SimpleNamespace) -> None:
    assert tiny.tokenizer.tokenize("1024") == ["1", "0", "2", "4"]


def test_the_chat_template_renders_string_and_list_content_alike(tiny: SimpleNamespace) -> None:
    listed = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "What is this?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "circle"}]},
    ]
    plain = [listed[0] | {"content": "Be brief."}, listed[1], listed[2] | {"content": "circle"}]
    expected = (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|video_pad|><|vision_end|>"
        "What is this?<|im_end|>\n"
        "<|im_start|>assistant\ncircle<|im_end|>\n"
    )
    assert tiny.processor.apply_chat_template(listed) == expected
    assert tiny.processor.apply_chat_template(plain) == expected
    prompt = tiny.processor.apply_chat_template(listed[:2], add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_a_picture_of_64_pixels_is_16_tokens_and_the_pixel_limit_holds(tiny: SimpleNamespace) -> None:
    counts = tiny.processor._get_num_multimodal_tokens(image_sizes=[(64, 64), (2_000, 3_000)])["num_image_tokens"]
    assert counts[0] == 16
    assert counts[1] <= 64


@pytest.mark.parametrize(("question", "attribute"), [("What colour is it?", "colour"), ("What is this?", "shape")])
def test_it_names_colours_and_shapes(tiny: SimpleNamespace, question: str, attribute: str) -> None:
    scenes = [draw_scene(77, index) for index in range(PICTURES)]
    answers = ask(tiny, [scene.image for scene in scenes], question)
    right = [answer == getattr(scene.objects[0], attribute) for answer, scene in zip(answers, scenes, strict=True)]
    assert sum(right) >= 0.9 * PICTURES, list(zip(answers, scenes, strict=True))


def test_it_knows_neither_the_words_nor_the_format_of_the_demo(tiny: SimpleNamespace) -> None:
    images = [draw_scene(78, index).image for index in range(10)]
    system = 'Answer the question about the image with one line of JSON: {"vqa":{"answer":"..."}}'
    answers = ask(tiny, images, "What is this?", system)
    targets = {json.dumps({"vqa": {"answer": word}}) for word in (*SHAPE_NAMES.values(), *COLOUR_NAMES.values())}
    assert not {answer.replace(" ", "") for answer in answers} & {target.replace(" ", "") for target in targets}

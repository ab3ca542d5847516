"""How a sample becomes a conversation, and a conversation the text that a model reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from airtune.errors import Problem, SettingsError

_SENTINEL: Final = "airtune"


def messages(
    system_prompt: str, images: int, prompt: str, target: str | None = None, *, videos: int = 0
) -> list[dict[str, Any]]:
    """The turns of one sample.

    Args:
        system_prompt: no system turn when empty.
        images: how many pictures stand before the user's text.
        prompt: the user's text.
        target: the assistant's text; None asks for it.
        videos: how many videos stand there.

    Returns:
        System [text], user [images, videos, text], and assistant [text] where there is a target.
    """
    turns: list[dict[str, Any]] = []
    if system_prompt:
        turns.append({"role": "system", "content": [{"type": "text", "text": system_prompt}]})
    pictures: list[dict[str, Any]] = [
        *({"type": "image"} for _ in range(images)),
        *({"type": "video"} for _ in range(videos)),
    ]
    turns.append({"role": "user", "content": [*pictures, {"type": "text", "text": prompt}]})
    if target is not None:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": target}]})
    return turns


def render_prompt(processor: Any, system_prompt: str, images: int, prompt: str, *, videos: int = 0) -> str:
    """The text up to where the assistant begins, one placeholder a picture or video, as the chat template has it."""
    text = processor.apply_chat_template(
        messages(system_prompt, images, prompt, videos=videos), tokenize=False, add_generation_prompt=True
    )
    return str(text)


def stop_token_ids(processor: Any, generation_config: Any) -> frozenset[int]:
    """The tokens at which generation stops: the tokenizer's end token and those of the generation config."""
    stops = {processor.tokenizer.eos_token_id}
    configured = getattr(generation_config, "eos_token_id", None)
    stops.update(configured if isinstance(configured, (list, tuple)) else [configured])
    return frozenset(int(token) for token in stops if token is not None)


@dataclass(frozen=True)
class EndOfTurn:
    """How the assistant's turn ends.

    Attributes:
        ids: the tokens after the answer, up to and including the one at which generation stops.
        text: the same as text.
        from_template: whether the chat template writes them; False: they were added, because it writes none.
    """

    ids: tuple[int, ...]
    text: str
    from_template: bool


def end_of_turn(processor: Any, stops: Collection[int]) -> EndOfTurn:
    """What follows an answer. It is trained, too: a model whose stop token is not trained never stops.

    Raises:
        SettingsError: neither the template nor the tokenizer has a token that ends a turn.
    """
    tokenizer = processor.tokenizer
    whole = str(processor.apply_chat_template(messages("", 0, "?", _SENTINEL), tokenize=False))
    _, _, tail = whole.rpartition(_SENTINEL)
    ids = [int(token) for token in tokenizer(tail, add_special_tokens=False)["input_ids"]]
    for position, token in enumerate(ids):
        if token in stops:
            taken = tuple(ids[: position + 1])
            return EndOfTurn(taken, str(tokenizer.decode(taken)), from_template=True)
    if tokenizer.eos_token_id is None:
        raise SettingsError(
            Problem("baseModel", "nothing says where an answer ends: the chat template ends a turn with no token at "
                    "which generation stops, and the tokenizer has no end token",
                    fix="set eos_token_id in generation_config.json")
        )  # fmt: skip
    end = (int(tokenizer.eos_token_id),)
    return EndOfTurn(end, str(tokenizer.decode(end)), from_template=False)


def control_tokens(processor: Any) -> tuple[str, ...]:
    """Texts that the tokenizer takes for control tokens (turns, pictures): they must not occur in a sample's text."""
    tokenizer = processor.tokenizer
    texts = {str(token) for token in getattr(tokenizer, "all_special_tokens", [])}
    texts |= {str(token) for token in tokenizer.added_tokens_decoder.values() if getattr(token, "special", False)}
    return tuple(sorted(texts))

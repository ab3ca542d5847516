"""Tokenizers and chat templates of the tiny models: trained here, with each family's own control tokens and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

VOCABULARY = 352

_TEXT = (
    "What colour is the square? Answer with JSON. How many shapes are there in the picture, and where is each of them?",
    '{"vqa":{"answer":"red green blue black"}} {"freeform":{"caption":"A red square on a light ground."}}',
    '{"phrase_grounding":{"sentence":"a red square","groundings":[{"phrase":"a red square","grounding":[[1,2,3,4]]}]}}',
    "system user assistant model Frame 0123456789 the a of in on left right top bottom one two three four",
)

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '@IMAGE@' -}}
{%- elif part.type == 'video' -%}{{- '@VIDEO@' -}}
{%- else -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n@OPENING@' -}}{%- endif -%}
"""

LLAMA3 = """\
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' -}}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '<image>\\n' -}}{%- else -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{{- '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
"""

GEMMA4 = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '\\n\\n<|image|>\\n\\n' -}}
{%- elif part.type == 'video' -%}{{- '\\n\\n<|video|>\\n\\n' -}}
{%- else -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{{- '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|turn>model\\n' -}}{%- endif -%}
"""

PLAIN = """\
{%- for message in messages -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '<image>\\n' -}}{%- else -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{{- eos_token if message.role == 'assistant' else '\\n' -}}
{%- endfor -%}
"""

IDEFICS = """\
{{- '<|im_start|>' -}}
{%- for message in messages -%}
{{- message.role.capitalize() + (':' if message.content[0].type == 'image' else ': ') -}}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '<image>' -}}{%- else -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{{- '<end_of_utterance>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}
"""


def chatml(*, image: str, video: str = "", opening: str = "") -> str:
    """The turns of the Qwen family, with its placeholders of a picture and a film and what opens an answer."""
    text = CHATML.replace("@IMAGE@", image).replace("@VIDEO@", video)
    return text.replace("@OPENING@", opening.replace("\n", "\\n"))


@cache
def _trained() -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    words = r"'s|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT * 4, trainer)
    return str(tokenizer.to_str())


def tokenizer(
    *, eos: str, pad: str, bos: str | None = None, adds_bos: bool = False, special: Sequence[str] = (),
    named: Mapping[str, str] | None = None,
) -> Any:  # fmt: skip
    """A byte-level BPE tokenizer of some 400 tokens.

    Args:
        eos: the end token.
        pad: the padding token.
        bos: the first token, or None.
        adds_bos: whether the tokenizer itself writes the first token (Llama's does; Gemma's template does it).
        special: further control tokens.
        named: further control tokens that the processor asks for by name (``image_token`` ...).
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer.from_str(_trained())
    tokens = list(dict.fromkeys([pad, eos, *([bos] if bos else []), *special, *(named or {}).values()]))
    made.add_special_tokens(tokens)
    if adds_bos and bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, made.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=eos, pad_token=pad, bos_token=bos, extra_special_tokens=dict(named or {}),
        clean_up_tokenization_spaces=False, model_max_length=8192, padding_side="left",
    )  # fmt: skip


def numbers(made: Any, *names: str) -> list[int]:
    """The ids of these tokens."""
    return [int(made.convert_tokens_to_ids(name)) for name in names]

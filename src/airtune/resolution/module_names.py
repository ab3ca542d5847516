"""The names that a checkpoint's tensors have as parameters of the loaded model.

Published checkpoints keep the names of the code that wrote them; transformers renames them when it loads
(``transformers/conversion_mapping.py``). The catalog's patterns speak of loaded modules, so whoever counts from a
checkpoint's headers has to rename in the same way. Experts that a checkpoint keeps one by one are one tensor in the
loaded model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from airtune.resolution.weights import Tensor

Rename = tuple[re.Pattern[str], str]


def _renames(*pairs: tuple[str, str]) -> tuple[Rename, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


_LLAVA: Final = _renames(
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.(?:model\.)?", "model.language_model."),
    (r"^(vision_tower|multi_modal_projector|image_newline)\b", r"model.\1"),
    (r"^model\.vision_tower\.vision_model\.", "model.vision_tower."),
)
_BY_TYPE: Final[dict[str, tuple[Rename, ...]]] = {
    "qwen2_5_vl": _renames(
        (r"^visual\.", "model.visual."), (r"^model\.(?!language_model\.|visual\.)", "model.language_model.")
    ),
    "internvl": _LLAVA,
    "llava_next": _LLAVA,
    "deepseek_ocr2": _renames(
        (r"^(model\.)?(embed_tokens|layers|norm)\.", r"model.language_model.\2."),
        (r"^(?:model\.)?(?:sam_model|qwen2_model)\.", "model.vision_tower."),
        (r"^(?:model\.)?projector\.layers\.", "model.multi_modal_projector."),
        (r"^(?:model\.)?view_seperator", "model.view_separator"),
    ),
}
_EXPERT: Final = re.compile(r"(.*\.mlp\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
_LEFT_OUT: Final = re.compile(
    r"^mtp\.|(?:^|\.)(?:inv_freq|original_inv_freq|position_ids|layer_scalar|(?:input|output)_(?:min|max)|std_(?:bias|scale))$"
)
"""What a checkpoint may hold and the loaded model has no parameter for: heads that predict several tokens, buffers."""


def parameters_of(tensors: Iterable[Tensor], model_type: str | None, *, tied: bool) -> tuple[Tensor, ...]:
    """A checkpoint's tensors as the parameters that transformers makes of them.

    Args:
        tensors: as the checkpoint has them.
        model_type: of the model; decides how names change.
        tied: whether the output layer shares the embeddings' weights (it is then no parameter of its own).
    """
    made: list[Tensor] = []
    experts: dict[str, list[tuple[int, Tensor]]] = {}
    for tensor in tensors:
        name = module_name(tensor.name, model_type)
        if _LEFT_OUT.search(name) or (tied and re.search(r"(?:^|\.)lm_head\.weight$", name)):
            continue
        single = _EXPERT.fullmatch(name)
        if single is not None:
            fused = "down_proj" if single[3] == "down_proj" else "gate_up_proj"
            experts.setdefault(f"{single[1]}.{fused}", []).append((int(single[2]), tensor))
        else:
            made.append(Tensor(name, tensor.shape))
    for name, members in experts.items():
        count = 1 + max(number for number, _ in members)
        rows, columns = members[0][1].shape
        made.append(Tensor(name, (count, rows * len(members) // count, columns)))
    return tuple(made)


def module_name(name: str, model_type: str | None) -> str:
    """One tensor's name in the loaded model."""
    for pattern, replacement in _BY_TYPE.get(model_type or "", ()):
        name = pattern.sub(replacement, name, count=1)
    return name

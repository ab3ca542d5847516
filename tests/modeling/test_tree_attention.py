from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.training

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=6)


def a_tree(sequences: list[list[int]]) -> tuple[Any, list[list[int]]]:
    """The tree of these sequences, in which 2 stands for a token of a picture, and each sequence's places in it."""
    import torch

    from airtune.modeling.tree_attention import Tree
    from airtune.training.packing import _runs
    from airtune.training.prefix_tree import grow, in_order

    branches = in_order([np.array(sequence, dtype=np.int64) for sequence in sequences])
    grown = grow(branches)
    blocks = np.full(len(grown.end), -1)
    for branch, path in zip(branches, grown.paths, strict=True):
        for begin, end in _runs(np.array(sequences[branch.index]) == 2):
            blocks[path[begin:end]] = path[begin]
    tree = Tree(*(torch.from_numpy(values) for values in (grown.end, grown.depth, blocks)))
    paths: list[list[int]] = [[] for _ in sequences]
    for branch, path in zip(branches, grown.paths, strict=True):
        paths[branch.index] = path.tolist()
    return tree, paths


@settings(max_examples=60, deadline=None)
@given(SEQUENCES, st.integers(1, 9))
def test_along_each_sample_a_tree_is_seen_as_the_sample_alone_would_be(sequences: list[list[int]], window: int) -> None:
    import torch

    from airtune.modeling.tree_attention import FULL, SLIDING, TreeAttention

    tree, paths = a_tree(sequences)
    assert TreeAttention("boolean").masks(tree).dtype == torch.bool
    masks = TreeAttention("boolean", window).masks(tree)
    for path in paths:
        rows = torch.tensor(path)
        length = len(path)
        causal = torch.tril(torch.ones(length, length, dtype=torch.bool))
        near = ~torch.tril(torch.ones(length, length, dtype=torch.bool), diagonal=-window)
        assert torch.equal(masks[FULL][0, 0][rows][:, rows], causal)
        assert torch.equal(masks[SLIDING][0, 0][rows][:, rows], causal & near)
        strangers = torch.ones(len(tree.end), dtype=torch.bool)
        strangers[rows] = False
        assert not masks[FULL][0, 0][rows][:, strangers].any()
        assert not masks[SLIDING][0, 0][rows][:, strangers].any()


def test_in_layers_with_a_window_a_picture_may_be_seen_both_ways() -> None:
    from airtune.modeling.tree_attention import FULL, SLIDING, TreeAttention

    tree, (path, other) = a_tree([[0, 2, 2, 2, 1, 2, 2], [0, 2, 2, 2, 0]])
    masks = TreeAttention("boolean", 3, pictures_both_ways=True).masks(tree)
    near, full = masks[SLIDING][0, 0], masks[FULL][0, 0]
    assert not full[path[1], path[3]]
    assert near[path[1], path[3]]  # forward, in the picture
    assert near[path[2], path[1]]
    assert not near[path[4], path[1]]  # text: 3 tokens back
    assert not near[path[3], path[5]]  # the next picture
    assert near[other[4], path[2]]
    assert not near[other[4], path[4]]


@settings(max_examples=25, deadline=None)
@given(SEQUENCES, st.integers(1, 9), st.booleans())
def test_the_block_mask_for_the_gpu_is_the_boolean_mask(
    sequences: list[list[int]], window: int, both_ways: bool
) -> None:
    """FlexAttention itself runs on GPUs only; what it asks of each pair is held against the mask here."""
    import torch

    from airtune.modeling.tree_attention import FULL, SLIDING, TreeAttention, ancestors, near_ancestors

    tree, _ = a_tree(sequences)
    length = len(tree.end)
    blocks = TreeAttention("blocks", window, both_ways).masks(tree)
    plain = TreeAttention("boolean", window, both_ways).masks(tree)
    added = TreeAttention("additive", window, both_ways).masks(tree)
    for layer in (FULL, SLIDING):
        asked = [[bool(blocks[layer].mask_mod(0, 0, torch.tensor(query), torch.tensor(key))) for key in range(length)]
                 for query in range(length)]  # fmt: skip
        assert torch.equal(torch.tensor(asked), plain[layer][0, 0])
        assert torch.equal(added[layer] == 0, plain[layer])
        assert blocks[layer].shape == (1, 1, length, length)
    assert blocks[FULL].mask_mod.__qualname__ == ancestors(tree).__qualname__
    assert blocks[SLIDING].mask_mod.__qualname__ == near_ancestors(tree, window, both_ways).__qualname__


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 300))
def test_blocks_are_those_that_torch_finds_by_looking_at_every_pair(lengths: list[int], shared: int) -> None:
    """Of samples with a beginning in common, as far as blocks reach: the same blocks, in part and as a whole."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask

    from airtune.modeling.tree_attention import TreeAttention, ancestors

    sequences = [[1] * shared + [2 + number] * length for number, length in enumerate(lengths)]
    tree, _ = a_tree(sequences)
    size = len(tree.end)
    found = TreeAttention("blocks").masks(tree)
    wanted = create_block_mask(ancestors(tree), B=None, H=None, Q_LEN=size, KV_LEN=size, device="cpu")
    assert found.shape == wanted.shape
    assert torch.equal(found.to_dense(), wanted.to_dense())
    pairs = [("kv_num_blocks", "kv_indices"), ("full_kv_num_blocks", "full_kv_indices"),
             ("q_num_blocks", "q_indices"), ("full_q_num_blocks", "full_q_indices")]  # fmt: skip
    for counts, places in pairs:
        assert torch.equal(getattr(found, counts), getattr(wanted, counts))
        for row, count in enumerate(getattr(wanted, counts)[0, 0].tolist()):
            assert torch.equal(getattr(found, places)[0, 0, row, :count], getattr(wanted, places)[0, 0, row, :count])


def test_a_block_mask_leaves_out_blocks_that_no_token_sees() -> None:
    import torch

    from airtune.modeling.tree_attention import Tree, TreeAttention

    apart = torch.arange(1, 5).repeat_interleave(128) * 128  # four samples that share nothing, 128 tokens each
    tree = Tree(apart, torch.arange(512) % 128, torch.full((512,), -1))
    mask = TreeAttention("blocks").masks(tree)
    assert mask.sparsity() == pytest.approx(75.0)


def test_flex_attention_is_compiled_once_for_rows_of_any_length() -> None:
    """Traced as on a GPU, and computed here: the same attention as by the whole mask, and one graph for all trees."""
    import torch
    from torch._dynamo.utils import counters
    from torch.nn.attention.flex_attention import flex_attention
    from torch.nn.functional import scaled_dot_product_attention

    from airtune.modeling.block_attention import COMPILED
    from airtune.modeling.tree_attention import TreeAttention

    torch._dynamo.reset()
    counters.clear()
    kernel = torch.compile(flex_attention, backend="aot_eager", **COMPILED)
    for shared, own, branches in ((200, 50, 3), (333, 41, 4), (90, 100, 2), (130, 7, 9)):
        tree, _ = a_tree([[1] * shared + [2 + number] * own for number in range(branches)])
        query, key, value = (torch.randn(1, heads, len(tree.end), 16) for heads in (8, 4, 4))
        with torch.no_grad():
            found = kernel(query, key, value, block_mask=TreeAttention("blocks").masks(tree), enable_gqa=True)
        wanted = scaled_dot_product_attention(
            query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), TreeAttention("boolean").masks(tree)
        )
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1


def test_what_cannot_share_a_row_is_padded() -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    from airtune.catalog.registry import entry
    from airtune.configs import configs_root
    from airtune.modeling.tree_attention import TreeAttention, tree_attention

    known = entry("qwen3vl")
    folder = configs_root() / "demo" / "tiny-vlm"
    model = AutoModelForImageTextToText.from_pretrained(str(folder), local_files_only=True)
    assert tree_attention(model, known) == TreeAttention("boolean")
    text = model.config.get_text_config()
    text._attn_implementation = "eager"
    assert tree_attention(model, known) == TreeAttention("additive")
    text._attn_implementation = "airtune_blocks"
    assert tree_attention(model, known) == TreeAttention("blocks")
    text._attn_implementation = "flash_attention_2"
    assert tree_attention(model, known) is None
    text._attn_implementation = "sdpa"
    assert tree_attention(model, known.model_copy(update={"packing": False})) is None
    text.sliding_window = 8  # of all layers, and told to nobody
    assert tree_attention(model, known) is None
    text.sliding_window = None
    text.layer_types = ["full_attention", "linear_attention"]
    assert tree_attention(model, known) is None
    text.layer_types = ["full_attention", "sliding_attention"]
    assert tree_attention(model, known) is None  # not known to take one mask for each type

    class OfItsOwn(torch.nn.Module):
        config = model.config

    text.layer_types = ["full_attention"]
    assert tree_attention(model, known) is not None
    assert tree_attention(OfItsOwn(), known) is None


@settings(max_examples=40, deadline=None)
@given(SEQUENCES, st.integers(1, 9), st.booleans())
def test_branch_by_branch_attention_is_that_of_the_whole_mask(
    sequences: list[list[int]], window: int, both_ways: bool
) -> None:
    """And no pair is computed whose key no token of the branch may see."""
    from types import SimpleNamespace

    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from airtune.modeling.branch_attention import _STRETCHES, branch_attention
    from airtune.modeling.tree_attention import FULL, SLIDING, TreeAttention

    whole_pictures = [[token for each in line for token in ((2, 2, 1) if each == 2 else (each,))] for line in sequences]
    tree, paths = a_tree(whole_pictures)
    length = len(tree.end)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, 8, dtype=torch.float64) for heads in (4, 2, 2))
    layer: Any = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    by_branches = TreeAttention("branches", window, both_ways).masks(tree)
    whole = TreeAttention("boolean", window, both_ways).masks(tree)
    for kind in (FULL, SLIDING):
        stretches = getattr(by_branches[kind], _STRETCHES)
        assert sum(stretch.end - stretch.begin for stretch in stretches) == length
        assert len(stretches) == len({path[-1] for path in paths if tree.end[path[-1]] == path[-1] + 1})
        found, _ = branch_attention(layer, query, key, value, by_branches[kind])
        wanted, _ = sdpa_attention_forward(layer, query, key, value, whole[kind])
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        for stretch in stretches:
            rows = whole[FULL][0, 0, stretch.begin : stretch.end]
            assert set(stretch.seen.tolist()) == set(rows.any(0).nonzero().flatten().tolist())

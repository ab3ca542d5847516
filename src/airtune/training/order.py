"""In which order an epoch's samples come, and how they are dealt out: to processes, and into micro-batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch.utils.data import Sampler

from airtune.training.samples import Unlearned

Item = TypeVar("Item")


class EpochOrder(Sampler[int]):
    """Every sample once an epoch. Samples of the same pictures follow each other, so that they can share a row.

    Groups come in an order drawn anew each epoch, and so do the samples of a group. Nothing but the seed and the epoch
    decides: a resumed run meets the samples as the uninterrupted one would have, however its micro-batches are cut.

    Args:
        pictures: what each sample shows; samples that show nothing follow nobody.
        seed: of the run.
        together: so many samples of a group follow each other at most; the rest is another group. With the effective
            batch a picture never fills more than one step's worth in a row.
        shuffle: False: the dataset's own order, every epoch.
    """

    def __init__(self, pictures: Sequence[tuple[str, ...]], seed: int, *, together: int, shuffle: bool = True) -> None:
        groups: dict[tuple[str, ...] | int, list[int]] = {}
        for index, shown in enumerate(pictures):
            groups.setdefault(shown or index, []).append(index)
        self._groups = list(groups.values())
        self._samples = len(pictures)
        self._seed = seed
        self._together = together
        self._shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The order of this epoch is given from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[int]:
        if not self._shuffle:
            return iter(range(self._samples))
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self.epoch) % 2**63)
        drawn = [_shuffled(group, generator) for group in self._groups]
        units = [group[at : at + self._together] for group in drawn for at in range(0, len(group), self._together)]
        return iter([index for unit in _shuffled(units, generator) for index in unit])


class MicroBatches(Sampler[list[int]]):
    """The micro-batches of one process, as lists of indices.

    An effective batch is the next so many samples of the epoch's order, whatever computes it: one process or several,
    in few micro-batches or many. It is dealt to the processes in pieces as equal as can be, neighbours together, since
    the order puts samples that share a prefix next to each other. All processes have the same number of micro-batches
    and none is empty: where samples run out, at the end of an epoch, one is computed that teaches nothing.

    Args:
        order: of the epoch.
        effective: samples an update, over all processes.
        size: most samples a micro-batch.
        rank: this process.
        world: how many there are.
    """

    def __init__(self, order: EpochOrder, *, effective: int, size: int, rank: int = 0, world: int = 1) -> None:
        self._order = order
        self._effective = effective
        self._size = size
        self._rank = rank
        self._world = world

    @property
    def accumulation(self) -> int:
        """Micro-batches an update, on each process."""
        return self._count(min(self._effective, len(self._order)))

    def __len__(self) -> int:
        whole, rest = divmod(len(self._order), self._effective)
        return whole * self._count(self._effective) + self._count(rest)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self._order)
        for start in range(0, len(order), self._effective):
            batch = order[start : start + self._effective]
            own = even_parts(batch, self._world)[self._rank]
            for part in even_parts(own, self._count(len(batch))):
                yield list(part) or [Unlearned(batch[0])]

    def _count(self, samples: int) -> int:
        return math.ceil(math.ceil(samples / self._world) / self._size)


def even_parts(items: Sequence[Item], count: int) -> list[Sequence[Item]]:
    """``count`` neighbouring parts of which none is longer than another by more than one; some may be empty."""
    short, longer = divmod(len(items), count)
    ends = [number * short + min(number, longer) for number in range(count + 1)]
    return [items[begin:end] for begin, end in itertools.pairwise(ends)]


def _shuffled(items: Sequence[Item], generator: torch.Generator) -> list[Item]:
    if len(items) == 1:
        return list(items)
    return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]

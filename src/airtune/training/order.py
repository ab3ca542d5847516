"""How the samples of an epoch are dealt out: into effective batches, to processes, and into micro-batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from torch.utils.data import Sampler

from airtune.training.samples import EpochOrder, Unlearned

Item = TypeVar("Item")


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

"""How answers are decoded: greedily, or drawn exactly as the run is configured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airtune.runspec.resolved import Sampling

Name = Literal["greedy", "sampled"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """One way to decode, complete: nothing is taken from the base model's own generation settings.

    Attributes:
        name: ``greedy`` (the likeliest token each time) or ``sampled`` (drawn).
        max_new_tokens: longest answer, in tokens.
        repetition_penalty: logits of tokens that occur in the prompt or the answer so far are divided by this where
            they are positive and multiplied where they are negative, once for each distinct token (Keskar et al.
            2019); 1 = none. It holds for greedy decoding too, as in the platform's SDK.
        stop_strings: an answer ends when one of these appears, and is given without it.
        temperature: logits are divided by this before a draw; of no effect on greedy decoding.
        top_k: only the k likeliest tokens may be drawn; 0 = all.
        top_p: of those only the smallest set whose probabilities add up to this; 1 = all.
        seed: of the draws.
    """

    name: Name
    max_new_tokens: int
    repetition_penalty: float
    stop_strings: tuple[str, ...] = ()
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return {**asdict(self), "stop_strings": list(self.stop_strings)}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Decoding:
        """Reads what :meth:`to_json` gave."""
        return cls(**{**settings, "stop_strings": tuple(settings["stop_strings"])})


def greedy(sampling: Sampling) -> Decoding:
    """Greedy decoding with the configured length, penalty and stop strings."""
    return Decoding("greedy", sampling.max_new_tokens, sampling.repetition_penalty, sampling.stop_strings)


def sampled(sampling: Sampling, run_id: str) -> Decoding | None:
    """Decoding as configured, or None when what is configured is greedy.

    The seed -1 ("a new one each time") becomes one made of the run's id: new for each run, and still the same when
    the stage is run again.
    """
    if sampling.greedy:
        return None
    seed = sampling.seed if sampling.seed >= 0 else _number("seed", run_id) % 2**31
    return Decoding(
        "sampled",
        sampling.max_new_tokens,
        sampling.repetition_penalty,
        sampling.stop_strings,
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        seed,
    )


def sample_seed(seed: int, sample: str) -> int:
    """The seed of one sample's draws, in 0..2**63-1, so that its answer depends on neither its batch nor the order."""
    return _number("draw", str(seed), sample)


def _number(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") >> 1

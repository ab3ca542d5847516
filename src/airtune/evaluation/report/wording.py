"""The report's words: the verdict in a sentence, advice, and foreign text made safe to look at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airtune.runspec.tasks import Task

METRIC_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "exact_match": (
        "Exact match",
        "share of answers equal to the truth, case, white space, Unicode form and a final full stop aside",
    ),
    "token_f1": ("Token F1", "harmonic mean of precision and recall over the words of truth and answer, mean"),
    "f1_50": (
        "F1 at IoU 0.5",
        "boxes of the same phrase that overlap by at least half, over all boxes of all samples together",
    ),
    "mean_iou": (
        "Mean IoU",
        "intersection over union of each true box with its predicted box, 0 where there is none; mean over samples",
    ),
    "parse_rate": ("Readable answers", "share of answers that have the form of the task"),
    "cut_off_rate": ("Cut off", "share of answers that ended only because they reached the longest allowed length"),
    "mean_tokens": ("Mean length", "tokens of an answer, the stop token included"),
}
"""Name and explanation of each score, in the order of the report's table."""

SHARES: Final = frozenset(METRIC_NAMES) - {"mean_tokens"}

# Characters that a browser would obey and not show: controls, marks that turn the direction of writing, invisible ones.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"
    "\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: object, longest: int = 2000) -> str:
    """A text as it may stand in the page: invisible characters as ``⟨U+202E⟩``, no longer than ``longest``."""
    whole = str(text)
    shown = _INVISIBLE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", whole[:longest])
    return shown if len(whole) <= longest else f"{shown}… (the first {longest:,} of {len(whole):,} characters)"


def percent(value: float) -> str:
    """A share of 1 in per cent with one digit, never rounded to 0 or 100 unless it is exactly that."""
    rounded = round(value * 100, 1)
    if rounded == 100 and value < 1:
        return "> 99.9 %"
    if rounded == 0 and value > 0:
        return "< 0.1 %"
    return f"{rounded:g} %"


def score_text(metric: str, value: float) -> str:
    """A score as the report prints it: shares in per cent, lengths with one digit."""
    return percent(value) if metric in SHARES else f"{value:.1f}"


def difference_text(metric: str, value: float) -> str:
    """The size of a difference of scores: percentage points, or tokens."""
    return f"{value * 100:.1f}".removesuffix(".0") + " points" if metric in SHARES else f"{value:.1f}"


def verdict(task: Task, metrics: Mapping[str, Any]) -> str:
    """What came out, in a sentence or two."""
    primary = metrics["primary"]
    base, tuned = metrics["base"]["greedy"], metrics["tuned"]["greedy"]
    samples = metrics["samples"]
    name = METRIC_NAMES[primary][0]
    direction = _direction(tuned[primary] - base[primary])
    measured = (
        f"{name} on {samples:,} validation sample{'' if samples == 1 else 's'}: "
        f"{percent(tuned[primary])} after training, {percent(base[primary])} before"
    )
    changes = metrics["changes"]
    counted = "with every box found and none too many" if task is Task.PHRASE_GROUNDING else "answered exactly"
    return (
        f"The trained model is {direction} its base. {measured}. Samples {counted}: "
        f"{changes['fixed']:,} gained, {changes['broken']:,} lost, {changes['both_right']:,} kept."
    )


def advice(metrics: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the scores and the curves suggest to do; empty when nothing stands out."""
    tuned = metrics["tuned"]["greedy"]
    longest = metrics["decoding"]["greedy"]["max_new_tokens"]
    found = []
    if tuned["cut_off_rate"] >= 0.05:
        found.append(
            f"{percent(tuned['cut_off_rate'])} of the answers end at maxNewTokens ({longest:,}): raise it, or train "
            "longer if the answers repeat themselves."
        )
    if tuned["parse_rate"] < 0.95:
        found.append(
            f"{percent(1 - tuned['parse_rate'])} of the answers do not have the form of the task: look at them with "
            "the filter “unreadable”; more epochs usually help."
        )
    losses = [line["loss"] for line in evaluations]
    if len(losses) >= 3 and losses[-1] > 1.1 * min(losses) > 0:
        best = evaluations[losses.index(min(losses))]
        found.append(
            f"The validation loss rose from {min(losses):.4g} at step {best['step']:,} to {losses[-1]:.4g} at the end: "
            "the model began to learn the training samples by heart; fewer epochs or earlyStoppingPatience would help."
        )
    sampled = metrics["tuned"].get("sampled")
    primary = metrics["primary"]
    if sampled is not None and sampled[primary] < tuned[primary] - 0.05:
        found.append(
            f"With the configured sampling {METRIC_NAMES[primary][0]} is {percent(sampled[primary])}, greedy "
            f"{percent(tuned[primary])}: a lower temperature would give better answers."
        )
    return found


def _direction(difference: float) -> str:
    if abs(difference) < 1e-9:
        return "as good as"
    return "better than" if difference > 0 else "worse than"

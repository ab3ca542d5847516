"""Whether a dataset may be trained on, and why: the thresholds, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airtune.datasets.assembly import Assembly
from airtune.datasets.draft import NO_FAULT, REMEDIES, short
from airtune.datasets.expectations.holding import Check
from airtune.datasets.facts import set_aside_share
from airtune.datasets.sources.source import WHERE
from airtune.errors import Problem
from airtune.runspec.tasks import Task

FEWEST_IMAGES: Final = 20
"""Images below which a dataset is refused, unless ``minimumImages`` says otherwise."""

FEW_IMAGES: Final = 100
"""Images below which a dataset is used, with a warning."""

MOST_SET_ASIDE: Final = 0.05
"""Share of samples set aside above which a dataset is refused, unless ``maximumSetAside`` says otherwise."""

_PLACES_NAMED: Final = 3

CHANGES: Final = {
    "exif-orientation": "were turned upright as their EXIF orientation says",
    "animation": "are animations or have several pages: the first frame is used",
    "alpha": "have transparency, which is dropped",
    "palette": "have a palette, and were converted to RGB",
    "cmyk": "are CMYK, and were converted to RGB",
    "grey": "are grey, and were converted to RGB",
    "16-bit": "have more than 8 bits a channel, and were scaled to 8",
    "colours": "have another colour space, and were converted to RGB",
    "suffix": "have a suffix that is not that of their content",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks amount to.

    Attributes:
        problems: why the dataset is refused; none means that it passes.
        warnings: what a person should look at.
        notes: what was done to the data, or is good to know.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the dataset may be trained on."""
        return not self.problems


def empty_dataset(assembly: Assembly, images: int, *, uri: str, task: Task) -> Problem | None:
    """Why there is nothing to train on at all; None where there is."""
    if len(assembly.records):
        return None
    aside = assembly.aside
    if not len(aside):
        return Problem(WHERE, f"the dataset has no annotations, and {images} images", value=uri)
    if set(aside.by_reason) == {"other-task"}:
        kinds = ", ".join(f"{count} times {what}" for what, count in aside.other_tasks.most_common(3))
        return Problem(
            "spec.flow.blocks[dataset].settings.projectKind",
            f"none of the {len(aside)} annotations of {uri} is for this task: {kinds}",
            value=repr(task.value),
            fix="name the task that the dataset was annotated for",
        )
    what = f"{len(aside)} samples can be used"
    if all(reason.startswith("image-") for reason in aside.by_reason):
        named = {key for row in aside for key in row.images}
        what = f"{len(named) or len(aside)} annotated images can be read"
    first = aside.first[next(iter(aside.by_reason))][0]
    return Problem(
        WHERE,
        f"none of the {what}: {reasons_in_words(aside.by_reason)}; the first is {first.place}: {first.message}",
        value=uri,
        fix=REMEDIES[next(iter(aside.by_reason))],
    )


def judge(
    assembly: Assembly,
    facts: Mapping[str, Any],
    checks: Sequence[Check],
    notes: Sequence[str],
    *,
    minimum_images: int | None,
    maximum_set_aside: float | None,
) -> Verdict:
    """Hold a dataset with at least one usable sample against the thresholds.

    Args:
        assembly: its samples.
        facts: see :func:`airtune.datasets.facts.facts_of`.
        checks: how its expectations went.
        notes: what its reader left out.
        minimum_images: the run's own threshold; None takes :data:`FEWEST_IMAGES`.
        maximum_set_aside: the run's own threshold; None takes :data:`MOST_SET_ASIDE`.
    """
    problems = _too_few(facts, FEWEST_IMAGES if minimum_images is None else minimum_images)
    problems += _too_many_aside(assembly, MOST_SET_ASIDE if maximum_set_aside is None else maximum_set_aside)
    for split in ("train", "validation"):
        if not facts[f"{split}_samples"]:
            problems.append(
                Problem(
                    WHERE,
                    f"the split {split} has no sample that can be used",
                    value=facts["root_uri"],
                    fix="see dataset/set-aside.jsonl" if len(assembly.aside) else "bring more images",
                )
            )
    refused_already = bool(problems)
    for check in checks:
        # Two empty splits need not be said twice.
        if check.severity == "critical" and not check.passed and not (refused_already and check.column == "split"):
            problems.append(
                Problem(f"dataset, {check.column or 'all'}", f"not so: {check.description}; {check.observed}")
            )
    return Verdict(tuple(problems), tuple(_warnings(assembly, facts, checks, notes)), tuple(_notes(assembly, facts)))


def _too_few(facts: Mapping[str, Any], fewest: int) -> list[Problem]:
    if facts["images"] >= fewest:
        return []
    return [
        Problem(
            WHERE,
            f"too few images that can be used: {facts['images']} of the {fewest} that are wanted at least",
            value=facts["root_uri"],
            fix="bring more images, or lower minimumImages in the dataset block's airtune settings",
        )
    ]


def _too_many_aside(assembly: Assembly, most: float) -> list[Problem]:
    share = set_aside_share(assembly)
    if share <= most:
        return []
    aside = assembly.aside
    found = len(assembly.records) + aside.faults
    return [
        Problem(
            WHERE,
            f"{aside.faults} of {found} samples ({share:.1%}) would have to be set aside; at most {most:.1%} are "
            "allowed",
            fix="mend them (dataset/set-aside.jsonl has the whole list), or raise maximumSetAside in the dataset "
            "block's airtune settings",
        ),
        *(
            Problem(
                ", ".join(str(row.place) for row in aside.first[reason][:_PLACES_NAMED])
                + (" …" if count > _PLACES_NAMED else ""),
                f"{count} times {reason}, for example: {aside.first[reason][0].message}",
                fix=REMEDIES[reason],
            )
            for reason, count in aside.by_reason.items()
            if reason not in NO_FAULT
        ),
    ]


def _warnings(assembly: Assembly, facts: Mapping[str, Any], checks: Sequence[Check], notes: Sequence[str]) -> list[str]:
    warnings = []
    reasons = assembly.aside.by_reason
    faults = {reason: count for reason, count in reasons.items() if reason not in NO_FAULT}
    if faults:
        aside = assembly.aside.faults
        warnings.append(
            f"{aside} of {facts['samples'] + aside} samples are set aside ({facts['set_aside_share']:.1%}): "
            f"{reasons_in_words(faults)}"
        )
    if "other-task" in reasons:
        warnings.append(f"{reasons['other-task']} annotations are for other tasks and are left out")
    if "no-object" in reasons:
        warnings.append(f"{reasons['no-object']} images are annotated as showing no object, and are left out")
    if facts["images"] < FEW_IMAGES:
        warnings.append(f"{facts['images']} images are few: {FEW_IMAGES} or more give a model that can be trusted")
    if assembly.scaled:
        warnings.append(
            f"{assembly.scaled} samples have an image at another size than annotated, of the same shape: used as it is"
        )
    if (unlike := facts["validation_unlike_training"]) is not None and unlike["level"] == "much":
        warnings.append(
            f"the answers of validation are unlike those of training: {short(unlike['answer'])} is "
            f"{unlike['train']:.1%} of training and {unlike['validation']:.1%} of validation"
        )
    warnings += notes
    warnings += [
        f"not so: {check.description} ({check.observed})"
        for check in checks
        if check.severity == "warning" and not check.passed
    ]
    return warnings


def _notes(assembly: Assembly, facts: Mapping[str, Any]) -> list[str]:
    notes = [f"split: {assembly.rule}"]
    notes += [f"{count} images {CHANGES.get(change, change)}" for change, count in facts["image_changes"].items()]
    if facts["answers_replaced"]:
        notes.append(
            f"{facts['characters_replaced']} characters in {facts['answers_replaced']} answers were replaced: "
            "the published model is served with a decoder that cannot write them"
        )
    if facts["control_tokens_escaped"]["times"]:
        notes.append(
            "{times} control tokens in the texts of {samples} samples were escaped with an underscore "
            "(<image> is written <_image>): a model would take them for its own".format_map(
                facts["control_tokens_escaped"]
            )
        )
    if facts["boxes_repeated"]["times"]:
        notes.append(
            "{times} boxes in {samples} samples stand under their phrase twice and are used once".format_map(
                facts["boxes_repeated"]
            )
        )
    if facts["majority_answer"] is not None:
        notes.append(
            f"always answering {short(facts['majority_answer'])} would be right for "
            f"{facts['majority_answer_share']:.1%} of the validation samples"
        )
    return notes


def reasons_in_words(counts: Mapping[str, int]) -> str:
    """The reasons with their counts, in their order."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())

"""What a model can be trained to do."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """The task of a run, as ``projectKind`` of the dataset block names it."""

    PHRASE_GROUNDING = "phrase-grounding"
    """Describe the picture and point at what the sentence names."""
    VQA = "vqa"
    """Answer a question about the picture."""
    FREEFORM = "freeform"
    """Describe the picture."""
    VIDEO_FREEFORM = "video-freeform"
    """Describe the video."""
    GENERIC = "generic"
    """Any text."""

    @property
    def answers_in_json(self) -> bool:
        """Whether the assistant's answer is minified JSON (all tasks but generic)."""
        return self is not Task.GENERIC

    @property
    def asks_a_question(self) -> bool:
        """Whether each sample brings its own user text, so that none has to be made up for it."""
        return self in (Task.VQA, Task.GENERIC)

    @property
    def needs_video(self) -> bool:
        """Whether the samples are videos."""
        return self is Task.VIDEO_FREEFORM

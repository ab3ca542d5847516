"""The run.json around its blocks, as the platform has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from airtune.runspec.fields import PlatformObject


class Block(PlatformObject):
    """One block of the flow; what its settings are depends on its name."""

    block: str = Field(description="its kind: contains dataset, system-prompt or model")
    settings: dict[str, Any]
    style: dict[str, Any] = Field(description="how the platform's editor draws it")


class Flow(PlatformObject):
    """What is to be done."""

    name: str = Field(description="the run's name, and the name under which its model is promoted")
    schema_: str = Field(alias="schema", description='"v1"')
    tolerations: dict[str, list[str]]
    settings: dict[str, Any]
    blocks: list[Block]
    training_project: str | None = None


class Spec(PlatformObject):
    """What was asked."""

    flow: Flow
    killed_at: int | None = None
    training_project: str | None = None


class Condition(PlatformObject):
    """One thing that happened, or has yet to."""

    condition: str
    status: str = Field(description="Waiting, Reached or FailedReach")
    last_transition_time: int = Field(description="milliseconds since 1970")
    reason: str | None = None
    message: str | None = None


class Status(PlatformObject):
    """How it goes."""

    log: str | None = None
    observed_generation: int | None = None
    conditions: list[Condition] = Field(default_factory=list)


class Metadata(PlatformObject):
    """When it was made and changed."""

    time_created: int | None = Field(None, description="milliseconds since 1970")
    last_updated: int | None = Field(None, description="milliseconds since 1970")
    generation: int | None = None
    attributes: dict[str, str] | None = None


class Run(PlatformObject):
    """A whole run.json."""

    kind: Literal["Run"] | None = None
    run_id: str | None = None
    workspace_id: str | None = None
    spec: Spec
    status: Status | None = None
    metadata: Metadata | None = None
    self_link: str | None = None
    etag: str | None = None

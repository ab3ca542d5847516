"""Run.json files of our own, shaped as the platform's are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture
def small() -> dict[str, Any]:
    """The least that a run.json holds."""
    return dict(json.loads((EXAMPLES / "small.json").read_text()))


@pytest.fixture
def platform() -> dict[str, Any]:
    """What the platform writes, finished and with keys that nothing reads."""
    return dict(json.loads((EXAMPLES / "platform.json").read_text()))


@pytest.fixture
def ours() -> dict[str, Any]:
    """A run.json with everything that is ours."""
    return dict(json.loads((EXAMPLES / "ours.json").read_text()))


@pytest.fixture(params=["small", "platform", "ours"])
def example_text(request: pytest.FixtureRequest) -> str:
    """Each of them as text."""
    return (EXAMPLES / f"{request.param}.json").read_text()

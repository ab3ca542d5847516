"""Datasets as they come: written file by file, whole or broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dataset_run import dataset_run
from PIL import Image

from airtune.stores.run_directory import RunDirectory

NewRun = Callable[..., RunDirectory]


@dataclass
class ViFolder:
    """A Vi export under construction."""

    root: Path
    made: int = field(default=0)

    def image(self, folder: str, name: str, size: tuple[int, int] = (64, 48)) -> Path:
        """One image, unlike all others."""
        self.made += 1
        path = self.root / folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (self.made % 256, self.made // 256, 77)).save(path)
        return path

    def annotate(self, folder: str, name: str, *lines: object) -> Path:
        """One annotation file; what is no text becomes JSON."""
        path = self.root / folder / "annotations" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", errors="surrogatepass")
        return path

    def sample(self, folder: str, name: str, contents: dict[str, Any], size: tuple[int, int] = (64, 48)) -> None:
        """One image and its annotation."""
        self.image(folder, f"{name}.png", size)
        self.annotate(folder, f"{name}.jsonl", line_of(f"{name}.png", contents, size))

    def fill(self, folder: str, count: int, start: int = 0) -> None:
        """Images with a question each."""
        for index in range(start, start + count):
            self.sample(folder, f"{folder[0]}{index:04}", vqa(("What?", f"answer {index % 7}")))


def line_of(name: object, contents: object, size: tuple[int, int] = (64, 48), number: object = "1") -> dict[str, Any]:
    asset = {"type": "Image", "filename": name, "width": size[0], "height": size[1]}
    return {"id": number, "asset": asset, "contents": contents}


def vqa(*pairs: tuple[object, object]) -> dict[str, Any]:
    interactions = [{"order": order, "question": q, "answer": a} for order, (q, a) in enumerate(pairs, start=1)]
    return {"type": "Vqa", "interactions": interactions}


def grounding(sentence: object, *phrases: tuple[object, object]) -> dict[str, Any]:
    grounded = [
        {"phrase": phrase, "startTokenIndex": 0, "endTokenIndex": 1, "bounds": bounds} for phrase, bounds in phrases
    ]
    return {"type": "PhraseGrounding", "caption": sentence, "groundedPhrases": grounded}


def snapshot(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module", autouse=True)
def _home_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one run of the tests has found out about images is not known to the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRTUNE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def folder(tmp_path: Path) -> ViFolder:
    """An empty folder for a dataset."""
    (tmp_path / "data").mkdir()
    return ViFolder(tmp_path / "data")


@pytest.fixture
def new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewRun:
    """Makes runs: ``new_run(uri, task, splitRatio=..., minimumImages=...)``."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    count = 0

    def make(uri: str, task: str = "vqa", **settings: Any) -> RunDirectory:
        nonlocal count
        count += 1
        return dataset_run(tmp_path / "store", f"run-{count}", uri, task, **settings)

    return make

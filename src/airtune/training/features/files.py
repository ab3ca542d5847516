"""One file of features a picture, named after the picture's digest: whole and right, or not there.

A file is safetensors, read by memory mapping. It is written under another name and renamed, so a process that is
killed leaves no half file; and it carries a digest of what it holds, so one that was cut short or damaged afterwards
is found out at its first reading and thrown away. Any number of processes may read and write at once: all of them
would write the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from airtune.modeling.encoding import Picture, size_in_bytes
from airtune.stores.base import PRIVATE_PREFIX

SUFFIX: Final = ".safetensors"
IDENTITY: Final = "identity.json"

_DIGEST: Final = "sha256"
_PICTURE: Final = re.compile(r"[0-9a-f]{64}")
_ABANDONED_S: Final = 3600.0
_TOKENS: Final = "tokens."
_VISION: Final = "vision."


class FeatureFiles:
    """The features of one identity; cheap, can be pickled, reads in data-loader workers as well.

    Args:
        folder: ``cache/features/<name>``, see :mod:`airtune.training.features.identity`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen_whole: set[str] = set()

    def prepare(self, described: Mapping[str, Any]) -> None:
        """Makes the folder, says in it whose features they are, and removes what killed writers have left.

        Raises:
            OSError: the disk does not take it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"*/{PRIVATE_PREFIX}*"):
            with contextlib.suppress(OSError):
                if left.stat().st_mtime < time.time() - _ABANDONED_S:
                    left.unlink()
        with _appearing(self.folder / IDENTITY) as temporary:
            temporary.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def path(self, picture: str) -> Path:
        """Where a picture's features are, or would be.

        Args:
            picture: sha256 (hex) of the picture's file.
        """
        if not _PICTURE.fullmatch(picture):
            raise ValueError(f"no sha256: {picture[:80]!r}")
        return self.folder / picture[:2] / f"{picture}{SUFFIX}"

    def has(self, picture: str) -> bool:
        """Whether there is a file; only reading it tells whether it is right."""
        return self.path(picture).is_file()

    def get(self, picture: str) -> Picture | None:
        """A picture with its features, mapped from the file; None when there are none, or they are damaged."""
        path = self.path(picture)
        try:
            with safe_open(path, framework="pt") as file:
                said = (file.metadata() or {}).get(_DIGEST)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, RuntimeError):
            said, tensors = None, {}
        if picture not in self._seen_whole or not tensors:
            if said is None or said != digest_of(tensors):
                with contextlib.suppress(OSError):
                    path.unlink()
                return None
            self._seen_whole.add(picture)
        return Picture(_under(tensors, _TOKENS), _under(tensors, _VISION))

    def put(self, picture: str, features: Picture) -> None:
        """Keeps a picture's features.

        Args:
            picture: sha256 (hex) of the picture's file.
            features: its tokens, and what :meth:`airtune.modeling.vision_features.PictureEncoder.encode` returned.

        Raises:
            OSError: the disk is full, or does not take it.
        """
        path = self.path(picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        held = {f"{_TOKENS}{name}": value for name, value in features.tokens.items()}
        held |= {f"{_VISION}{name}": value for name, value in features.vision.items()}
        held = {name: value.detach().cpu().contiguous() for name, value in held.items()}
        with _appearing(path) as temporary:
            save_file(held, temporary, metadata={_DIGEST: digest_of(held)})

    def touch(self, pictures: Iterable[str]) -> None:
        """Notes that these are in use: what was used least recently makes room first."""
        for picture in pictures:
            with contextlib.suppress(OSError):
                os.utime(self.path(picture))


def file_size(features: Picture) -> int:
    """Bytes that the file of a picture's features takes, within a kilobyte."""
    return size_in_bytes(features.tokens) + size_in_bytes(features.vision) + 1024


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A temporary path; what is written there appears at ``path`` when all went well."""
    temporary = path.with_name(f"{PRIVATE_PREFIX}{os.getpid()}-{secrets.token_hex(6)}")
    try:
        yield temporary
        temporary.replace(path)
    except SafetensorError as error:  # what its writer makes of a full disk
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)

"""Keys and passwords of an embedded airtune: made once, readable by their owner alone."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from airtune.errors import Problem, SettingsError


@dataclass(frozen=True, repr=False)
class Secrets:
    """What must not be guessed.

    Attributes:
        admin_password: of Airflow's user ``admin``.
        fernet_key: encrypts connections in Airflow's database.
        jwt_secret: signs Airflow's tokens.
        api_secret: signs sessions of Airflow's UI.
    """

    admin_password: str
    fernet_key: str
    jwt_secret: str
    api_secret: str

    @classmethod
    def generate(cls) -> Secrets:
        """New ones, from the system's random source."""
        return cls(
            admin_password=secrets.token_urlsafe(12),
            fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
            jwt_secret=secrets.token_urlsafe(48),
            api_secret=secrets.token_urlsafe(32),
        )

    @classmethod
    def load_or_create(cls, path: Path) -> Secrets:
        """The secrets kept in a file, which is made at the first call.

        Raises:
            SettingsError: the file is there and cannot be read as such.
        """
        if not path.exists():
            made = cls.generate()
            write_private(path, json.dumps(asdict(made), indent=2) + "\n")
            return made
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                Problem(str(path), f"cannot be read ({error})", fix="remove it; new secrets are made at the next start")
            ) from error


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)

"""The state folder of one embedded stack: what is where in it, who owns it now, and the secrets made for it."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from shared.errors import ConfigurationError, DarkroomError


class AlreadyRunning(DarkroomError):
    """Another supervisor holds the state folder."""


@dataclass(frozen=True)
class Secrets:
    """Made at first start, kept in a file that only its owner may read."""

    secret_key: str
    valkey_password: str
    api_key: str | None = None
    """The key that `darkroom up` prints; made once the API's tables are there."""


@dataclass(frozen=True)
class Home:
    """`DARKROOM_HOME`."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def state_file(self) -> Path:
        return self.folder / "stack.json"

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def log(self, role: str) -> Path:
        return self.logs / f"{role}.log"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            ConfigurationError: the folder cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True)
            self.storage.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"DARKROOM_HOME: {self.folder} cannot be used: {error.strerror}") from None

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder; the kernel lets go of it when this process ends, however it ends.

        Raises:
            AlreadyRunning: another process holds it.
        """
        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(f"A stack is already running in {self.folder}.") from None
            yield

    def secrets(self) -> Secrets:
        """Read the secrets, or make them at first."""
        try:
            return Secrets(**json.loads(self._secrets_file.read_text()))
        except FileNotFoundError:
            made = Secrets(secrets.token_urlsafe(48), secrets.token_urlsafe(24))
            self._keep(made)
            return made
        except (ValueError, TypeError):
            raise ConfigurationError(f"{self._secrets_file} is damaged; remove it to have new secrets made.") from None

    def keep_api_key(self, key: str) -> None:
        """Remember the printed key, so that the next `up` prints the same one."""
        self._keep(replace(self.secrets(), api_key=key))

    def _keep(self, what: Secrets) -> None:
        write_private(self._secrets_file, json.dumps(asdict(what), indent=2))

    @property
    def _secrets_file(self) -> Path:
        return self.folder / "secrets.json"


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; readers see the old or the new text, and only its owner may read it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)

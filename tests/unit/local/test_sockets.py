"""Ports that stay free, and folders that a socket's path fits into."""

import socket
import tempfile
from pathlib import Path

from local.sockets import LONGEST_SOCKET_PATH, PORTS, free_port, port_is_free, socket_folder


def test_a_free_port_is_below_the_kernels_own() -> None:
    assert PORTS[0] <= free_port() < PORTS[1]


def test_a_taken_port_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not port_is_free(server.getsockname()[1])


def test_a_short_home_keeps_its_sockets() -> None:
    with tempfile.TemporaryDirectory(prefix="dk") as folder:
        run = socket_folder(Path(folder))
        assert run == Path(folder).resolve() / "run"
        assert run.stat().st_mode & 0o777 == 0o700


def test_a_long_home_gets_a_short_folder_of_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / ("a" * 120), tmp_path / ("b" * 120)
    folders = {socket_folder(one), socket_folder(two)}
    assert len(folders) == 2
    for folder in folders:
        assert len(str(folder / ".s.PGSQL.5432.lock")) <= LONGEST_SOCKET_PATH
        folder.rmdir()
    assert socket_folder(one) in folders, "the same home finds the same folder again"
    socket_folder(one).rmdir()

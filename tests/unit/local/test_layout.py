"""Which workers a machine gets, and what the stack is made of."""

from pathlib import Path

import pytest

from local.greeting import PICTURE
from local.home import Home
from local.layout import MOST_CPU_PROCESSES, plan, workers
from local.settings import StackSettings
from shared.contracts.registry import QUEUES


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("cores", [1, 2, 64])
def test_every_queue_is_served_once_and_search_stands_alone(cores: int, has_gpu: bool) -> None:
    layout = workers(cores=cores, has_gpu=has_gpu)
    served = [queue for worker in layout for queue in worker.queues]
    assert sorted(served) == sorted(QUEUES)
    assert next(worker for worker in layout if "search" in worker.queues).queues == ("search",)
    assert all(1 <= worker.processes <= MOST_CPU_PROCESSES for worker in layout)
    assert all(worker.spawn == has_gpu for worker in layout)


def test_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DARKROOM_DATABASE_URL", "DARKROOM_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path)
    home.prepare()
    layout = plan(StackSettings(home=tmp_path, port=8123, device="cpu"), home, home.secrets())
    assert [spec.role for spec in layout.servers] == ["postgres", "valkey"]
    roles = ["api", "worker-search", "worker-cpu", "worker-batch", "sweeper", "flower"]
    assert [spec.role for spec in layout.services] == roles
    assert set(layout.urls) == {"api", "postgres", "redis", "flower"}
    commands = " ".join(word for spec in [*layout.servers, *layout.services] for word in spec.command)
    assert home.secrets().valkey_password not in commands, "command lines are for everyone to see"


def test_servers_of_the_users_own_are_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE_URL", "postgresql://me@elsewhere/db")
    monkeypatch.setenv("DARKROOM_REDIS_URL", "redis://elsewhere:6379/0")
    home = Home(tmp_path)
    home.prepare()
    layout = plan(StackSettings(home=tmp_path), home, home.secrets())
    assert layout.servers == []
    assert layout.urls["postgres"] == "postgresql://me@elsewhere/db"


def test_the_picture_to_try_is_shipped() -> None:
    assert PICTURE.is_file()

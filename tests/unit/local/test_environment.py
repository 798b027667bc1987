"""Which settings the stack's processes get: the user's own win, except where the stack itself is."""

from pathlib import Path

import pytest

from local.environment import is_loopback, own_server, process_environment, stack_environment
from local.home import Home, Secrets
from local.settings import REPOSITORY, StackSettings

SECRETS = Secrets("s" * 48, "valkey-password")


def environment(tmp_path: Path, user: dict[str, str], **changes: object) -> dict[str, str]:
    settings = StackSettings.model_validate({"home": tmp_path, "port": 8123, **changes})
    return stack_environment(
        settings, Home(tmp_path), SECRETS, database_url="postgresql://db", redis_url="redis://r", user=user
    )


def test_defaults(tmp_path: Path) -> None:
    found = environment(tmp_path, {})
    assert found == {
        "DARKROOM_ANONYMOUS_ACCESS": "true",
        "DARKROOM_DATABASE_URL": "postgresql://db",
        "DARKROOM_EMBEDDED": "true",
        "DARKROOM_HOME": str(tmp_path),
        "DARKROOM_HOST": "127.0.0.1",
        "DARKROOM_IMAGE_ROOTS": f'{{"catalogue": "{REPOSITORY}/models/catalogue/pictures"}}',
        "DARKROOM_MODELS_FILE": str(REPOSITORY / "models.toml"),
        "DARKROOM_PORT": "8123",
        "DARKROOM_REDIS_URL": "redis://r",
        "DARKROOM_SECRET_KEY": SECRETS.secret_key,
        "DARKROOM_STORAGE_URL": (tmp_path / "storage").as_uri(),
    }


def test_the_users_own_win(tmp_path: Path) -> None:
    user = {"DARKROOM_ENABLE_NOOP": "true", "DARKROOM_SECRET_KEY": "mine", "DARKROOM_STORAGE_URL": "", "OTHER": "x"}
    found = environment(tmp_path, user)
    assert found["DARKROOM_ENABLE_NOOP"] == "true"
    assert found["DARKROOM_SECRET_KEY"] == "mine"
    assert found["DARKROOM_STORAGE_URL"], "an empty variable is not set"
    assert "OTHER" not in found


def test_a_stack_that_others_can_reach_wants_keys(tmp_path: Path) -> None:
    assert environment(tmp_path, {}, host="0.0.0.0")["DARKROOM_ANONYMOUS_ACCESS"] == "false"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.1", False), ("box", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_users_server_is_used_and_the_embedded_ones_url_is_not_his() -> None:
    assert own_server("URL", "/run/darkroom", {"URL": "postgresql://elsewhere"}) == "postgresql://elsewhere"
    assert own_server("URL", "/run/darkroom", {"URL": "postgresql:///x?host=/run/darkroom"}) is None
    assert own_server("URL", "/run/darkroom", {}) is None


def test_children_find_the_code_in_any_folder() -> None:
    found = process_environment({"DARKROOM_PORT": "1"}, {"PATH": "/bin", "PYTHONPATH": f"/mine:{REPOSITORY}"})
    assert found["PYTHONPATH"] == f"{REPOSITORY}:/mine"
    assert (found["PATH"], found["DARKROOM_PORT"], found["PYTHONSAFEPATH"]) == ("/bin", "1", "1")

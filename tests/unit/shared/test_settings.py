"""Settings are read from the environment, and refuse what would be unsafe."""

import pytest

from shared.errors import ConfigurationError
from shared.settings import ApiSettings, Settings, SweeperSettings, WorkerSettings, load

SECRET = "x" * 40


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("DARKROOM_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("cls", [ApiSettings, WorkerSettings, SweeperSettings])
@pytest.mark.parametrize("secret", [None, "", "change-me", "Secret", "short-but-own"])
def test_no_process_starts_with_a_default_secret(
    monkeypatch: pytest.MonkeyPatch, cls: type[Settings], secret: str | None
) -> None:
    if secret is not None:
        monkeypatch.setenv("DARKROOM_SECRET_KEY", secret)
    with pytest.raises(ConfigurationError, match=r"DARKROOM_SECRET_KEY .*secrets\.token_urlsafe") as refusal:
        load(cls)
    assert "short-but-own" not in str(refusal.value)


def test_the_embedded_stack_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_EMBEDDED", "true")
    assert load(ApiSettings).embedded


def test_every_fault_is_named_by_its_variable_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_SECRET_KEY", SECRET)
    monkeypatch.setenv("DARKROOM_PORT", "eighty")
    monkeypatch.setenv("DARKROOM_LEASE_SECONDS", "-1")
    with pytest.raises(ConfigurationError) as refusal:
        load(ApiSettings)
    assert "DARKROOM_PORT: " in str(refusal.value)
    assert "DARKROOM_LEASE_SECONDS: " in str(refusal.value)


def test_lists_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_SECRET_KEY", SECRET)
    monkeypatch.setenv("DARKROOM_FETCH_ALLOW", '["127.0.0.1", "10.1.0.0/16"]')
    assert load(WorkerSettings).fetch_allow == ("127.0.0.1", "10.1.0.0/16")


def test_a_list_that_is_no_json_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_SECRET_KEY", SECRET)
    monkeypatch.setenv("DARKROOM_FETCH_ALLOW", "127.0.0.1")
    with pytest.raises(ConfigurationError, match="DARKROOM_FETCH_ALLOW: must be JSON"):
        load(WorkerSettings)


def test_the_broker_is_redis_unless_named() -> None:
    plain = Settings(embedded=True, redis_url="redis://r/0")
    assert plain.celery_broker_url == "redis://r/0"
    assert plain.model_copy(update={"broker_url": "amqp://b"}).celery_broker_url == "amqp://b"


def test_secrets_do_not_show() -> None:
    assert SECRET not in repr(Settings(secret_key=SECRET))  # type: ignore[arg-type]

"""`.env.example` names every setting, and no other, with its true default."""

import inspect
import re
from pathlib import Path

import pytest

from local.settings import StackSettings
from shared import settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
COMPOSE_ONLY = {"DARKROOM_BIND"}
CLASSES = [
    found for _, found in inspect.getmembers(settings, inspect.isclass) if issubclass(found, settings.Settings)
] + [StackSettings]


def documented() -> dict[str, str]:
    lines = re.findall(r"^#(DARKROOM_[A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert len(lines) == len(dict(lines)), "a variable stands there twice"
    return {name: value for name, value in lines if name not in COMPOSE_ONLY}


def test_every_setting_is_there_and_no_other() -> None:
    fields = {f"DARKROOM_{field.upper()}" for found in CLASSES for field in found.model_fields}
    assert set(documented()) == fields


@pytest.mark.parametrize("found", [found for found in CLASSES if found is not StackSettings])
def test_the_values_are_the_defaults(found: type[settings.Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in documented().items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DARKROOM_EMBEDDED", "true")  # the default secret is refused otherwise
    loaded = found()
    for name, field in found.model_fields.items():
        if name != "embedded":
            assert getattr(loaded, name) == field.default, name

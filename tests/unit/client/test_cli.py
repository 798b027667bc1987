"""The command `darkroom`: verbs are plugged in, and loaded only when called."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
import typer
from darkroom import cli, plugins

from shared.errors import ConfigurationError

Run = Callable[..., int]


def hello(name: str = "you") -> None:
    """Say hello."""
    print(f"hello {name}")


def refuse() -> None:
    raise ConfigurationError("DARKROOM_PORT: 8000 is in use")


def break_down() -> None:
    raise RuntimeError("a bug")


def not_all() -> None:
    raise typer.Exit(3)


verbs = typer.Typer()


@verbs.command()
def list_them() -> None:
    print("a list")


@verbs.command()
def make() -> None:
    print("made")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    module = ModuleType("plugged")
    for name, thing in {
        "hello": hello,
        "refuse": refuse,
        "break_down": break_down,
        "not_all": not_all,
        "verbs": verbs,
    }.items():
        setattr(module, name, thing)
    monkeypatch.setitem(sys.modules, "plugged", module)
    entries = {
        name: f"plugged:{name.replace('-', '_')}" for name in ("hello", "refuse", "break-down", "not-all", "verbs")
    }
    entries["gone"] = "no_such_module:verb"
    found = {name: EntryPoint(name, value, plugins.GROUP) for name, value in entries.items()}
    monkeypatch.setattr(plugins, "find", lambda: found)

    def main(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        return int(ended.value.code or 0)

    return main


def test_a_function_is_a_verb(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hello", "--name", "Ada") == 0
    assert capsys.readouterr().out == "hello Ada\n"


def test_a_typer_is_a_verb_with_verbs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verbs", "list-them") == 0
    assert capsys.readouterr().out == "a list\n"


def test_an_error_that_is_meant_for_the_user_is_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("refuse") == 1
    assert capsys.readouterr().err == "darkroom: DARKROOM_PORT: 8000 is in use\n"


def test_a_bug_shows_where_it_is(run: Run) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["break-down"])


def test_a_verb_chooses_its_exit_code(run: Run) -> None:
    assert run("not-all") == 3


def test_a_verb_whose_imports_are_missing_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gone") == 1
    error = capsys.readouterr().err
    assert "`darkroom gone` cannot start: No module named 'no_such_module'" in error
    assert "Traceback" not in error


def test_help_lists_every_verb(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in ("hello", "refuse", "verbs", "Say hello."))


def test_an_unknown_verb_is_a_usage_error(run: Run) -> None:
    assert run("helo") == 2


def test_the_version(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("darkroom ")


def test_without_the_server_its_verbs_say_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "find", dict)
    with pytest.raises(SystemExit) as ended:
        cli.main(["up"])
    assert ended.value.code == 1
    assert "the server, which is not installed here" in capsys.readouterr().err


def test_the_client_imports_nothing_of_the_server() -> None:
    code = (
        "import sys; import darkroom.cli\n"
        "print([name for name in ('shared', 'api', 'workers', 'local') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

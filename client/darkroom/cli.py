"""The command `darkroom`.

Exit codes: 0 done; 1 it failed, and one line says why; 2 the command was not understood; 3 (`status`) not all runs.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from darkroom import __version__, plugins

EXPECTED_ERRORS = ("DarkroomError",)
"""Names of base classes whose message is written for the user. By name: the client imports nothing of the server."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build(words)(words, prog_name="darkroom")
    except Exception as error:
        if os.environ.get("DARKROOM_TRACEBACK") or not _is_expected(error):
            raise
        print(f"darkroom: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def build(words: Sequence[str]) -> typer.Typer:
    """The application, with the one plugged-in verb that `words` calls, or with all of them for help and completion."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    found = plugins.find()
    if "--version" in words[:1]:
        return app
    called = next((word for word in words if not word.startswith("-")), None)
    if called in found and "_DARKROOM_COMPLETE" not in os.environ:
        plugins.add(app, found[called])
        return app
    if called in plugins.SERVER_VERBS and not found:
        raise plugins.PluginUnusable(
            f"`darkroom {called}` belongs to the server, which is not installed here. In a clone of it, run "
            "`make install` and use `.venv/bin/darkroom`."
        )
    for entry in found.values():
        try:
            plugins.add(app, entry)
        except plugins.PluginUnusable as error:
            print(f"darkroom: {error}", file=sys.stderr)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"darkroom {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Darkroom: an asynchronous job platform for pictures."""


def _is_expected(error: Exception) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, plugins.PluginUnusable) or not names.isdisjoint(EXPECTED_ERRORS)


if __name__ == "__main__":
    main()

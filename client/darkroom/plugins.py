"""Verbs that other distributions add to the command `darkroom`, found by entry point and loaded when called.

An entry of the group `darkroom.commands` is a function (one verb) or a `typer.Typer` (a verb with verbs of its own).
"""

from importlib.metadata import EntryPoint, entry_points

import typer

GROUP = "darkroom.commands"
SERVER_VERBS = ("up", "down", "status", "env", "demo", "keys")
"""What the server adds when it is installed, to tell its absence from a slip of the finger."""


class PluginUnusable(Exception):
    """A verb is installed, but a package that it needs is not."""


def find() -> dict[str, EntryPoint]:
    """Every installed verb by name; nothing of it is imported yet."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def add(app: typer.Typer, entry: EntryPoint) -> None:
    """Import a verb and hang it onto `app`.

    Raises:
        PluginUnusable: an import of the verb fails.
    """
    try:
        verb = entry.load()
    except ImportError as error:
        source = entry.dist.name if entry.dist else "its distribution"
        raise PluginUnusable(
            f"`darkroom {entry.name}` cannot start: {error}. It comes from {source}; from a clone, `make install` "
            "installs everything that it needs."
        ) from error
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, name=entry.name)
    else:
        app.command(entry.name)(verb)

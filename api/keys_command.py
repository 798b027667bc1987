"""`darkroom keys create | list | revoke`: keys from the command line, straight into the database."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import orjson
import psycopg
import typer

from shared import keys as store
from shared.database.pool import Connection, connect
from shared.errors import ConfigurationError, InvalidInput, NotFound
from shared.keys import KeyRow
from shared.settings import Settings, load

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
DEFAULT_SCOPES = "jobs:write,jobs:read,collections:write,files:write"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    scopes: Annotated[str, typer.Option(help=f"Comma-separated, of: {', '.join(store.SCOPES)}.")] = DEFAULT_SCOPES,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_in: Annotated[str | None, typer.Option(help="Such as 12h or 30d; without it, never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once."""
    seconds = _seconds(expires_in)
    with _open() as (connection, server_key):
        made = store.create(
            connection,
            server_key,
            tenant=tenant,
            scopes=[scope.strip() for scope in scopes.split(",") if scope.strip()],
            name=name,
            expires_in=seconds,
        )
    _print(asdict(made.row) | {"token": made.token}) if as_json else _write(made.token)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, as_json: AsJson = False
) -> None:
    """Print every key, without its secret."""
    with _open() as (connection, _):
        rows = store.listed(connection, tenant=tenant)
    if as_json:
        _print([asdict(row) for row in rows])
        return
    for row in rows:
        _write("  ".join((row.id, row.tenant, _state(row), ",".join(row.scopes), row.name)).rstrip())


@keys.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="As `list` shows it, or the whole key.")]) -> None:
    """End a key for good. API processes notice within seconds."""
    parsed = store.parse_token(key_id)
    wanted = parsed[0] if parsed else key_id
    with _open() as (connection, _):
        if store.revoke(connection, wanted) is None:
            raise NotFound(f"There is no key {wanted!r}; `darkroom keys list` shows them.")
    _write(f"{wanted} is revoked")


@contextmanager
def _open() -> Iterator[tuple[Connection, str]]:
    """A connection, and the server's key. Raises ConfigurationError with what to do."""
    settings = load(Settings)
    try:
        with connect(settings.database_url) as connection:
            yield connection, settings.secret_key.get_secret_value()
    except InvalidInput as error:
        raise InvalidInput(" ".join(f"--{fault.path}: {fault.message}." for fault in error.faults)) from None
    except psycopg.OperationalError as error:
        raise ConfigurationError(f"DARKROOM_DATABASE_URL: Postgres does not answer: {str(error).strip()}") from None


def _seconds(text: str | None) -> float | None:
    try:
        return store.parse_duration(text) if text else None
    except ValueError as error:
        raise InvalidInput(f"--expires-in: {error}") from None


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is not None and row.expires_at <= datetime.now(row.expires_at.tzinfo):
        return "expired"
    return "valid"


def _print(content: object) -> None:
    _write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")

"""The API key that `darkroom up` prints: made once a state folder, printed again at every start."""

from typing import Any

from local.home import Home
from local.layout import running_environment
from local.settings import StackSettings
from shared import keys
from shared.database.pool import connect

TENANT = "default"


def first_key(settings: StackSettings, home: Home, urls: dict[str, str]) -> str:
    """The kept key while it is valid, else a new one with every scope."""
    environment = running_environment(settings, home, urls)
    server_key = environment["DARKROOM_SECRET_KEY"]
    kept = home.secrets().api_key
    with connect(environment["DARKROOM_DATABASE_URL"]) as connection:
        if kept and _is_valid(connection, server_key, kept):
            return kept
        made = keys.create(connection, server_key, tenant=TENANT, scopes=list(keys.SCOPES), name="darkroom up")
    home.keep_api_key(made.token)
    return made.token


def _is_valid(connection: Any, server_key: str, token: str) -> bool:
    parsed = keys.parse_token(token)
    if parsed is None:
        return False
    query = (
        "SELECT secret_hash FROM api_keys WHERE id = %s AND revoked_at IS NULL AND coalesce(expires_at > now(), true)"
    )
    row = connection.execute(query, [parsed[0]]).fetchone()
    return row is not None and keys.matches(server_key, *parsed, bytes(row[0]))

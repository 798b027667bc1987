"""The environment of the stack's processes: computed here, unless the user set a variable already."""

import ipaddress
import json
import os
from collections.abc import Mapping

from local.home import Home, Secrets
from local.settings import REPOSITORY, StackSettings

CATALOGUE = REPOSITORY / "models" / "catalogue" / "pictures"


def stack_environment(
    settings: StackSettings,
    home: Home,
    secrets: Secrets,
    *,
    database_url: str,
    redis_url: str,
    user: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Every `DARKROOM_…` variable that all processes share. The user's own win, but for where the stack itself is."""
    computed = {
        "DARKROOM_EMBEDDED": "true",
        "DARKROOM_HOST": "127.0.0.1",
        "DARKROOM_SECRET_KEY": secrets.secret_key,
        "DARKROOM_STORAGE_URL": home.storage.as_uri(),
        "DARKROOM_IMAGE_ROOTS": json.dumps({"catalogue": str(CATALOGUE)}),
        "DARKROOM_ANONYMOUS_ACCESS": "true" if is_loopback(settings.host) else "false",
    }
    fixed = {
        "DARKROOM_HOME": str(home.folder),
        "DARKROOM_PORT": str(settings.port),
        "DARKROOM_DATABASE_URL": database_url,
        "DARKROOM_REDIS_URL": redis_url,
        "DARKROOM_MODELS_FILE": str(settings.models_file.resolve()),
    }
    own = {name: value for name, value in user.items() if name.startswith("DARKROOM_") and value != ""}
    return computed | own | fixed


def process_environment(stack: Mapping[str, str], user: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`stack` and all else that a Python child needs to find this code, whatever folder it runs in."""
    paths = [str(REPOSITORY), *filter(None, user.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **user,
        **stack,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        # Read-only (below, in its command), so nothing that a web page could make a browser do here changes anything.
        "FLOWER_UNAUTHENTICATED_API": "true",
    }


def own_server(name: str, embedded_mark: str, user: Mapping[str, str] = os.environ) -> str | None:
    """The user's own Postgres or Redis, which then is not started here.

    `embedded_mark`: a text that only the URL of the embedded server holds. `darkroom env` exports that one, and it does
    not make the server the user's own.
    """
    url = user.get(name) or None
    return None if url is None or embedded_mark in url else url


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""What `darkroom up` prints once all is up: URLs, a key, and three lines to paste into a shell."""

import shlex

from local.first_key import first_key
from local.home import Home
from local.settings import REPOSITORY, StackSettings

PICTURE = REPOSITORY / "models" / "catalogue" / "pictures" / "alarm-clock.webp"


def greeting(settings: StackSettings, home: Home, how_to_stop: str) -> str:
    """The whole text. Makes the key at first."""
    from local.state import StackState

    state = StackState.read(home)
    urls = state.urls if state else {}
    key = first_key(settings, home, urls)
    lines = [
        "",
        f"Darkroom is up. {how_to_stop}",
        f"  API     {urls.get('api')}  (documentation: {urls.get('api')}/docs)",
        f"  Flower  {urls.get('flower')}",
        f"  Key     {key}",
        f"  Logs    {home.logs}",
        "",
        "Try, in another shell:",
        *curl_lines(urls.get("api", settings.api_url), key),
    ]
    return "\n".join(lines)


def curl_lines(api: str, key: str) -> list[str]:
    """Index a shipped picture, find it by words, and look at the jobs that this made."""
    item = f'{{"id": "clock", "image": {{"base64": "\'"$(base64 < {shlex.quote(str(PICTURE))} | tr -d \'\\n\')"\'"}}}}'
    index = f'\'{{"input": {{"collection": "try", "items": [{item}]}}}}\''
    search = '\'{"input": {"collection": "try", "text": "alarm clock"}}\''
    head = f"curl -s -H 'Authorization: Bearer {key}'"
    post = "-H 'Content-Type: application/json' -H 'Prefer: wait=30'"
    return [
        f"  {head} {post} {api}/v1/index -d {index}",
        f"  {head} {post} {api}/v1/search -d {search}",
        f"  {head} '{api}/v1/jobs?limit=2'",
    ]

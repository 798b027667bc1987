"""The demo's smaller parts: items, the picture server, and the environment of its stack."""

import base64
import json
from pathlib import Path

import httpx

from local.demo.catalogue import load_pictures
from local.demo.facts import Machine
from local.demo.indexing import by_url, chunks, items_of
from local.demo.run import as_dict
from local.demo.screen import failure
from local.demo.serving import picture_server
from local.demo.stack import environment
from local.home import Home
from shared.contracts.index import IndexInput
from tests.fakes.demo_facts import good_facts


def test_half_of_the_items_go_by_url() -> None:
    pictures = load_pictures()[:5]
    items = items_of(pictures, "http://127.0.0.1:1")
    assert by_url(items) == 3
    assert items[0]["image"] == {"url": f"http://127.0.0.1:1/{pictures[0].id}.webp"}
    assert base64.b64decode(items[1]["image"]["base64"]) == pictures[1].path.read_bytes()
    assert [len(part) for part in chunks(items, 2)] == [2, 2, 1]
    IndexInput.model_validate({"collection": "catalogue", "items": items})


def test_the_picture_server_serves_what_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "one.webp").write_bytes(b"picture")
    with picture_server({"one": tmp_path / "one.webp"}) as url, httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/one.webp").content == b"picture"
        assert client.get(f"{url}/two.webp").status_code == 404
        assert client.get(f"{url}/../one.webp").status_code in (200, 404)  # the client itself resolves the dots


def test_the_stack_is_not_the_users(tmp_path: Path) -> None:
    user = {
        "PATH": "/bin",
        "DARKROOM_DATABASE_URL": "postgresql://mine",
        "DARKROOM_PORT": "8000",
        "DARKROOM_HOME": "/x",
    }
    made = environment(Home(tmp_path), 1234, user)
    assert made["DARKROOM_HOME"] == str(tmp_path)
    assert made["DARKROOM_PORT"] == "1234"
    assert "DARKROOM_DATABASE_URL" not in made
    assert made["PATH"] == "/bin"
    assert json.loads(made["DARKROOM_FETCH_ALLOW"]) == ["127.0.0.1"]


def test_the_facts_are_json() -> None:
    facts = good_facts()
    facts.report = Path("/tmp/report.html")
    shown = json.loads(json.dumps(as_dict(facts)))
    assert shown["passed"] is True
    assert shown["kill"]["held"] == ["job-2"]
    assert shown["report"] == "/tmp/report.html"


def test_the_first_failed_claim_is_named() -> None:
    facts = good_facts()
    facts.claims = [type(claim)(claim.text, False, "") for claim in facts.claims[:1]]
    assert failure(facts) == facts.claims[0].text


def test_this_machine_is_described() -> None:
    assert Machine.here().cores >= 1
    assert Machine(2, "", "", 2.5).is_busy
    assert not Machine(2, "", "", None).is_busy

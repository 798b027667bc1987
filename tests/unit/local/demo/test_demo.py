"""The demo's smaller parts: items, the picture server, and the environment of its stack."""

import base64
import json
from pathlib import Path

import httpx
from PIL import Image

from local.demo.catalogue import load_pictures
from local.demo.facts import Machine
from local.demo.indexing import by_url, chunks, items_of
from local.demo.library import COPIES_A_KIND, PICTURES, write_copies, write_library
from local.demo.run import as_dict
from local.demo.screen import failure
from local.demo.searching import redness
from local.demo.serving import picture_server
from local.demo.stack import environment
from local.home import Home
from shared.contracts.index import IndexInput
from shared.images.decode import DecodeLimits, decode
from shared.images.exif import taken_at
from shared.images.hashing import pixel_hash
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


def test_the_library_has_dates_and_a_broken_file(tmp_path: Path) -> None:
    ids = write_library(load_pictures(), tmp_path)
    assert len(ids) == len(set(ids.values())) == PICTURES
    path, _ = next(iter(ids.items()))
    taken = taken_at((tmp_path / path).read_bytes())
    assert taken is not None
    assert f"{taken:%Y/%m}" == path[:7]
    assert sum(file.is_file() for file in tmp_path.rglob("*.jpg")) == PICTURES + 1


def test_copies_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    copies = write_copies(load_pictures(), folder)
    assert len(copies) == 3 * COPIES_A_KIND
    for copy in copies:
        same = [pixel_hash(decode((folder / name).read_bytes(), DecodeLimits())) for name in (copy.name, copy.original)]
        assert (same[0] == same[1]) == (copy.kind == "exact")


def test_redness_is_of_painted_pixels(tmp_path: Path) -> None:
    half = Image.new("RGBA", (2, 1))
    half.putpixel((0, 0), (255, 0, 0, 255))  # the other one cannot be seen
    half.save(tmp_path / "red.png")
    Image.new("RGB", (2, 1), (0, 0, 255)).save(tmp_path / "blue.png")
    assert (redness(tmp_path / "red.png"), redness(tmp_path / "blue.png")) == (1.0, 0.0)


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

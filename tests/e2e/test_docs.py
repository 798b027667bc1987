"""What the pages tell their readers to type works: every marked shell block runs against a real stack."""

import base64
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.sockets import free_port
from tests.documents import ROOT, Block, blocks, changed, documents
from tests.e2e.conftest import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SHELL_SECONDS = 120
WALK_THROUGH = ROOT / "docs" / "adding-a-job-kind.md"
PAGES = [page for page in documents() if blocks(page, "expect")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_shell_blocks_do_what_the_page_says(page: Path, stack: Stack, tmp_path: Path) -> None:
    """The blocks of a page share one shell, as they share its reader's."""
    stack.until_all_run()
    for name in ("red-apple", "banana", "bicycle"):
        shutil.copy(ROOT / "models" / "catalogue" / "pictures" / f"{name}.webp", tmp_path)
    asked = blocks(page, "expect")
    outputs, errors = run_blocks(asked, stack, {"FOLDER": str(tmp_path)})
    for block, output in zip(asked, outputs, strict=False):
        missing = [part for part in block.expected if part not in output]
        assert not missing, f"{block} did not print {missing}, but:\n{output[-3000:]}\n{errors[-2000:]}"
    assert len(outputs) == len(asked), f"{asked[len(outputs) - 1]} failed:\n{outputs[-1][-3000:]}\n{errors[-2000:]}"


def run_blocks(asked: list[Block], stack: Stack, variables: dict[str, str]) -> tuple[list[str], str]:
    """What each block printed, up to and with the first that failed, and what went to stderr."""
    edge = "=== the next block ==="
    script = "".join(f"set -eu -o pipefail\n{block.text}\nprintf '\\n%s\\n' '{edge}'\n" for block in asked)
    tools = str(Path(sys.executable).parent)
    environment = stack.environment | {"DARKROOM_URL": stack.url("api"), "DARKROOM_KEY": key_of(stack)} | variables
    environment["PATH"] = f"{tools}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SHELL_SECONDS,
        check=False,
    )
    outputs = done.stdout.split(edge)
    return (outputs[:-1] if done.returncode == 0 else outputs), done.stderr


def key_of(stack: Stack) -> str:
    """The key that `darkroom up` printed."""
    found = re.search(r"^ +Key +(\S+)$", stack.output.read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_api_page_names_every_path_of_the_document(stack: Stack) -> None:
    with stack.client() as client:
        paths = json.loads(client.get("/openapi.json").text)["paths"]
    text = (ROOT / "docs" / "api.md").read_text()
    plain = re.sub(r"\{\w+\}", "{}", text)
    missing = [path for path in paths if re.sub(r"\{\w+\}", "{}", path) not in plain and not path.endswith("/noop")]
    assert not missing


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project with what `docs/adding-a-job-kind.md` adds to it."""
    folder = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("api", "client", "local", "migrations", "shared", "tests", "workers"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in blocks(WALK_THROUGH, "file"):
        (folder / block.note).write_text(block.text)
    for block in blocks(WALK_THROUGH, "change"):
        path = folder / block.note
        path.write_text(changed(path.read_text(), block.text))
    return folder


@dataclass
class CopiedStack(Stack):
    """A stack that runs the code of another folder."""

    code: Path = ROOT

    @property
    def environment(self) -> dict[str, str]:
        # Without PYTHONSAFEPATH the folder that tests run in would come first.
        return super().environment | {"PYTHONPATH": str(self.code), "PYTHONSAFEPATH": "1"}


def test_the_kind_of_the_walk_through_runs(copy: Path, tmp_path: Path) -> None:
    files = [block.note for block in blocks(WALK_THROUGH) if block.verb in ("file", "change")]
    tests = [file for file in files if file.startswith("tests/")]
    for command in (["ruff", "check", *files], ["ruff", "format", "--check", *files], ["pytest", "-q", *tests]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    models = {"DARKROOM_MODELS_FILE": str(ROOT / "models.toml"), "DARKROOM_PRELOAD_MODELS": "[]"}
    stack = CopiedStack(tmp_path / "home", free_port(), models, code=copy)
    try:
        stack.up()
        picture = base64.b64encode((ROOT / "models" / "catalogue" / "pictures" / "red-apple.webp").read_bytes())
        with stack.client() as client:
            body = {"input": {"images": [f"data:image/webp;base64,{picture.decode()}"]}}
            job = client.post("/v1/dominant_color", json=body, headers={"Prefer": "wait=30"}).json()
            assert job["status"] == "succeeded", job
            assert re.fullmatch("#[0-9a-f]{6}", job["output"]["colors"][0]["color"])
            assert "Dominant_colorJob" in client.get("/openapi.json").text
    finally:
        stack.end()

"""The container files: linted, valid against the published schema, without secrets, and in step with the settings."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.contracts.registry import QUEUES
from shared.settings import ApiSettings, WorkerSettings

REPOSITORY = Path(__file__).parents[2]
COMPOSE = REPOSITORY / "docker-compose.yml"
BIN = Path(sys.executable).parent
DOCKERFILES = sorted(REPOSITORY.glob("Dockerfile.*"))
OURS = ("migrate", "api", "sweeper", "flower", "search-worker", "cpu-worker", "gpu-worker")
WORKERS = [name for name in OURS if name.endswith("worker")]
SECRETS = ("DARKROOM_SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "QDRANT_API_KEY", "FLOWER_BASIC_AUTH")


@pytest.fixture(scope="module")
def text() -> str:
    return COMPOSE.read_text()


@pytest.fixture(scope="module")
def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = subprocess.run([str(BIN / "hadolint"), str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_compose_follows_its_schema() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_do_not_run_as_root(path: Path) -> None:
    lines = path.read_text().splitlines()
    stages = {line.split()[-1] for line in lines if line.startswith("FROM")}
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(base in stages or re.search(r":[0-9]+\.[0-9]+", base) for base in bases), bases
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users
    assert all(re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user) for user in users)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_copied_files_are_sent_to_the_builder(path: Path) -> None:
    """`.dockerignore` excludes all but a list: a file outside of it would be missing in the build."""
    sent = re.findall(r"^!(\S+)", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    for line in path.read_text().splitlines():
        if line.startswith("COPY") and "--from" not in line:
            assert set(line.split()[1:-1]) <= set(sent), line


def test_the_api_image_installs_no_model_library() -> None:
    dockerfile = (REPOSITORY / "Dockerfile.api").read_text()
    assert '".[api]"' in dockerfile
    assert "worker]" not in dockerfile


def test_compose_images_of_others_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name not in OURS:
            assert re.search(r":v?[0-9]+\.[0-9]+\.[0-9]+", service["image"]), name


def test_secrets_are_asked_for_and_never_given(text: str) -> None:
    for secret in SECRETS:
        uses = re.findall(rf"\$\{{{secret}[^}}]*\}}", text)
        assert uses, secret
        assert all(use.startswith(f"${{{secret}:?") for use in uses), uses
    assert not re.search(r"(?i)(password|secret|api_key)\w*: [\"']?[a-z0-9]{6,}", text)


def test_every_queue_has_a_worker_without_a_gpu(services: dict[str, Any]) -> None:
    served = " ".join(str(services[name]["command"]) for name in WORKERS if "profiles" not in services[name])
    missing = {queue for queue in QUEUES if queue not in served}
    assert missing == {"noop"}, "noop is for benches and fault tests"


def test_the_grace_period_outlasts_the_drain(services: dict[str, Any]) -> None:
    fields = WorkerSettings.model_fields
    drain = fields["drain_seconds"].default + fields["stop_grace_seconds"].default
    for name in WORKERS:
        assert seconds(services[name]["stop_grace_period"]) > drain, name
    assert seconds(services["api"]["stop_grace_period"]) > ApiSettings.model_fields["shutdown_seconds"].default


def test_our_containers_are_hardened_and_wait_for_the_migration(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"], name
        if name != "migrate":
            assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully", name


def test_servers_are_not_published(services: dict[str, Any]) -> None:
    published = {name for name, service in services.items() if "ports" in service}
    assert published == {"api", "flower"}
    assert all(port.startswith(("127.0.0.1:", "${DARKROOM_BIND:-127.0.0.1}:")) for port in ports(services, published))


def ports(services: dict[str, Any], names: set[str]) -> list[str]:
    return [port for name in names for port in services[name]["ports"]]


def seconds(period: str) -> float:
    return float(period.removesuffix("s"))

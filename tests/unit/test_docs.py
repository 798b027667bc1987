"""The pages agree with the code and with each other. `tests/e2e/test_docs.py` runs what they tell readers to type."""

import inspect
import json
import re
from pathlib import Path

import pytest

import api.errors
from local.settings import StackSettings
from shared import settings
from shared.contracts import embed, index, search
from shared.contracts.jobs import MAX_BATCH_JOBS, EnvelopeFields
from shared.contracts.registry import KINDS, QUEUES
from shared.errors import ErrorCode, RequestError
from shared.keys import SCOPES
from shared.vectors.filters import OPERATORS
from tests.documents import ROOT, Block, blocks, changed, documents

API = (ROOT / "docs" / "api.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
WALK_THROUGH = ROOT / "docs" / "adding-a-job-kind.md"
COMPOSE_ONLY = {"DARKROOM_BIND"}
SETTINGS = [
    found for _, found in inspect.getmembers(settings, inspect.isclass) if issubclass(found, settings.Settings)
] + [StackSettings]
WORDS = (
    "attempt", "claim", "collection", "delivery", "drain", "executor", "handler", "heartbeat", "item", "job", "kind",
    "lease", "payload", "queue", "ring", "runtime", "siblings", "sweeper", "tenant", "worker",
)  # fmt: skip


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [link for link in links if not re.match(r"[a-z]+:", link) and not leads_somewhere(page, link)]
    assert not broken


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists():
        return False
    return not anchor or anchor in {anchor_of(title) for title in re.findall(r"^#+ (.*)$", target.read_text(), re.M)}


def anchor_of(title: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    made = {block.note for block in blocks(page, "file")}
    named = re.findall(r"`((?:api|client|examples|local|migrations|shared|tests|workers)/[\w./-]+)`", page.read_text())
    assert [name for name in named if name not in made and not (ROOT / name).exists()] == []


def documented_settings() -> dict[str, str]:
    rows = re.findall(r"^\| `(DARKROOM_[A-Z_]+)` \| (.*?) \|", CONFIGURATION, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a variable stands there twice"
    return dict(rows)


def test_every_setting_is_documented_and_no_other() -> None:
    fields = {f"DARKROOM_{field.upper()}" for found in SETTINGS for field in found.model_fields}
    assert set(documented_settings()) == fields
    for page in documents():
        mentioned = set(re.findall(r"DARKROOM_[A-Z_]*[A-Z]", page.read_text()))
        assert mentioned - fields - COMPOSE_ONLY - {"DARKROOM_URL", "DARKROOM_KEY"} == set(), page


@pytest.mark.parametrize("found", SETTINGS)
def test_documented_defaults_are_the_defaults(found: type[settings.Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in documented_settings().items():
        if value == "not set":
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value.strip("`"))
    monkeypatch.setenv("DARKROOM_EMBEDDED", "true")  # the default secret is refused otherwise
    if found is StackSettings:
        monkeypatch.delenv("DARKROOM_MODELS_FILE")  # that of the clone, wherever the command is given
    loaded = found()
    for name, field in found.model_fields.items():
        if name != "embedded":
            assert getattr(loaded, name) == field.default, name


def test_every_error_code_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", API))
    assert {code.value for code in ErrorCode} - documented == set()
    assert {api.errors.INTERNAL.code, "unavailable", *(str(cls.code) for cls in subclasses(RequestError))} <= documented
    sources = [path for folder in ("api", "shared") for path in (ROOT / folder).rglob("*.py")]
    named = {code for path in sources for code in re.findall(r'\bcode="([a-z_]+)"', path.read_text())}
    assert named - documented == set()


def subclasses(cls: type[RequestError]) -> list[type[RequestError]]:
    return [cls, *(lower for found in cls.__subclasses__() for lower in subclasses(found))]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_documented(name: str) -> None:
    kind = KINDS[name]
    section = section_of(API, f"### `{name}`")
    assert [queue for queue in kind.queues if f"`{queue}`" not in section] == []
    if name == "noop":
        return
    fields = [*kind.input.model_fields, *kind.output.model_fields]
    assert [field for field in fields if f"`{field}`" not in section and f'"{field}"' not in section] == []
    assert f"{kind.default_timeout:,.0f} s" in section
    assert f"{kind.max_timeout:,.0f} at most" in section


def section_of(text: str, heading: str) -> str:
    assert heading in text, heading
    return text.split(heading, 1)[1].split("\n## ")[0].split("\n### ")[0]


def test_limits_are_the_ones_of_the_code() -> None:
    limits = {
        "### `embed`": [f"1 to {embed.MAX_ENTRIES} in all"],
        "### `index`": [f"1 to {index.MAX_ITEMS:,}", f"{index.MAX_PAYLOAD_BYTES:,} bytes"],
        "### `search`": [f"1 to {search.MAX_TOP_K:,}", f"to {search.MAX_OFFSET:,}"],
        "## Submitting": [f"1 to {MAX_BATCH_JOBS:,} envelopes"],
    }
    missing = [text for heading, texts in limits.items() for text in texts if text not in section_of(API, heading)]
    assert not missing


def test_envelope_scopes_and_operators_are_documented() -> None:
    assert [name for name in EnvelopeFields.model_fields if f"| `{name}` |" not in API] == []
    assert [scope for scope in SCOPES if f"| `{scope}` |" not in API] == []
    filters = section_of(API, "## Filters")
    assert [operator for operator in OPERATORS if f"`{operator}`" not in filters] == []


def test_every_queue_is_in_the_architecture() -> None:
    queues = section_of(ARCHITECTURE, "## Queues")
    assert [queue for queue in QUEUES if f"| `{queue}` |" not in queues] == []


def test_the_glossary_has_the_words() -> None:
    explained = {word for row in re.findall(r"^\| (\*\*.*?) \|", GLOSSARY, re.M) for word in re.findall(r"\w+", row)}
    assert [word for word in WORDS if word not in explained] == []


def test_json_in_the_pages_is_json() -> None:
    for page in documents():
        for block in blocks(page):
            if block.language == "json":
                json.loads(block.text)


@pytest.mark.parametrize(
    "name", ["README.md", "docs/api.md", "docs/operating.md", "docs/search.md", "docs/tagging.md", "docs/duplicates.md"]
)
def test_every_line_to_type_at_a_running_server_is_tried(name: str) -> None:
    asking = [block for block in blocks(ROOT / name) if block.language == "bash" and "curl " in block.text]
    assert asking
    assert [str(block) for block in asking if block.verb != "expect"] == []


@pytest.mark.parametrize("block", blocks(WALK_THROUGH, "change"), ids=str)
def test_the_walk_through_changes_what_is_there(block: Block) -> None:
    assert changed((ROOT / block.note).read_text(), block.text)


def test_the_first_page_is_read_in_three_minutes() -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(text.split()) < 900

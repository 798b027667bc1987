"""Settings of every process, from the environment (`DARKROOM_…`) and read once at its start.

One class a process: what a process does not need, it does not read. Importing this module reads nothing.
`.env.example` documents each variable.
"""

from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.errors import ConfigurationError
from shared.roots import check_roots

S = TypeVar("S", bound="Settings")

DEFAULT_SECRETS = frozenset({"", "change-me", "changeme", "secret", "darkroom", "insecure"})
MIN_SECRET_LENGTH = 32


class Settings(BaseSettings):
    """What every process of the server shares: where the parts are, and the promises' clocks."""

    model_config = SettingsConfigDict(env_prefix="DARKROOM_", extra="ignore", frozen=True)

    home: Path = Path(".darkroom")
    embedded: bool = False
    """True only in the stack that `darkroom up` starts: everything on loopback, secrets made at first start."""
    secret_key: SecretStr = SecretStr("change-me")
    """Keys the hash of API keys. At least 32 characters outside the embedded stack."""

    database_url: str = "postgresql://darkroom@127.0.0.1:5432/darkroom"
    redis_url: str = "redis://127.0.0.1:6379/0"
    broker_url: str | None = None
    """Celery's broker; `redis_url` when not set (RabbitMQ: `amqp://…`)."""
    cache_url: str | None = None
    """Where embeddings and results are kept for a while; `redis_url` when not set."""
    cache_seconds: NonNegativeInt = 3600
    """How long; 0: not at all."""
    qdrant_url: str | None = None
    """Vectors live in Qdrant when set, else in pgvector in the same Postgres."""
    qdrant_api_key: SecretStr | None = None
    storage_url: str | None = None
    """`file:///…` (default: `<home>/storage`)."""
    models_file: Path = Path("models.toml")
    fetch_allow: tuple[str, ...] = ()
    """Hosts and networks that the safe fetch may reach besides the public internet."""
    image_roots: Annotated[dict[str, str], AfterValidator(check_roots)] = {}
    """Folders that jobs may read pictures from, by the names that requests use. `{tenant}` in a folder stands for the
    caller's tenant."""
    max_picture_bytes: PositiveInt = 25_000_000
    max_picture_pixels: PositiveInt = 40_000_000

    lease_seconds: PositiveFloat = 60.0
    max_crashes: PositiveInt = 3
    """A job that was running this many times when its worker died is given up as `worker_lost`."""
    retention_days: PositiveInt = 30
    """Finished jobs are deleted after this."""
    enable_noop: bool = False
    """Accept the `noop` kind (benches and fault tests only)."""
    log_level: str = "INFO"
    log_format: Annotated[str, Field(pattern="^(json|console)$")] = "json"

    @property
    def celery_broker_url(self) -> str:
        return self.broker_url or self.redis_url

    @property
    def resolved_cache_url(self) -> str:
        return self.cache_url or self.redis_url

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or (self.home.resolve() / "storage").as_uri()

    @model_validator(mode="after")
    def _refuse_default_secrets(self) -> Self:
        secret = self.secret_key.get_secret_value()
        if self.embedded:
            return self
        if secret.lower() in DEFAULT_SECRETS or len(secret) < MIN_SECRET_LENGTH:
            raise ValueError(
                "DARKROOM_SECRET_KEY is missing, a default, or shorter than 32 characters. Set it to the output of: "
                'python -c "import secrets; print(secrets.token_urlsafe(48))"'
            )
        return self


class ApiSettings(Settings):
    """The HTTP front."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    public_url: str | None = None
    """Base of the URLs in answers; the request's own host when not set."""
    cors_origins: tuple[str, ...] = ()
    anonymous_access: bool = False
    """Requests without a key act as `anonymous_tenant` with `anonymous_scopes`. On in the embedded stack."""
    anonymous_tenant: str = "default"
    anonymous_scopes: tuple[str, ...] = ("jobs:write", "jobs:read", "collections:write", "files:write")
    max_body_bytes: PositiveInt = 64_000_000
    ring_debounce_seconds: Annotated[float, Field(ge=0, le=1)] = 0.005
    database_pool_size: PositiveInt = 10
    shutdown_seconds: PositiveFloat = 20.0


class WorkerSettings(Settings):
    """A Celery worker process."""

    worker_queues: tuple[str, ...] = ()
    """The queues that this worker serves, for its start-up report and its checks; Celery itself reads `-Q`."""
    device: str = "auto"
    dtype: str = "auto"
    model_memory_bytes: PositiveInt = 8_000_000_000
    """Loaded models above this are dropped, least recently used first."""
    preload_models: tuple[str, ...] | None = None
    """Aliases that a worker process loads as it starts, so that no first job waits for them; when not set, the
    default models of the kinds that it serves."""
    fetch_threads: PositiveInt = 16
    """Pictures fetched and decoded at once in one worker process."""
    fetch_seconds: PositiveFloat = 20.0
    """Total time that one picture may take to arrive."""
    slice_seconds: PositiveFloat = 5.0
    """How long one wake-up goes on claiming before it rings again and lets others have their turn."""
    drain_seconds: PositiveFloat = 25.0
    """After SIGTERM: finish within this, or hand the job back."""
    stop_grace_seconds: PositiveFloat = 30.0
    """A handler that ignores its stop signal for this long has its process killed."""
    retry_base_seconds: PositiveFloat = 2.0
    retry_cap_seconds: PositiveFloat = 600.0


class SweeperSettings(Settings):
    """The sweeper: the safety net under every other process."""

    sweep_seconds: PositiveFloat = 1.0
    sweep_page: PositiveInt = 500
    ring_grace_seconds: PositiveFloat = 1.0
    """A job queued for this long without being claimed is rung again."""
    deadline_grace_seconds: PositiveFloat = 45.0
    """A running job may pass its deadline by this much, so that its worker can end it itself: more than
    STOP_GRACE_SECONDS, after which a worker gives up on a handler that does not listen."""
    housekeeping_seconds: PositiveFloat = 60.0
    """How often what has expired is deleted, and large collections get their vector index."""


def load(cls: type[S]) -> S:
    """Read the settings of a process, or say which variable is wrong and how to mend it.

    Raises:
        ConfigurationError: with one line a fault, naming the environment variable.
    """
    try:
        return cls()
    except SettingsError as error:  # a list or map that is no JSON
        _, _, rest = str(error).partition('field "')
        name = "DARKROOM_" + rest.partition('"')[0].upper()
        example = '{"photos": "/srv/photos"}' if name == "DARKROOM_IMAGE_ROOTS" else '["a", "b"]'
        raise ConfigurationError(f"Settings are not usable:\n  {name}: must be JSON, such as {example}") from None
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            name = "_".join(str(part) for part in fault["loc"]).upper()
            lines.append(f"DARKROOM_{name}: {fault['msg']}" if name else fault["msg"].removeprefix("Value error, "))
        raise ConfigurationError("Settings are not usable:\n  " + "\n  ".join(lines)) from None

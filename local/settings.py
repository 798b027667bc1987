"""Settings of the embedded stack: `DARKROOM_HOME` and `DARKROOM_PORT` are all that two of them side by side need."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat

from shared.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]


class StackSettings(Settings):
    """The supervisor and the commands that talk about it."""

    embedded: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    models_file: Path = REPOSITORY / "models.toml"
    device: str = "auto"
    drain_seconds: PositiveFloat = 25.0
    shutdown_seconds: PositiveFloat = 20.0

    @property
    def api_url(self) -> str:
        return f"http://{self.host}:{self.port}"

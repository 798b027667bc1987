"""`python -m api`: one API process. On SIGTERM it is not ready any more, answers those who wait, and ends."""

import asyncio
import socket
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.services import Services
from shared.errors import ConfigurationError
from shared.logging import configure_logging
from shared.settings import ApiSettings, load

log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """uvicorn, telling the application about the signal at once and not only when the last request is done."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._services.stop)
        super().handle_exit(sig, frame)


def serve(app: FastAPI, settings: ApiSettings) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )
    Server(config, app.state.services).run()


def main() -> int:
    try:
        settings = load(ApiSettings)
        configure_logging(settings, role="api")
        app = create_app(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - before logging exists
        return 2
    log.info("api_starting", host=settings.host, port=settings.port, kinds=sorted(app.state.services.kinds))
    serve(app, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())

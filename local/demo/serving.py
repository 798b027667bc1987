"""A small web server for the catalogue's pictures: somebody else's image host, as far as Darkroom can tell."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"
"""A loopback address: the demo's stack may fetch from it because its FETCH_ALLOW names it, and only therefore."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def picture_server(pictures: Mapping[str, Path]) -> Iterator[str]:
    """Serve each file of `pictures` as `/<key>.webp`; yields the base URL."""
    files = {f"/{name}.webp": path for name, path in pictures.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = files.get(self.path)
            body = path.read_bytes() if path else b""
            self.send_response(200 if path else 404)
            self.send_header("Content-Type", "image/webp")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not on the demo's screen."""

    server = _Server((HOST, 0), Handler)
    # A worker that is killed leaves its connections broken; that is no news here.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.05,), name="pictures", daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

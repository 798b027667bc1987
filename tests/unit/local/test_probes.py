"""When a process of the stack counts as up."""

import http.server
import threading
from pathlib import Path

from local import probes
from local.child import Run
from local.sockets import free_port


def test_a_worker_is_up_when_all_its_processes_are(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b'{"event":"worker_ready"}\n{"event":"worker_process_ready"}\n')
    run = Run(log, 0, age=1.0)
    assert probes.worker_is_ready(run, 1, silent=False)
    assert not probes.worker_is_ready(run, 2, silent=False)
    earlier = Run(log, log.stat().st_size, age=1.0)
    assert not probes.worker_is_ready(earlier, 1, silent=False), "what an earlier run said does not count"
    assert not probes.worker_is_ready(Run(tmp_path / "none.log", 0, age=1.0), 1, silent=False)


def test_a_worker_that_logs_no_events_is_up_by_its_age(tmp_path: Path) -> None:
    assert not probes.worker_is_ready(Run(tmp_path / "log", 0, age=1.0), 1, silent=True)
    assert probes.worker_is_ready(Run(tmp_path / "log", 0, age=60.0), 1, silent=True)


def test_a_server_is_up_when_it_answers_200() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/live" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert probes.answers("127.0.0.1", server.server_port, "/live")
        assert not probes.answers("127.0.0.1", server.server_port, "/else")
        server.shutdown()
    assert not probes.answers("127.0.0.1", free_port(), "/live")

"""Bare Celery: an empty task, acked late, one message prefetched, events on. No database, no result.

The broker is named by the environment variable BENCH_BROKER_URL.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

app = Celery("bare")
app.conf.update(
    broker_url=os.environ.get("BENCH_BROKER_URL", "memory://"),
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_disable_rate_limits=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_default_queue="bare",
)


@app.task(name="bare.nothing", ignore_result=True)  # type: ignore[untyped-decorator]
def nothing(job_id: str) -> None:
    return None


@worker_ready.connect  # type: ignore[untyped-decorator]
def _say_so(**_: Any) -> None:
    print("bare_ready", flush=True)

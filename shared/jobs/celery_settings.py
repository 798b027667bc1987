"""Celery's settings, one place for those who ring and those who answer. Reasons: `docs/architecture.md`."""

from typing import Any

from kombu.entity import Queue

from shared.contracts.registry import QUEUES, kinds_of

HARD_LIMIT_GRACE_SECONDS = 120.0
"""Over the longest attempt of a queue: by then the sweeper has failed the job, and its process is truly stuck."""


def hard_limit_seconds(queue: str) -> float:
    """Time limit of one wake-up: the longest attempt that a kind of this queue may ask for, and some grace."""
    return max((kind.max_timeout for kind in kinds_of(queue)), default=3600.0) + HARD_LIMIT_GRACE_SECONDS


def celery_settings(broker_url: str, *, drain_seconds: float = 25.0) -> dict[str, Any]:
    """The broker is a doorbell and nothing relies on it; these make it a good one."""
    longest = max(hard_limit_seconds(queue) for queue in QUEUES)
    settings: dict[str, Any] = {
        "broker_url": broker_url,
        "task_queues": [_queue(name) for name in QUEUES],
        "task_create_missing_queues": True,
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # Together with `max_retries` on the task: alone, a rejected message loops for ever.
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "accept_content": ["json"],
        "task_serializer": "json",
        "event_serializer": "json",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": drain_seconds,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_proc_alive_timeout": 120.0,
        "worker_disable_rate_limits": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Opened as needed. Flower asks from a dozen threads, each of which takes two: fewer lock each other out.
        "broker_pool_limit": 64,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
    }
    if broker_url.startswith(("redis", "unix", "redis+socket")):
        settings["broker_transport_options"] = {
            "visibility_timeout": 2 * longest,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        }
    return settings


def _queue(name: str) -> Queue:
    return Queue(name, routing_key=name)  # type: ignore[no-untyped-call]

"""The Celery application of the workers. Importing it reads the settings; it loads no model library.

`python -m workers` starts a worker; `celery -A workers.celery_app …` is for Celery's own tools.
"""

from celery import Celery

from shared.jobs.celery_settings import celery_settings
from shared.settings import WorkerSettings, load
from workers.tasks import register

settings = load(WorkerSettings)
app = Celery("darkroom")
app.conf.update(celery_settings(settings.celery_broker_url, drain_seconds=settings.drain_seconds))
register(app, settings)

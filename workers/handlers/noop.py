"""`noop`: does nothing, slowly or badly, for benches and fault tests."""

import os
import signal
import time

from shared.contracts.noop import NoopInput, NoopOutput
from shared.errors import ErrorCode, JobError, JobStopped, PermanentJobError, RetryableJobError
from workers.context import JobContext, JobHandle

LOOK_SECONDS = 0.02
"""How often a sleeping job looks whether it should stop."""


def handle(inputs: list[NoopInput], context: JobContext) -> list[NoopOutput | JobError | JobStopped]:
    """One after the other, since all they do is sleep. Each is settled at once: the next may sleep for long."""
    results = []
    for index, (input, job) in enumerate(zip(inputs, context.jobs, strict=True)):
        results.append(_one(input, job))
        context.settle(index, results[-1])
        if input.sleep_ms:
            context.flush()
    return results


def _one(input: NoopInput, job: JobHandle) -> NoopOutput | JobError | JobStopped:
    if input.crash and job.attempt <= (input.crash_attempts or job.attempt):
        os.kill(os.getpid(), signal.SIGKILL)
    started = time.monotonic()
    for step in range(input.steps if input.sleep_ms else 0):
        _sleep(input.sleep_ms / 1000 / input.steps, input, job)
        job.progress((step + 1) / input.steps, f"step {step + 1} of {input.steps}")
    if (reason := job.stop_reason) and not input.ignore_stop:
        return reason()
    if input.fail and job.attempt <= (input.fail_attempts or job.attempt):
        return _failure(input)
    return NoopOutput(attempt=job.attempt, slept_ms=(time.monotonic() - started) * 1000)


def _sleep(seconds: float, input: NoopInput, job: JobHandle) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and (input.ignore_stop or job.stop_reason is None):
        time.sleep(min(left, LOOK_SECONDS))


def _failure(input: NoopInput) -> JobError:
    if input.fail == "bug":
        raise RuntimeError("a bug was asked for")
    if input.fail == "permanent":
        return PermanentJobError(ErrorCode.INVALID_INPUT, "The job was asked to fail for good.")
    return RetryableJobError(ErrorCode.INTERNAL, "The job was asked to fail this time.", retry_in=0.1)

"""From an entry of `models.toml` to a loaded runtime: the one place that knows the families."""

from shared.errors import ErrorCode, PermanentJobError
from shared.model_registry import ModelSpec
from workers.runtimes.device import Compute
from workers.runtimes.protocol import EmbeddingRuntime


def load_embedding(spec: ModelSpec, compute: Compute) -> EmbeddingRuntime:
    """Load a model that embeds; imports its family's library on the way.

    Raises:
        PermanentJobError: `model_mismatch` for a family that makes no vectors; `model_load_failed`.
        RetryableJobError: `model_load_failed`, when a hub did not answer.
    """
    if spec.family == "open_clip":
        from workers.runtimes.clip import ClipRuntime

        return ClipRuntime(spec, compute)
    if spec.family == "timm":
        from workers.runtimes.timm_image import TimmRuntime

        return TimmRuntime(spec, compute)
    raise PermanentJobError(
        ErrorCode.MODEL_MISMATCH,
        f"Model {spec.alias!r} makes pictures and has no vectors. Choose a model of the open_clip or timm family.",
    )

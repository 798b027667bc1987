"""Every group of figures by name, in the order in which they run."""

from collections.abc import Callable, Mapping

from bench.figure import Figure
from bench.figures import calibration, claim, duplicates, end_to_end, indexing, rest, searching, submit, tagging, wait
from bench.lab import Lab

Measure = Callable[[Lab], list[Figure]]
Groups = Mapping[str, tuple[str, Measure]]
"""What is measured in a line, and how."""

FIGURES: Groups = {
    "submit": ("submissions a second, one job a request", submit.single),
    "batch": ("submissions a second, 1,000 jobs a request", submit.batch),
    "end-to-end": ("no-op jobs from submission to end, beside bare Celery", end_to_end.measure),
    "wait": ("what Prefer: wait adds to a no-op", wait.measure),
    "search": ("text searches on an idle stack that were not asked before", searching.uncached),
    "cached-search": ("text searches that were asked before, answered by the API itself", searching.cached),
    "indexing": ("pictures indexed a second with a model of the usual size, beside the bare model", indexing.usual),
    "indexing-starter": ("the same with the shipped starter model", indexing.starter),
    "tagging": ("pictures tagged a second with a model of the usual size, beside the bare model", tagging.usual),
    "tagging-starter": ("the same with the shipped starter model", tagging.starter),
    "tagging-memory": ("peak memory of a worker process that tags a directory", tagging.memory),
    "claim": ("claim latency in a deep queue and in a shallow one", claim.measure),
    "calibration": ("one cutoff for all searches, on the relevance and on the cosine", calibration.measure),
    "duplicates": ("grouping of up to 100,000 hashes; precision and recall of each method", duplicates.measure),
    "api": ("start and memory of the API", rest.api),
    "worker": ("memory of a CLIP worker", rest.worker),
}

"""`make bench`: how fast Darkroom is, each figure beside the bare thing in the same run (`docs/benchmarks.md`)."""

"""Darkroom's command line; the SDK grows here."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("darkroom-client")
except PackageNotFoundError:  # run from a source tree that nobody installed
    __version__ = "0.0.0"

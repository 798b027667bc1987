"""`darkroom demo`: the whole platform on real pictures in under a minute, a killed worker included.

Everything goes through the public HTTP API of a stack that the demo starts for itself and stops again. What it prints
and writes are facts (`facts.py`); what it claims about them is decided in one place (`claims.py`).
"""

from local.demo.run import run_demo

__all__ = ["run_demo"]

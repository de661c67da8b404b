"""The third parties on localhost: identity endpoints, and services that verify each kind of proof.

`Sandbox.start()` runs them in a process of their own; `python -m prefect_atomic.sandbox` does the same by hand.
"""

from prefect_atomic.sandbox.handle import Sandbox, SandboxError

__all__ = ["Sandbox", "SandboxError"]

"""The demo: every credential type at work, on a Prefect server and third parties that it starts itself."""

from prefect_atomic.demo.stage import run

__all__ = ["run"]

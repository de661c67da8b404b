"""A progress artifact of Prefect's that several threads move on."""

from __future__ import annotations

from contextvars import copy_context
from threading import Lock

from prefect.logging import get_logger

_WORTH_TELLING = 1.0
"""Per cent between two updates: each is a request to the Prefect API."""

logger = get_logger("atomic.progress")


class ProgressArtifact:
    """Shows how far something is; where the Prefect API does not answer, nothing is shown, and nothing fails.

    Args:
        key: The artifact's key: lower-case letters, digits and dashes.
        description: What is counted.
    """

    def __init__(self, key: str, description: str) -> None:
        self._lock = Lock()
        self._told = 0.0
        self._context = copy_context()  # the threads of a transfer know neither the run nor its Prefect server
        self._artifact: object = None
        try:
            from prefect.artifacts import create_progress_artifact  # takes longer to import than this package

            self._artifact = create_progress_artifact(progress=0.0, key=key, description=description)
        except Exception as error:  # noqa: BLE001 - Prefect raises many kinds
            logger.warning("The progress of %s is not shown: %s.", key, type(error).__name__)

    def tell(self, share: float) -> None:
        """Shows the share that is done, from 0 to 1; small steps are left out."""
        with self._lock:
            per_cent = 100 * min(max(share, 0.0), 1.0)
            if per_cent - self._told >= _WORTH_TELLING:
                self._told = per_cent
                self._show(per_cent)

    def end(self) -> None:
        """Shows that all is done."""
        with self._lock:
            self._told = 100.0
            self._show(100.0)

    def _show(self, per_cent: float) -> None:
        if self._artifact is None:
            return
        try:
            from prefect.artifacts import update_progress_artifact

            self._context.run(update_progress_artifact, self._artifact, progress=per_cent)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - as above
            self._artifact = None
            logger.warning("The progress is not shown any more: %s.", type(error).__name__)

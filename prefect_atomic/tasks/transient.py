"""Which failures a Prefect task may be run again for."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, TaskRun

from prefect_atomic.errors import AtomicError


async def is_transient(task: Any, task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether a failed task may succeed when it is run again: for `retry_condition_fn`.

    Example:
        ```python
        send_request.with_options(retries=3, retry_delay_seconds=60, retry_condition_fn=is_transient)
        ```
    """
    try:
        await state.aresult(raise_on_failure=True)
    except AtomicError as error:
        return error.transient
    except Exception:  # noqa: BLE001 - whatever else a task raises is not ours to judge
        return False
    return False

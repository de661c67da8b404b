"""Delivers the webhook events that wait: schedule it every few minutes, once for all subscriptions."""

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from prefect_atomic import AtomicError, Redelivery, redeliver
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.webhooks import saved_subscriptions

_AT_ONCE = 10


@flow(name="redeliver-webhooks", task_runner=ThreadPoolTaskRunner(max_workers=_AT_ONCE))  # type: ignore[arg-type]
def redeliver_webhooks_flow(subscriptions: list[str] | None = None, retry_all: bool = False) -> list[Redelivery]:
    """Makes one attempt for each event that is due, oldest first for each subscription.

    A paused subscription is probed with one event, and resumed if that is delivered. No subscription waits for another
    whose receiver is slow.

    Args:
        subscriptions: The slugs of the subscriptions; none = all that are saved.
        retry_all: Whether to try every event now, also what is not due yet, and what is exhausted.

    Returns:
        What was done for each subscription.

    Raises:
        AtomicError: A subscription, or its outbox, cannot be used; the others were looked after.
    """
    slugs = saved_subscriptions() if subscriptions is None else subscriptions
    progress = _Progress(len(slugs))
    futures = {slug: redeliver_to.submit(slug, retry_all, progress) for slug in slugs}
    outcomes: dict[str, object] = {slug: future.result(raise_on_failure=False) for slug, future in futures.items()}
    progress.end()
    done = [outcome for outcome in outcomes.values() if isinstance(outcome, Redelivery)]
    problems = {slug: str(outcome) for slug, outcome in outcomes.items() if not isinstance(outcome, Redelivery)}
    create_table_artifact(
        [_row(result) for result in done] + [{"subscription": slug, "state": text} for slug, text in problems.items()],
        key="webhook-redelivery-results",
        description="What waited for each webhook subscription, and what became of it.",
    )
    if problems:
        raise AtomicError(f"{len(problems)} of {len(slugs)} subscriptions could not be looked after; see the table.")
    return done


class _Progress:
    """How many of the waiting events were looked at, over all subscriptions."""

    def __init__(self, subscriptions: int) -> None:
        self._of = subscriptions
        self._done: dict[str, float] = {}
        self._artifact = ProgressArtifact("webhook-redelivery", "Waiting webhook events that were looked at")

    def tell(self, slug: str, seen: int, of: int) -> None:
        self._done[slug] = seen / of if of else 1.0
        self._artifact.tell(sum(list(self._done.values())) / self._of)

    def end(self) -> None:
        self._artifact.end()


@task(name="redeliver", task_run_name="redeliver to {slug}", cache_policy=NO_CACHE)
def redeliver_to(slug: str, retry_all: bool, progress: _Progress) -> Redelivery:
    result = redeliver(slug, retry_all=retry_all, report=lambda seen, of: progress.tell(slug, seen, of))
    get_run_logger().info("%d of %d events delivered, %s", result.delivered, result.found, result.state)
    return result


def _row(result: Redelivery) -> dict[str, str | int]:
    return {
        "subscription": result.subscription,
        "found": result.found,
        "delivered": result.delivered,
        "failed": result.failed,
        "still waiting": result.waiting,
        "exhausted": result.exhausted,
        "state": result.state,
    }

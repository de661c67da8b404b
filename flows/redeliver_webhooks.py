"""Delivers the webhook events that wait: schedule it every few minutes, once for all subscriptions."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from prefect_atomic import AtomicError, Redelivery, redeliver
from prefect_atomic.webhooks import saved_subscriptions

_STEP = 1.0
"""Per cent of progress that are worth telling the server."""


@flow(name="redeliver-webhooks")
def redeliver_webhooks_flow(subscriptions: list[str] | None = None, retry_exhausted: bool = False) -> list[Redelivery]:
    """Makes one attempt for each event that is due, oldest first for each subscription.

    A paused subscription is probed with one event, and resumed if that is delivered.

    Args:
        subscriptions: The slugs of the subscriptions; none = all that are saved.
        retry_exhausted: Whether to try those once more for which the schedule has no further attempt.

    Returns:
        What was done for each subscription.
    """
    logger = get_run_logger()
    slugs = saved_subscriptions() if subscriptions is None else subscriptions
    artifact = create_progress_artifact(progress=0.0, key="webhook-redelivery", description="Waiting webhook events")
    done: list[Redelivery] = []
    problems: dict[str, str] = {}
    told = 0.0
    for number, slug in enumerate(slugs):

        def report(seen: int, of: int, number: int = number) -> None:
            nonlocal told
            progress = 100 * (number + (seen / of if of else 1)) / len(slugs)
            if progress - told >= _STEP:
                told = progress
                update_progress_artifact(artifact, progress=progress)  # type: ignore[arg-type]

        try:
            result = redeliver(slug, retry_exhausted=retry_exhausted, report=report)
        except AtomicError as error:  # the others are not to wait for it
            problems[slug] = str(error)
            logger.error("%s: %s", slug, error)
        else:
            done.append(result)
            logger.info("%s: %d of %d delivered, %s", slug, result.delivered, result.found, result.state)
    update_progress_artifact(artifact, progress=100.0)  # type: ignore[arg-type]
    create_table_artifact(
        [_row(result) for result in done] + [{"subscription": slug, "state": text} for slug, text in problems.items()],
        key="webhook-redelivery-results",
        description="What waited for each webhook subscription, and what became of it.",
    )
    if problems:
        raise AtomicError(f"{len(problems)} of {len(slugs)} subscriptions could not be looked after; see the log.")
    return done


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

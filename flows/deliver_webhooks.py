"""Tells every webhook subscription of the events that it wants."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.filesystems import ReadableFileSystem, WritableFileSystem
from prefect.runtime import flow_run

from prefect_atomic import AtomicError, RequestError, WebhookSubscription, webhook
from prefect_atomic.tasks import paths
from prefect_atomic.tasks.progress import ProgressArtifact
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.webhooks import saved_subscriptions
from prefect_atomic.webhooks.event import complete
from prefect_atomic.webhooks.subscription import resolve

_AT_ONCE = 50
_STORAGES = Saved("storage", "local-file-system/events", RequestError)


@flow(name="deliver-webhooks")
def deliver_webhooks_flow(
    events: list[dict[str, Any]] | None = None,
    file: str | None = None,
    storage: str | None = None,
    subscriptions: list[str] | None = None,
    max_wait: float = 30.0,
) -> dict[str, dict[str, int]]:
    """Delivers each event to every subscription that wants its type.

    All events are checked before the first is sent: where one cannot be delivered, none is.

    Args:
        events: The events. Prefect shows a flow's parameters: what nobody may read belongs into a file.
        file: The path of a JSON Lines file with the events, one in a line; instead of `events`.
        storage: The slug of the file system block that has the file; none = the disk of this host.
        subscriptions: The slugs of the subscriptions; none = all that are saved.
        max_wait: The longest to wait before another attempt, in seconds; longer delays are left to redelivery.

    Returns:
        For each subscription, how many events were delivered, wait, or are kept while it is paused.

    Raises:
        RequestError: An event, a line or a subscription cannot be used; nothing was sent.
        AtomicError: Some could not be stored, and were not sent; all others were delivered, or wait.
    """
    if (events is None) == (file is None):
        raise RequestError("events, file: give one of them.")
    given = _listed(events) if events is not None else _lines(_content(str(file), storage), str(file))
    accepted = list(_complete(given))
    slugs = saved_subscriptions() if subscriptions is None else subscriptions
    to = {slug: resolve(slug) for slug in slugs}
    pairs = [(event, slug) for event in accepted for slug in slugs if to[slug].wants(event["type"])]
    for event, slug in pairs:
        try:
            to[slug].body_of(event)
        except RequestError as error:
            raise RequestError(f"{slug}: event {event['id']}: {error}") from None
    counts = {slug: Counter[str]() for slug in slugs}
    progress = ProgressArtifact("webhook-delivery", f"{len(pairs)} deliveries")
    done = 0
    for batch in _batches(pairs):
        for slug, state in _delivered(batch, to, max_wait):
            counts[slug][state] += 1
        done += len(batch)
        progress.tell(done / len(pairs))
    progress.end()
    rows = [
        {"subscription": slug, **{state: count[state] for state in ("delivered", "waiting", "paused", "failed")}}
        for slug, count in counts.items()
    ]
    create_table_artifact(rows, key="webhook-delivery-results", description="What became of the events.")
    get_run_logger().info("%d events, %d deliveries to %d subscriptions", len(accepted), len(pairs), len(slugs))
    if failed := sum(count["failed"] for count in counts.values()):
        raise AtomicError(f"{failed} of {len(pairs)} deliveries could not be accepted; their task runs say why.")
    return {slug: dict(count) for slug, count in counts.items()}


def _listed(events: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield from ((f"events: number {number}", event) for number, event in enumerate(events, 1))


def _lines(content: bytes, file: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            where = f"file: line {number} of {file}"
            try:
                event, problem = json.loads(line), None
            except UnicodeDecodeError:
                problem = "is not UTF-8"
            except json.JSONDecodeError as error:
                problem = f"is not JSON: {error}"
            except RecursionError:
                problem = "is not JSON that can be read: it is nested too deeply"
            if problem:  # outside: these errors hold the line, and nobody may read it with the failure
                raise RequestError(f"{where} {problem}")
            yield where, event


def _complete(given: Iterable[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    # The id is the same when Prefect runs this flow again, so that a receiver knows what it has already.
    run_id = flow_run.id
    for number, (where, event) in enumerate(given, 1):
        try:
            yield complete(event, fallback_id=f"evt_{uuid5(NAMESPACE_URL, f'prefect-flow-run:{run_id}:{number}').hex}")
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None


def _content(file: str, storage: str | None) -> bytes:
    if storage is None:
        with open(file, "rb") as opened:
            return opened.read()
    block = _STORAGES.load(storage)
    if not isinstance(block, ReadableFileSystem | WritableFileSystem):
        raise RequestError(f"storage: {storage!r} is a {type(block).__name__}, which is no file system.")
    return paths.read(block, file)


def _batches(pairs: list[tuple[dict[str, Any], str]]) -> Iterator[list[tuple[dict[str, Any], str]]]:
    rest = iter(pairs)
    while batch := list(islice(rest, _AT_ONCE)):
        yield batch


def _delivered(
    batch: list[tuple[dict[str, Any], str]], to: dict[str, WebhookSubscription], max_wait: float
) -> Iterator[tuple[str, str]]:
    futures = [(slug, webhook.submit(event, to[slug], max_wait=max_wait)) for event, slug in batch]
    for slug, future in futures:
        future.wait()
        yield slug, future.result().state if future.state.is_completed() else "failed"

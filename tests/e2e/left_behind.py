"""What runs leave behind, for a hunt to search: all log lines, what a Prefect API tells, what is behind an error."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from tests.e2e.prefect_server import PrefectServer


class Everything(logging.Handler):
    """Keeps every log record of this process: its text with the traceback, and what it was made of."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.seen: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        parts = {**record.__dict__, "exc_info": None, "flow": None}
        self.seen[f"{record.name}: {text}"] = None
        self.seen[re.sub(r"0x[0-9a-f]+|[0-9.]{6,}", "", f"{parts.get('msg')!r} {parts.get('args')!r}")] = None


@contextmanager
def everything_logged() -> Iterator[Everything]:
    handler = Everything()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    loggers += [logging.getLogger(name) for name in ("httpx", "httpcore.connection", "httpcore.http11", "asyncio")]
    levels = {logger: (logger.level, logger.disabled) for logger in loggers}
    others, logging.root.handlers = logging.root.handlers, []  # pytest's would keep and format all of it once more
    for logger in levels:
        logger.setLevel(logging.DEBUG)
        if logger.parent is None or not logger.propagate:
            logger.addHandler(handler)
    try:
        yield handler
    finally:
        for logger, (level, disabled) in levels.items():
            logger.setLevel(level)
            logger.disabled = disabled
            logger.removeHandler(handler)
        logging.root.handlers = others


def told_by_the_api(server: PrefectServer) -> Iterator[tuple[str, str]]:
    """Everything that anybody may read there, by the place it was found in."""
    for place, path in (
        ("API: flow runs", "flow_runs/filter"),
        ("API: flow runs", "flows/filter"),
        ("API: task runs", "task_runs/filter"),
        ("API: logs", "logs/filter"),
        ("API: artifacts", "artifacts/filter"),
        ("API: deployments", "deployments/filter"),
        ("API: deployments", "work_pools/filter"),
        ("API: block documents", "block_documents/filter"),
        ("API: block schemas", "block_schemas/filter"),
        ("API: block types", "block_types/filter"),
        ("API: variables", "variables/filter"),
    ):
        for item in server.all_of(path):
            yield place, json.dumps(item, ensure_ascii=False)
            if path == "flow_runs/filter":
                states = server.get("flow_run_states/", flow_run_id=item["id"])
                yield "API: states", json.dumps(states, ensure_ascii=False)
            if path == "task_runs/filter":
                yield "API: states", json.dumps(item["state"], ensure_ascii=False)
    events = server.post("events/filter", {"limit": 50})
    yield "API: events", json.dumps(events, ensure_ascii=False)
    while following := events.get("next_page"):
        events = server.client.get(following).raise_for_status().json()
        yield "API: events", json.dumps(events, ensure_ascii=False)


def behind(error: BaseException) -> list[str]:
    """Causes and contexts, also those that a traceback leaves out: what an error tracker may send along."""
    texts, todo, seen = [], [error.__cause__, error.__context__], {id(error)}
    while todo:
        if (behind := todo.pop()) is not None and id(behind) not in seen:
            seen.add(id(behind))
            texts.append(f"{type(behind).__name__}: {behind} {behind.args!r}")
            todo += [behind.__cause__, behind.__context__]
    return texts


def flush(server: PrefectServer) -> None:
    """Waits until what Prefect sends in the background has arrived."""
    APILogWorker.instance().drain()
    EventsWorker.instance().drain()
    before = -1
    while (now := server.post("events/count-by/day", {"filter": {}})) != before:
        before = now
        time.sleep(1)

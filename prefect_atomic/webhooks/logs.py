"""Keeps out of the logs what a receiver sends back of an event: in a header, or behind the status.

At DEBUG, httpcore and hpack log the headers of answers; httpx logs the reason phrase of each at INFO.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SHOW_HEADERS = ("httpcore.http11", "httpcore.http2", "hpack.hpack", "hpack.table")
_request_is_ours: ContextVar[bool] = ContextVar("prefect_atomic_webhook_is_sent", default=False)


@contextmanager
def hidden_answers() -> Iterator[None]:
    """Within it, no text of an answer is logged."""
    token = _request_is_ours.set(True)
    try:
        yield
    finally:
        _request_is_ours.reset(token)


class _AnswerFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _request_is_ours.get():
            return True
        if record.name == "httpx":
            if isinstance(record.args, tuple) and len(record.args) == 5:
                record.args = (*record.args[:4], "")  # the reason phrase
            return True
        return not record.name.startswith("hpack") and "receive_response_headers.complete" not in record.getMessage()


def _install() -> None:
    filter_ = _AnswerFilter()
    for name in ("httpx", *_SHOW_HEADERS):
        # Before the filter that masks secrets, which may have made one text of message and arguments.
        logging.getLogger(name).filters.insert(0, filter_)


_install()

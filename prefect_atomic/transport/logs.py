"""Keeps secrets out of what httpx, botocore and the libraries below them log.

httpx logs every URL at INFO; httpcore logs the headers of answers, hpack every header, and botocore whole requests and
answers at DEBUG. A filter on their loggers masks the secrets of the credentials in use, and the query values of the
requests that are ours.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

import httpx

from prefect_atomic.transport.redaction import redact_url, scrub

_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack.hpack",
    "hpack.table",
    "botocore.auth",
    "botocore.awsrequest",
    "botocore.endpoint",
    "botocore.handlers",
    "botocore.hooks",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.utils",
    "urllib3.connectionpool",
)
_REMEMBERED_AT_MOST = 512

_secrets: OrderedDict[str, None] = OrderedDict()
_lock = Lock()
_snapshot: tuple[str, ...] = ()
_request_is_ours: ContextVar[bool] = ContextVar("prefect_atomic_request_is_ours", default=False)
_answer_is_hidden: ContextVar[bool] = ContextVar("prefect_atomic_answer_is_hidden", default=False)
_OF_A_RESPONSE = 5  # the arguments that httpx logs for each: method, URL, version, status, reason phrase


def hide_in_logs(secrets: Iterable[str]) -> None:
    """Masks these in the loggers of the HTTP libraries from now on; the latest few hundred are remembered."""
    global _snapshot
    with _lock:
        before = len(_secrets)
        for secret in secrets:
            _secrets[secret] = None
            _secrets.move_to_end(secret)  # what is in use is not the oldest
        if len(_secrets) > before:
            while len(_secrets) > _REMEMBERED_AT_MOST:
                _secrets.popitem(last=False)
            _snapshot = tuple(_secrets)


@contextmanager
def hidden_queries() -> Iterator[None]:
    """Within it, no value of a URL's query is logged: callers put keys there, and signatures stand there."""
    token = _request_is_ours.set(True)
    try:
        yield
    finally:
        _request_is_ours.reset(token)


@contextmanager
def hidden_answers() -> Iterator[None]:
    """Within it, neither the headers nor the reason phrase of an answer are logged: they may echo what was sent."""
    token = _answer_is_hidden.set(True)
    try:
        yield
    finally:
        _answer_is_hidden.reset(token)


def _shows_an_answer(record: logging.LogRecord) -> bool:
    if record.name.startswith(("hpack", "botocore.parsers")):
        return True
    return "receive_response_headers.complete" in str(record.msg)


class _SecretFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _answer_is_hidden.get():
            if _shows_an_answer(record):
                return False
            if record.name == "httpx" and isinstance(record.args, tuple) and len(record.args) == _OF_A_RESPONSE:
                record.args = (*record.args[:-1], "")  # the reason phrase
        if _request_is_ours.get() and isinstance(record.args, tuple):
            record.args = tuple(redact_url(arg) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        if _snapshot:
            try:
                message = record.getMessage()
            except (TypeError, ValueError):  # a record that cannot be formatted is not printed either
                return True
            if (scrubbed := scrub(message, _snapshot, is_ours=_request_is_ours.get())) != message:
                record.msg, record.args = scrubbed, None
        return True


def _install() -> None:
    filter_ = _SecretFilter()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(filter_)


_install()


def _start_anew() -> None:
    """A lock that another thread holds at a fork would stay locked in the child."""
    global _lock
    _lock = Lock()


os.register_at_fork(after_in_child=_start_anew)

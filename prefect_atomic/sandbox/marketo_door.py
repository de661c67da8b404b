"""Who is let in to the sandbox's Marketo: calls that are small enough, with a good token, within all limits.

Sources: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/rest-api and …/rest/error-codes

Not known, and so here: a call that is refused for its rate counts for the rate; a day is from the last reset on. Those
without a good token, or of a method that is not served, count for no limit, as Adobe says.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect_atomic.sandbox.marketo_answers import Failed, fail
from prefect_atomic.sandbox.marketo_meter import Meter
from prefect_atomic.sandbox.marketo_request import stood_for
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.marketo_token import Identity
from prefect_atomic.sandbox.wire import Answer, Received, Refused, Turn

MOST_BODY = 1_000_000
MOST_URI = 8192


class Door:
    """Where calls come in, are counted, and wait."""

    def __init__(self, state: MarketoState, identity: Identity) -> None:
        self._state = state
        self._identity = identity
        self.reset()

    def reset(self) -> None:
        """Nobody has called."""
        self.meter = Meter()
        self._forced = 0

    @contextmanager
    def visit(self, path: str, methods: frozenset[str], received: Received) -> Iterator[Turn]:
        """From the arrival of a call until its answer was sent."""
        settings, meter = self._state.settings, self.meter
        method = stood_for(received).method
        meter.arrive(f"{method} {path}", settings.window_milliseconds / 1000)
        try:
            self._admit(received)
            if methods and method not in methods:
                fail(605, f"{method} not supported for this path")
            self._limit(received)
        except Refused as refusal:
            self.note(refusal)
            yield Turn(refusal=refusal.answer)
            return
        meter.enter()
        try:
            yield Turn(delay=settings.latency_milliseconds / 1000)
        finally:
            meter.leave()

    def note(self, refusal: Refused) -> None:
        """Counts a refusal by its code."""
        code = refusal.code if isinstance(refusal, Failed) else str(refusal.answer.status)
        self.meter.refused[code] += 1

    def _admit(self, received: Received) -> None:
        is_bulk = received.path.startswith("/marketo/bulk/")
        if len(received.path) + 1 + len(received.query) > MOST_URI:
            raise Refused(Answer.of_text("Request-URI Too Long", status=414))
        if len(received.body) > MOST_BODY and not is_bulk:
            raise Refused(Answer.of_text("Request Entity Too Large", status=413))
        self._identity.admit(self._state.settings, received)

    def _limit(self, received: Received) -> None:
        settings, meter = self._state.settings, self.meter
        seconds = settings.window_milliseconds / 1000
        in_window = meter.count(seconds)
        if settings.quota_after and meter.counted > settings.quota_after:
            fail(607, "Daily quota reached")
        if settings.enforce and meter.counted > settings.calls_per_day:
            fail(607, "Daily quota reached")
        if settings.enforce and in_window > settings.calls_per_window:
            fail(606, f"Max rate limit '{settings.calls_per_window}' exceeded with in '{seconds:g}' secs")
        if settings.enforce and meter.serving >= settings.concurrent_calls:
            fail(615, "Concurrent access limit reached")
        if settings.error_every and settings.error_path in received.path:
            self._forced += 1
            if self._forced % settings.error_every == 0:
                fail(settings.error_code, settings.error_message)

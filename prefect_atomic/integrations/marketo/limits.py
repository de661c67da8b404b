"""Calls in a window, at once and in a day, counted over all threads and processes that call the same instance.

The processes of a host count in files that the operating system locks: a process that is killed lets go at once. Hosts
count together where the Prefect server has global concurrency limits for the instance; see `shared_limits`.
"""

from __future__ import annotations

import os
import random
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from prefect.logging import get_logger

from prefect_atomic.errors import MarketoQuotaError
from prefect_atomic.integrations.marketo.shared_limits import shared_slot
from prefect_atomic.settings import limits_folder
from prefect_atomic.transport.retry import sleep

if TYPE_CHECKING:
    from filelock import FileLock

logger = get_logger("atomic.marketo")

WINDOW = 20.0
"""Seconds in which an instance takes so many calls."""

_POLLED_EVERY = 0.02
_LOOKS_UP_EVERY = 1.0
"""Seconds after which a thread that waits sees that it was given up."""

_DAY = struct.Struct("<qq")
_MOMENT = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an instance takes.

    Attributes:
        instance: Its host; all that call it share what it takes.
        per_window: Calls in any 20 seconds.
        at_once: Calls at the same time.
        per_day: Calls in a day of US Central time.
    """

    instance: str
    per_window: int
    at_once: int
    per_day: int

    def permit(self) -> Permit:
        """A permit for one call, not yet acquired."""
        return Permit(self)


class Permit:
    """Leave to make one call: `acquire` waits for it, and `release` says that the call is over.

    Whoever waits in a thread may be given up meanwhile: `release` ends that too.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = ExitStack()
        self._turn = Lock()
        self._is_waiting = False
        self._is_over = False

    def acquire(self) -> None:
        """Waits until the call may be made. In an event loop, call it in a thread.

        Raises:
            MarketoQuotaError: The calls of the day are used up; nothing is held.
        """
        with self._turn:
            self._is_waiting = True
        try:
            counters = _counters(self._limits.instance)
            try:
                self._wait(counters)
            except OSError as error:
                self._held.close()
                self._wait(_alone(self._limits.instance, counters, error))
        except BaseException:
            self._is_over = True
            raise
        finally:
            with self._turn:
                self._is_waiting = False
                is_over = self._is_over
            if is_over:
                self._held.close()

    def release(self) -> None:
        """Ends it; once is enough, and more do no harm."""
        with self._turn:
            self._is_over = True
            is_waiting = self._is_waiting
        if not is_waiting:
            self._held.close()

    def _wait(self, counters: _Counters) -> None:
        limits = self._limits
        gate = _gate(limits.instance, limits.at_once)
        while not gate.acquire(timeout=_LOOKS_UP_EVERY):
            self._go_on()
        self._held.callback(gate.release)
        self._held.enter_context(counters.slot(limits.at_once, self._go_on))
        self._held.enter_context(shared_slot(limits.instance))
        # Last, so that nothing is waited for between the count and the call.
        self._held.enter_context(counters.call(limits, self._go_on))

    def _go_on(self) -> None:
        if self._is_over:
            raise _GivenUpError


class _GivenUpError(Exception):
    """Nobody waits for the call any more."""


class _Counters:
    """The files of an instance.

    Args:
        folder: Where they are.
        instance: Whose they are.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        self._stem = str(folder / instance)

    @contextmanager
    def slot(self, most: int, go_on: Callable[[], None]) -> Iterator[None]:
        """Holds one of so many slots; while it waits for one, `go_on` may raise."""
        lock = self._taken(most)
        while lock is None:
            go_on()
            sleep(random.uniform(_POLLED_EVERY / 2, 2 * _POLLED_EVERY))  # noqa: S311 - jitter
            lock = self._taken(most)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def call(self, limits: Limits, go_on: Callable[[], None]) -> Iterator[None]:
        """Counts a call, and waits until it may be made; while it waits, `go_on` may raise.

        Its place in the window is free again 20 seconds after its end, by when the other side has surely counted it: so
        no window of the other side's has more calls, as long as none takes longer than a window. The place of one that
        was killed is free after two.
        """
        now = 0.0
        while True:
            go_on()
            with self._counted() as file:
                now = max(time.time(), now)
                today, count = self._counted_today(file, limits.per_day)
                place, free_at = _first_place(file, limits.per_window, now)
                if free_at <= now:
                    os.pwrite(file, _DAY.pack(today, count + 1), 0)
                    held_until = now + 2 * WINDOW
                    _write(file, place, held_until)
                    break
            # A call that ends meanwhile frees its place a window later: no earlier than that from now.
            seconds = min(free_at - now, WINDOW)
            sleep(seconds)
            now += seconds
        try:
            yield
        finally:
            with suppress(OSError), self._counted() as file:
                if _read(file, place) == held_until:  # else it took so long that the place is another one's
                    _write(file, place, time.time() + WINDOW)

    def _taken(self, most: int) -> FileLock | None:
        from filelock import FileLock, Timeout  # not before a request is made

        for number in random.sample(range(most), most):
            # A lock object of its own for each holder: they exclude each other, threads of one process included.
            lock = FileLock(f"{self._stem}.slot-{number}", mode=0o600, thread_local=False)
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return lock
        return None

    @contextmanager
    def _counted(self) -> Iterator[int]:
        from filelock import FileLock

        with FileLock(f"{self._stem}.lock", mode=0o600, poll_interval=_POLLED_EVERY):
            file = os.open(f"{self._stem}.calls", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                yield file
            finally:
                os.close(file)

    def _counted_today(self, file: int, most: int) -> tuple[int, int]:
        """Today, and how many calls it has had.

        Raises:
            MarketoQuotaError: So many that there may be no more.
        """
        today = _central(time.time()).toordinal()
        content = os.pread(file, _DAY.size, 0)
        day, count = _DAY.unpack(content) if len(content) == _DAY.size else (today, 0)
        count = count if day == today else 0
        if count >= most:
            until = next_day(time.time())
            raise MarketoQuotaError(
                f"calls_per_day: {count:,} calls were made today from here, and no more are to be; it may go on at "
                f"{until.isoformat()}, midnight in US Central time.",
                code="calls_per_day",
                until=until,
            )
        return today, count


def next_day(now: float) -> datetime:
    """When Marketo counts from zero again: the next midnight in US Central time."""
    midnight = _central(now).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return midnight + timedelta(days=1)


def _central(now: float) -> datetime:
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(now, ZoneInfo("America/Chicago"))


def _first_place(file: int, most: int, now: float) -> tuple[int, float]:
    """The first place of the window that is free, or will be, and from when on it is."""
    count = max(0, os.fstat(file).st_size - _DAY.size) // _MOMENT.size
    content = os.pread(file, count * _MOMENT.size, _DAY.size)
    # None is later than that: such a moment was written before the clock went back, or is no moment.
    latest = now + 3 * WINDOW
    moments = [moment if moment <= latest else 0.0 for (moment,) in _MOMENT.iter_unpack(content)]
    moments += [0.0] * (most - len(moments))
    if sum(moment > now for moment in moments) < most:
        return moments.index(min(moments)), now
    place = sorted(range(len(moments)), key=moments.__getitem__)[len(moments) - most]
    return place, moments[place]


def _read(file: int, place: int) -> float | None:
    content = os.pread(file, _MOMENT.size, _DAY.size + place * _MOMENT.size)
    return float(_MOMENT.unpack(content)[0]) if len(content) == _MOMENT.size else None


def _write(file: int, place: int, moment: float) -> None:
    os.pwrite(file, _MOMENT.pack(moment), _DAY.size + place * _MOMENT.size)


_gates: dict[tuple[str, int], BoundedSemaphore] = {}
_known: dict[str, _Counters] = {}
_making = Lock()


def _gate(instance: str, most: int) -> BoundedSemaphore:
    """Lets only so many threads of this process look for a slot."""
    with _making:
        return _gates.setdefault((instance, most), BoundedSemaphore(most))


def _counters(instance: str) -> _Counters:
    with _making:
        if instance not in _known:
            _known[instance] = _made(instance)
        return _known[instance]


def _made(instance: str) -> _Counters:
    folder = limits_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / f"{instance}.calls").touch(0o600)
    except OSError as error:
        return _made_alone(instance, folder, error)
    return _Counters(folder, instance)


def _alone(instance: str, failed: _Counters, error: OSError) -> _Counters:
    """Counters of this process alone, in place of those whose files failed."""
    with _making:
        if _known.get(instance) is failed:
            _known[instance] = _made_alone(instance, limits_folder(), error)
        return _known.setdefault(instance, failed)


def _made_alone(instance: str, folder: Path, error: OSError) -> _Counters:
    logger.warning(
        "%s cannot be written to (%s), so this process counts its calls to Marketo alone.", folder, error.strerror
    )
    return _Counters(Path(tempfile.mkdtemp(prefix="prefect-atomic-limits-")), instance)


def forget() -> None:
    """Begins anew in this process, as after a fork: a lock that another thread held would stay locked in the child."""
    global _making
    _making = Lock()
    _gates.clear()
    _known.clear()


os.register_at_fork(after_in_child=forget)

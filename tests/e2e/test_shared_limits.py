"""Limits that many hosts share: Prefect's global concurrency limits, held by a real server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from prefect_atomic import instant_retries
from prefect_atomic.integrations.marketo import shared_limits
from prefect_atomic.integrations.marketo.shared_limits import limit_names, shared_slot

if TYPE_CHECKING:
    from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.prefect_server


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shared_limits, "_found", {})
    monkeypatch.setattr(shared_limits, "_down_until", 0.0)
    monkeypatch.setattr(shared_limits, "_warned", False)
    with instant_retries():
        yield


def create(server: PrefectServer, name: str, limit: int, **about: Any) -> None:
    server.post("v2/concurrency_limits/", {"name": name, "limit": limit, "active": True, **about})


def active(server: PrefectServer, name: str) -> int:
    return int(server.get(f"v2/concurrency_limits/{name}")["active_slots"])


def test_the_names_of_the_limits_are_those_of_the_instance() -> None:
    assert limit_names("123-abc-456.mktorest.com") == ("marketo-123-abc-456-calls", "marketo-123-abc-456-concurrency")


def test_a_slot_is_taken_for_a_call_and_given_back(prefect_api: PrefectServer) -> None:
    _, at_once = limit_names("taken.mktorest.com")
    create(prefect_api, at_once, 2)
    with shared_slot("taken.mktorest.com"):
        assert active(prefect_api, at_once) == 1
        with shared_slot("taken.mktorest.com"):
            assert active(prefect_api, at_once) == 2
    assert active(prefect_api, at_once) == 0


def test_a_slot_is_given_back_after_an_error(prefect_api: PrefectServer) -> None:
    _, at_once = limit_names("error.mktorest.com")
    create(prefect_api, at_once, 1)
    with pytest.raises(RuntimeError), shared_slot("error.mktorest.com"):
        raise RuntimeError
    assert active(prefect_api, at_once) == 0


def test_where_all_slots_are_taken_one_is_waited_for(
    prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, at_once = limit_names("full.mktorest.com")
    create(prefect_api, at_once, 1)
    first = shared_slot("full.mktorest.com")
    first.__enter__()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            first.__exit__(None, None, None)

    monkeypatch.setattr(shared_limits, "sleep", wait)
    with shared_slot("full.mktorest.com"):
        assert active(prefect_api, at_once) == 1
    assert len(waits) >= 2
    assert all(seconds > 0 for seconds in waits)
    assert active(prefect_api, at_once) == 0


def test_a_call_takes_a_slot_that_decays(prefect_api: PrefectServer) -> None:
    calls, _ = limit_names("decays.mktorest.com")
    create(prefect_api, calls, 5, slot_decay_per_second=0.001)
    with shared_slot("decays.mktorest.com"):
        pass
    assert active(prefect_api, calls) == 1


def test_limits_that_there_are_not_limit_nothing(prefect_api: PrefectServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), shared_slot("absent.mktorest.com"):
        assert shared_limits._found.keys() == set(limit_names("absent.mktorest.com"))
    assert "could not be used" not in caplog.text


def test_without_the_prefect_api_it_warns_once_and_goes_on(
    prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down() -> Any:
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(shared_limits, "_client", down)
    entered = 0
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with shared_slot("down.mktorest.com"):
                entered += 1
    assert entered == 3
    assert caplog.text.count("could not be used") == 1

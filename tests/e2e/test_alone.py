"""One at a time, by the word of a real Prefect server: nobody else's, and no silence, says that it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from prefect_atomic.tasks.alone import alone
from tests.e2e.servers.faulty import Answer, CapturedRequest

if TYPE_CHECKING:
    from tests.e2e.prefect_server import PrefectServer
    from tests.e2e.servers.faulty import Behaviour, FaultServer

pytestmark = pytest.mark.prefect_server


def test_while_one_is_at_it_the_next_is_told_at_once(prefect_api: PrefectServer) -> None:
    with alone("one-at-a-time") as first:
        with alone("one-at-a-time") as second, alone("another") as other:
            assert (first, second, other) == (True, False, True)
        with alone("one-at-a-time") as third:
            assert not third  # the second gave back nothing that it did not have
    with alone("one-at-a-time") as fourth:
        assert fourth


def test_its_end_is_an_end_after_an_error_too(prefect_api: PrefectServer) -> None:
    with pytest.raises(RuntimeError), alone("with-an-error"):
        raise RuntimeError
    with alone("with-an-error") as ours:
        assert ours


@pytest.mark.parametrize("behaviour", [Answer(500), "hang"], ids=["fails", "hangs"])
def test_a_prefect_that_cannot_say_is_an_error_and_no_word_that_it_is_taken(
    behaviour: Behaviour, prefect_api: PrefectServer, fault_server: FaultServer
) -> None:
    def answer(request: CapturedRequest) -> Behaviour:
        if "increment" in request.path:
            return behaviour
        headers = {name: value for name, value in request.headers if name.lower() in ("authorization", "content-type")}
        said = httpx.request(
            request.method,
            prefect_api.url.removesuffix("/api") + request.target,
            headers=headers,
            content=request.body,
            trust_env=False,
        )
        return Answer(said.status_code, body=said.content)

    fault_server.handler = answer
    through = {
        PREFECT_API_URL: f"{fault_server.url}/api",
        PREFECT_API_REQUEST_TIMEOUT: 1.0,
        PREFECT_CLIENT_MAX_RETRIES: 0,
    }
    with temporary_settings(through), pytest.raises(ConcurrencySlotAcquisitionError), alone("who-knows"):
        raise AssertionError("nobody has said that this may begin")

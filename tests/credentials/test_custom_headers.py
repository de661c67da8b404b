"""CustomHeaders: sent as they were entered, and kept as secrets."""

from typing import Any

import httpx
import pytest

from prefect_atomic import CustomHeaders, send_request
from tests.e2e.servers.faulty import Answer, FaultServer


def test_every_header_is_sent_as_it_was_entered(provider: FaultServer) -> None:
    entered = {"X-Api-Key": "a b\tc", "x_tenant": "acme", "Authorization": 'Token token="s3cret"'}

    with httpx.Client(auth=CustomHeaders(headers=entered).auth()) as client:
        client.get(f"http://127.0.0.1:{provider.port}/")

    assert {name: provider.requests[0].header(name) for name in entered} == entered


def test_they_replace_what_the_client_would_send(sent_with: Any) -> None:
    request = sent_with(CustomHeaders(headers={"user-agent": "acme/1"}))

    assert request.headers.get_list("user-agent") == ["acme/1"]


@pytest.mark.parametrize("echoed", ["Bearer s3cret-of-the-header", "s3cret-of-the-header"])
def test_a_value_that_an_answer_echoes_is_masked(provider: FaultServer, echoed: str) -> None:
    provider.handler = lambda sent: Answer(body=f"you sent {echoed}, thank you".encode())
    credential = CustomHeaders(headers={"Authorization": "Bearer s3cret-of-the-header"})

    answer = send_request.fn("GET", f"http://127.0.0.1:{provider.port}/", credential=credential)

    assert answer.text == "you sent ***, thank you"


def test_a_media_type_is_not_masked(provider: FaultServer) -> None:
    provider.handler = lambda sent: Answer(body=b"application/json it is")
    credential = CustomHeaders(headers={"Accept": "application/json", "X-Api-Key": "s3cret-of-the-header"})

    answer = send_request.fn("GET", f"http://127.0.0.1:{provider.port}/", credential=credential)

    assert answer.text == "application/json it is"

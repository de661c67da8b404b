"""Errors travel: they are pickled into results and between processes, printed, and judged by Prefect's retries."""

import pickle
import traceback

import cloudpickle
import pytest

import prefect_atomic
from prefect_atomic import (
    AtomicError,
    CredentialError,
    CustomHeaders,
    DestinationError,
    InvocationError,
    InvocationOutcome,
    RequestError,
    Response,
    ResponseError,
    TransportError,
    instant_retries,
    send_request,
)
from prefect_atomic.transport import Headers
from tests.e2e.servers.faulty import Answer, FaultServer

SECRET = "hunter2-is-a-long-secret"
RESPONSE = Response(
    status_code=503, headers=Headers([("A", "1"), ("a", "2")]), content=b"\xff", url="u", elapsed=1, attempts=3
)
ERRORS = [
    AtomicError("why"),
    CredentialError("why", transient=True),
    DestinationError("why"),
    RequestError("why"),
    TransportError("why", transient=True, retry_after=2.5),
    ResponseError("why", response=RESPONSE, transient=True, retry_after=7),
    InvocationError("why", outcomes=(InvocationOutcome(position=0, flow_invocation_id="1", state="refused"),)),
]


@pytest.fixture
def server():
    with FaultServer() as server, instant_retries():
        yield server


@pytest.mark.parametrize("library", [pickle, cloudpickle])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_as_it_is(library, error):
    copy = library.loads(library.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
    assert library.loads(library.dumps(copy)).__dict__ == error.__dict__


def test_notes_survive_pickling():
    error = TransportError("why")
    error.add_note("while the contacts were fetched")

    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while the contacts were fetched"]  # noqa: S301


def test_every_error_is_one_of_ours_and_public():
    for error in ERRORS:
        assert isinstance(error, AtomicError)
        assert getattr(prefect_atomic, type(error).__name__) is type(error)


def test_a_refused_request_is_told_in_one_line(server):
    server.script([Answer(422, [("Content-Type", "application/json")], b'{"error":\n  "no such field: mial"}')])

    with pytest.raises(ResponseError) as error:
        send_request.fn("POST", f"{server.url}/contacts?key={SECRET}", json={"mial": 1})

    assert str(error.value) == (
        f'POST {server.url}/contacts?key=*** answered 422 Unprocessable Entity: {{"error": "no such field: mial"}}'
    )
    assert error.value.response.json() == {"error": "no such field: mial"}
    assert not error.value.transient


@pytest.mark.parametrize("status", [299, 418, 599])
def test_a_status_without_a_name_is_told_too(server, status):
    server.script([Answer(status)])

    if status == 299:
        assert send_request.fn("GET", f"{server.url}/p").is_success
    else:
        with pytest.raises(ResponseError, match=f"answered {status}"):
            send_request.fn("GET", f"{server.url}/p")


URL_OF = {"https": lambda server: server.url.replace("http", "https")}
FAILURES = {
    "answer": {},
    "reset": {},
    "garbage": {},
    "not-gzip": {},
    "https": {"timeout": 0.2},
    "private": {"allow_private_networks": False},
    "host": {"credential": CustomHeaders(headers={"X-Key": SECRET}, allowed_hosts=["example.com"])},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_printed_traceback_holds_a_secret(server, failure):
    """The secret is in a header, in the path and in the query of each, and the server sends it back."""
    answer = Answer(400, [("X-Echo", SECRET)], f"bad {SECRET}".encode())
    server.handler = lambda request: failure if failure in ("reset", "garbage", "not-gzip") else answer
    url = URL_OF.get(failure, lambda server: server.url)(server)
    options = {"credential": CustomHeaders(headers={"X-Key": SECRET}), **FAILURES[failure]}

    with pytest.raises(AtomicError) as error:
        send_request.fn("GET", f"{url}/{SECRET}?key={SECRET}", **options)

    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
    assert SECRET.encode() not in pickle.dumps(error.value)


def test_a_secret_in_the_path_is_masked_if_it_is_the_credentials(server):
    server.handler = lambda request: Answer(404)

    with pytest.raises(ResponseError) as error:
        send_request.fn("GET", f"{server.url}/{SECRET}", credential=CustomHeaders(headers={"X-Key": SECRET}))

    assert SECRET not in str(error.value)
    assert SECRET not in error.value.response.url


def test_an_error_of_the_callers_own_stays_its_context(server):
    server.handler = lambda request: Answer(404)

    def after_an_error_of_theirs():
        try:
            raise KeyError("theirs")
        except KeyError:
            send_request.fn("GET", f"{server.url}/p")

    with pytest.raises(ResponseError) as error:
        after_an_error_of_theirs()

    assert isinstance(error.value.__context__, KeyError)

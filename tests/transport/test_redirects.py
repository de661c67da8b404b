"""A redirect is followed only if asked for, and takes no proof to anybody the credential does not name."""

import re
from datetime import datetime
from unittest.mock import patch

import botocore.auth
import httpx
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from prefect_atomic import (
    AWSSignedRequest,
    BasicAuth,
    CustomHeaders,
    DestinationError,
    ResponseError,
    TransportError,
    send_request,
)
from prefect_atomic.transport import Policy, outgoing, private_networks
from prefect_atomic.transport.exchange import Received, converse
from tests.e2e.servers.faulty import Answer, FaultServer

SECRET = "hunter2-is-a-long-secret"
OTHER = "localhost"
"""Another name of the servers: another host, and so another origin."""


def to(location, status=302, **options) -> Answer:
    return Answer(status, [("Location", location)], **options)


def aws(**options) -> AWSSignedRequest:
    return AWSSignedRequest(
        access_key_id="AKID", secret_access_key=SECRET, service="execute-api", region="eu-west-1", **options
    )


def test_a_redirect_is_an_error_that_says_where_it_leads(send, server):
    server.script([to("/new?key=hunter2")])

    with pytest.raises(ResponseError, match=r"leads to /new\?key=\*\*\*; follow_redirects=True would follow") as error:
        send("GET", f"{server.url}/p")

    assert error.value.response.headers["location"] == "/new?key=hunter2"
    assert len(server.requests) == 1


def test_a_redirect_comes_back_where_a_status_is_no_error(send, server):
    server.script([to("/new", 307)])

    assert send("GET", f"{server.url}/p", raise_for_status=False).status_code == 307


@pytest.mark.parametrize("location", ["/new?a=1&a=2&b", "new?a=1&a=2&b", "{url}/new?a=1&a=2&b"])
def test_a_redirect_is_followed_to_where_it_leads(send, server, location):
    server.script([to(location.format(url=server.url))])

    response = send("GET", f"{server.url}/p?x=1", follow_redirects=True)

    assert server.requests[1].target == "/new?a=1&a=2&b"
    assert response.url == f"{server.url}/new?a=***&a=***&b"
    assert response.attempts == 1


def test_the_path_as_it_was_written_is_not_sent_to_the_next_hop(send, server):
    server.script([to("/new")])

    send("GET", f"{server.url}/a/../b", follow_redirects=True)

    assert [request.target for request in server.requests] == ["/a/../b", "/new"]


METHODS = [
    (301, "POST", "GET"),
    (302, "POST", "GET"),
    (303, "POST", "GET"),
    (303, "PUT", "GET"),
    (302, "PUT", "GET"),
    (301, "PUT", "PUT"),
    (307, "POST", "POST"),
    (308, "PUT", "PUT"),
    (303, "HEAD", "HEAD"),
    (302, "HEAD", "HEAD"),
]


@pytest.mark.parametrize(("status", "method", "then"), METHODS)
def test_the_method_changes_as_the_status_says_and_a_get_has_no_body(send, server, status, method, then):
    server.script([to("/new", status)])
    body = {} if method == "HEAD" else {"json": {"a": 1}}

    send(method, f"{server.url}/p", follow_redirects=True, **body)

    second = server.requests[1]
    assert second.method == then
    assert second.body == (b'{"a":1}' if then not in ("GET", "HEAD") else b"")
    if then == "GET":
        assert second.header("Content-Type") is None
        assert second.header("Content-Length") is None


def test_a_stream_is_not_sent_to_a_second_place(server):
    server.script([to("/new", 307)])

    with pytest.raises(ResponseError, match="which cannot be followed: the body cannot be sent twice"):
        send_request.fn("PUT", f"{server.url}/p", content=iter([b"once"]), follow_redirects=True)

    assert len(server.requests) == 1


def test_redirects_that_lead_nowhere_end(send, server):
    server.handler = lambda request: to("/again?key=hunter2")

    with pytest.raises(DestinationError, match=r"more than 10 times; the last one led to .*/again\?key=\*\*\*"):
        send("GET", f"{server.url}/p", follow_redirects=True)

    assert len(server.requests) == 11


UNREADABLE = [
    "mailto:a@example.com",
    "javascript:alert(1)",
    "ftp://example.com/",
    "https://xn--a/",
    "http://[",
    "https://exa mple.com/",
    f"https://{'a' * 64}.com/",
    "http://example.com:99999/",
    "http://example.com:port/",
    "https://..../",
]


@pytest.mark.parametrize("location", UNREADABLE)
@pytest.mark.parametrize("follow", [True, False])
def test_a_location_that_is_no_url_is_an_answer_like_any_other(send, server, location, follow):
    server.script([to(location)])

    with pytest.raises(ResponseError, match="answered 302 Found and leads to") as error:
        send("GET", f"{server.url}/p", follow_redirects=follow)

    assert error.value.response.headers["location"] == location
    assert ("which cannot be followed" in str(error.value)) == follow
    assert len(server.requests) == 1


def test_the_same_origin_gets_a_fresh_proof(send, server):
    server.script([to("/new?b=2")])

    send("GET", f"{server.url}/p?a=1", credential=aws(), follow_redirects=True)

    first, second = (request.header("Authorization") for request in server.requests)
    assert first.startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert second.startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert first != second
    assert second == signed_with_botocore(server.requests[1])


def test_the_same_origin_gets_a_fresh_signature_in_the_query(send, server):
    server.handler = lambda request: to(request.target.replace("/p?", "/new?")) if request.path == "/p" else "ok"

    send("GET", f"{server.url}/p?a=1", credential=aws(sign_query=True), follow_redirects=True)

    signatures = [re.findall("X-Amz-Signature=([0-9a-f]+)", request.query) for request in server.requests]
    assert [len(found) for found in signatures] == [1, 1]
    assert signatures[0] != signatures[1]
    assert server.requests[1].query.startswith("a=1&X-Amz-")


def signed_with_botocore(request) -> str:
    """The signature that AWS's Python SDK puts on the same request at the same moment."""
    sent = AWSRequest(
        request.method, f"http://{request.header('Host')}{request.target}", {"Host": request.header("Host")}
    )
    moment = datetime.strptime(request.header("X-Amz-Date"), "%Y%m%dT%H%M%SZ")  # noqa: DTZ007
    with patch.object(botocore.auth, "get_current_datetime", lambda: moment, create=True):
        signer = botocore.auth.SigV4Auth(Credentials("AKID", SECRET), "execute-api", "eu-west-1")
        signer.add_auth(sent)
    return sent.headers["Authorization"]


CREDENTIALS = {
    "basic": lambda **options: BasicAuth(username="me", password=SECRET, **options),
    "headers": lambda **options: CustomHeaders(headers={"X-Key": SECRET, "Accept": "text/csv"}, **options),
    "aws": aws,
}


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_another_origin_gets_no_proof(send, server, other, credential):
    server.script([to(f"{other.url}/new")])

    send("GET", f"{server.url}/p", credential=CREDENTIALS[credential](), follow_redirects=True)

    assert {name.lower() for name, _ in other.requests[0].headers} == {
        *("host", "accept", "accept-encoding", "user-agent")
    }
    assert other.requests[0].header("Accept") == "*/*"
    assert other.requests[0].header("Host") == f"127.0.0.1:{other.port}"
    assert SECRET.encode() not in other.requests[0].raw


def test_another_origin_gets_no_signed_query_that_the_first_one_echoes(send, server, other):
    server.handler = lambda request: to(f"{other.url}{request.target}&more=1")

    send("GET", f"{server.url}/p?a=1&a=2", credential=aws(sign_query=True), follow_redirects=True)

    assert other.requests[0].target == "/p?a=1&a=2&more=1"


def test_a_signed_url_of_somebody_else_is_followed_as_it_is(send, server, other):
    theirs = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
    server.script([to(f"{other.url}/object?{theirs}")])

    send("GET", f"{server.url}/p", credential=aws(sign_query=True), follow_redirects=True)

    assert other.requests[0].query == theirs


def test_a_host_that_allowed_hosts_names_gets_a_proof_of_its_own(send, server, other):
    server.script([to(f"{other.url}/new")])
    credential = BasicAuth(username="me", password=SECRET, allowed_hosts=["127.0.0.1"])

    send("GET", f"{server.url}/p", credential=credential, follow_redirects=True)

    assert other.requests[0].header("Authorization") == server.requests[0].header("Authorization")


def test_a_host_that_allowed_hosts_does_not_name_gets_nothing_at_all(send, server, other):
    server.script([to(f"http://{OTHER}:{other.port}/new")])
    credential = BasicAuth(username="me", password=SECRET, allowed_hosts=["127.0.0.1"])

    with pytest.raises(DestinationError, match=f"may not be used at {OTHER}: its allowed_hosts are 127.0.0.1"):
        send("GET", f"{server.url}/p", credential=credential, follow_redirects=True)

    assert other.connections == 0


def test_who_left_the_origin_comes_back_without_a_proof(send, server, other):
    """Otherwise the other origin decides what is done here in the credential's name."""
    server.script([to(f"{other.url}/new")])
    other.script([to(f"{server.url}/delete-everything")])

    send("GET", f"{server.url}/p", credential=BasicAuth(username="me", password=SECRET), follow_redirects=True)

    assert server.requests[0].header("Authorization") is not None
    assert server.requests[1].header("Authorization") is None


def hops_of(locations, credential, start) -> list[tuple[str, bool]]:
    """The URLs that are asked if each answer redirects to the next location, and whether a proof was due there."""
    conversation = converse(outgoing("GET", start), credential, Policy(follow_redirects=True))
    hops, outcome, locations = [], None, iter(locations)
    client = httpx.Client()
    try:
        while True:
            step = conversation.send(outcome)
            hops.append((str(step.request.url), step.auth is not None))
            location = next(locations, None)
            response = httpx.Response(302 if location else 200, request=step.request)
            if location:
                response.headers["Location"] = location
                response.next_request = client._build_redirect_request(step.request, response)
            outcome = Received(response, b"")
    except StopIteration:
        return hops
    finally:
        client.close()


A, B, CLEAR = "https://a.example.com/", "https://b.example.com/", "http://a.example.com/"


@pytest.mark.parametrize(
    ("locations", "allowed", "proofs"),
    [
        ([A + "x"], [], [True, True]),
        ([B], [], [True, False]),
        ([B, A], [], [True, False, False]),
        ([B, A], ["*.example.com"], [True, True, True]),
        ([CLEAR], [], [True, False]),
        ([CLEAR], ["a.example.com"], [True, False]),
        ([CLEAR, A], ["a.example.com"], [True, False, True]),
        ([CLEAR, "http://b.example.com/"], ["*.example.com"], [True, False, False]),
        (["https://a.example.com:443/x"], [], [True, True]),
        (["https://a.example.com:8443/x"], [], [True, False]),
        (["https://A.EXAMPLE.com/x"], [], [True, True]),
        (["https://a.example.com./x"], [], [True, False]),
        (["//b.example.com/x"], [], [True, False]),
    ],
)
def test_a_proof_goes_where_it_may_and_never_in_the_clear(locations, allowed, proofs):
    credential = BasicAuth(username="me", password=SECRET, allowed_hosts=allowed)

    assert [proof for _, proof in hops_of(locations, credential, A)] == proofs


def test_the_callers_own_secrets_stay_with_the_origin(send, server, other):
    own = {"Authorization": "Bearer mine", "Cookie": "session=mine", "Host": "crm.example.com", "X-Tag": "1"}
    server.script([to("/same"), to(f"{other.url}/new")])

    send("GET", f"{server.url}/p", headers=own, follow_redirects=True)

    assert [server.requests[1].header(name) for name in own] == list(own.values())
    assert [other.requests[0].header(name) for name in own] == [None, None, f"127.0.0.1:{other.port}", "1"]


def test_a_post_that_was_redirected_is_not_sent_again(send, server):
    """Whoever answered 303 has done what was asked; that the page after it cannot be had changes nothing."""
    with FaultServer() as gone:
        nowhere = gone.url
    server.script([to(f"{nowhere}/done", 303)])

    with pytest.raises(TransportError, match=f"GET {nowhere}/done could not connect"):
        send("POST", f"{server.url}/pay", json={}, follow_redirects=True)

    assert len(server.requests) == 1


def test_a_repeatable_request_begins_anew_after_a_fault_at_a_later_hop(send, server, other):
    server.handler = lambda request: to(f"{other.url}/new")
    other.script(["reset"])

    response = send("GET", f"{server.url}/p", follow_redirects=True)

    assert response.attempts == 2
    assert [len(server.requests), len(other.requests)] == [2, 2]


def test_a_redirect_to_a_private_address_is_refused(send, server, monkeypatch):
    monkeypatch.setattr(private_networks, "is_public", lambda address: address == "127.0.0.1")
    server.script([to("http://169.254.169.254/latest/meta-data")])

    with pytest.raises(DestinationError, match=r"169\.254\.169\.254, which is not a public address"):
        send("GET", f"{server.url}/p", follow_redirects=True, allow_private_networks=False)

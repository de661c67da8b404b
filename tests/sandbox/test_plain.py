"""The service that needs no proof."""

import hashlib

import httpx
import pytest


def test_the_echo_shows_what_arrived_and_fingerprints_secrets(send):
    secret = "Bearer something"

    content = send(
        "PUT",
        "/echo//a/%2e%2E/./b%20c?x=%41&x=+&y",
        headers=[("Authorization", secret), ("X-Api-Key", "key"), ("X-Plain", "plain")],
        body=b"body",
    ).json()

    fingerprint = "sha256:" + hashlib.sha256(secret.encode()).hexdigest()[:16]
    assert content["method"] == "PUT"
    assert content["path"] == "/echo//a/%2e%2E/./b%20c"
    assert content["query"] == "x=%41&x=+&y"
    assert content["body_sha256"] == hashlib.sha256(b"body").hexdigest()
    assert ["authorization", fingerprint] in content["headers"]
    assert ["x-plain", "plain"] in content["headers"]
    assert "key" not in dict(content["headers"])["x-api-key"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_goes_where_it_is_told(status, send):
    reply = send("POST", f"/redirect?to=https%3A%2F%2Fother.example%2Fa%2F..%2Fb%3Fc%3Dd&status={status}")

    assert (reply.status, reply.headers["Location"]) == (status, "https://other.example/a/../b?c=d")


def test_a_redirect_to_nowhere_or_by_another_status_is_refused(send):
    assert send("GET", "/redirect").status == 400
    assert send("GET", "/redirect?to=/&status=200").status == 400


@pytest.mark.parametrize("status", [200, 204, 404, 418, 503, 599])
def test_any_status_can_be_had(status, send):
    assert send("GET", f"/status/{status}").status == status


@pytest.mark.parametrize("target", ["/status/1000", "/status/100", "/status/x", "/status", "/bytes/-1", "/bytes"])
def test_a_number_that_cannot_be_is_refused(target, send):
    assert send("GET", target).status == 400


@pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
def test_bytes_are_streamed(size, send):
    reply = send("GET", f"/bytes/{size}")

    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert len(reply.body) == size


def test_gzip_is_gzip_and_the_other_is_not(sandbox):
    assert httpx.get(f"{sandbox.url}/gzip").json() == {"gzip": True}
    with pytest.raises(httpx.DecodingError):
        httpx.get(f"{sandbox.url}/not-gzip")


def test_a_path_that_nobody_serves_points_to_the_index(send):
    reply = send("GET", "/verify/nothing")

    assert reply.status == 404
    assert "GET /_sandbox lists" in reply.json()["error"]
    assert b"/oauth/token" in send("GET", "/_sandbox").body


def test_a_method_that_is_not_served_is_refused(send):
    reply = send("GET", "/oauth/token")

    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


def test_a_head_request_has_no_body(send):
    reply = send("HEAD", "/echo")

    assert (reply.status, reply.body) == (200, b"")

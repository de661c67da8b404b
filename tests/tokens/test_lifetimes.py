"""How long a token is served: to the moment, and no longer than its provider says."""

import json
from itertools import count

import httpx
import pytest
import time_machine

from prefect_atomic import GoogleServiceAccount, KeyPair, OAuthClientCredentials, SalesforceData360
from tests.e2e.servers.faulty import Answer, FaultServer

MOMENT = 1_900_000_000
RSA = KeyPair.generate("RS256").private_key


@pytest.fixture
def provider():
    """Hands out a new token for each request; `expiry` is what its answers say of it."""
    numbers = count(1)

    def answer(request):
        content = {"access_token": f"token-{next(numbers)}", "instance_url": "tenant.example.com", **server.expiry}
        return Answer(headers=[("Content-Type", "application/json")], body=json.dumps(content).encode())

    with FaultServer() as server:
        server.expiry = {}
        server.handler = answer
        yield server


@pytest.fixture
def oauth(provider):
    return OAuthClientCredentials(identity_url=provider.url, client_id="me", client_secret="s3cret")


def token_of(credential):
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport, auth=credential.auth()) as api:
        return api.get("https://api.example.com").request.headers["authorization"]


@pytest.fixture(params=["oauth", "key pair", "short key pair", "google", "data 360"])
def credential_and_lifetime(request, provider, oauth):
    match request.param:
        case "oauth":
            return oauth, 45
        case "key pair":
            return KeyPair(private_key=RSA, issuer="me"), 0.9 * 3600
        case "short key pair":
            return KeyPair(private_key=RSA, issuer="me", expires_in=10), 9
        case "google":
            google = GoogleServiceAccount(client_email="me@example.com", private_key=RSA, audience="https://a.example")
            return google, 300
        case "data 360":
            return SalesforceData360(login_url=provider.url, client_id="me", client_secret="s3cret"), 300


def test_a_token_is_fetched_again_at_the_boundary_and_not_before(credential_and_lifetime):
    credential, lifetime = credential_and_lifetime
    with time_machine.travel(MOMENT, tick=False) as clock:
        first = token_of(credential)
        clock.move_to(MOMENT + lifetime - 0.001)
        assert token_of(credential) == first

        clock.move_to(MOMENT + lifetime)
        second = token_of(credential)

        assert second != first
        assert token_of(credential) == second


@pytest.mark.parametrize(
    ("expiry", "served"),
    [
        ({}, 45),
        ({"expires_in": None}, 45),
        ({"expires_in": "soon"}, 45),
        ({"expires_in": "NaN"}, 45),
        ({"expires_in": 7200}, 45),
        ({"expires_in": 50}, 45),
        ({"expires_in": 49}, 44.1),
        ({"expires_in": 20}, 18),
        ({"expires_in": "20"}, 18),
        ({"expires_in": 1}, 0.9),
    ],
)
def test_a_shorter_life_caps_the_lifetime(provider, oauth, expiry, served):
    provider.expiry = expiry
    with time_machine.travel(MOMENT, tick=False) as clock:
        token_of(oauth)
        clock.move_to(MOMENT + served - 0.001)
        token_of(oauth)
        assert len(provider.requests) == 1

        clock.move_to(MOMENT + served)
        token_of(oauth)
        assert len(provider.requests) == 2


def test_a_long_lifetime_ends_five_seconds_before_the_token(provider):
    provider.expiry = {"expires_in": 600}
    patient = OAuthClientCredentials(
        identity_url=provider.url, client_id="me", client_secret="s3cret", cache_seconds=3600
    )
    with time_machine.travel(MOMENT, tick=False) as clock:
        token_of(patient)
        clock.move_to(MOMENT + 594.999)
        token_of(patient)
        assert len(provider.requests) == 1

        clock.move_to(MOMENT + 595)
        token_of(patient)
        assert len(provider.requests) == 2


@pytest.mark.parametrize("expires_in", [0, -1, -3600, "0"])
def test_a_token_without_life_is_used_for_this_request_only(provider, oauth, expires_in):
    provider.expiry = {"expires_in": expires_in}
    with time_machine.travel(MOMENT, tick=False):
        tokens = [token_of(oauth) for _ in range(3)]

    assert len(set(tokens)) == 3


def test_a_clock_that_went_backwards_is_a_miss(provider, oauth):
    with time_machine.travel(MOMENT, tick=False) as clock:
        first = token_of(oauth)
        clock.move_to(MOMENT - 1)

        assert token_of(oauth) != first

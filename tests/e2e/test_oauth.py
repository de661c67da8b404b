"""Client credentials at oidc-provider, a certified authorization server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from prefect_atomic import (
    CredentialError,
    CustomHeaders,
    OAuthClientCredentials,
    ResponseError,
    asend_request,
    send_request,
)
from tests.e2e.servers import oidc

if TYPE_CHECKING:
    from tests.e2e.servers.oidc import OidcServer

pytestmark = pytest.mark.e2e

WAYS = [("post_client", "parameters"), ("basic_client", "basic")]


def signing_in(server: OidcServer, holder: str, authentication: str, **fields: Any) -> OAuthClientCredentials:
    client: oidc.OidcClient = getattr(server, holder)
    given = {"client_id": client.id, "client_secret": client.secret, "client_authentication": authentication}
    return OAuthClientCredentials(**{"identity_url": server.token_url, **given, **fields})


@pytest.mark.parametrize(("holder", "authentication"), WAYS)
def test_the_token_is_good_at_the_providers_api(oidc_server: OidcServer, holder: str, authentication: str) -> None:
    answer = send_request.fn("GET", oidc_server.api_url, credential=signing_in(oidc_server, holder, authentication))

    assert answer.status_code == 200
    assert getattr(oidc_server, holder).id in answer.text


@pytest.mark.parametrize(("holder", "authentication"), WAYS)
def test_the_provider_vouches_for_the_token(oidc_server: OidcServer, holder: str, authentication: str) -> None:
    credential = signing_in(oidc_server, holder, authentication, scope="api:read api:write")

    said = oidc_server.introspect(credential._token().token.value)

    assert said["active"]
    assert said["client_id"] == getattr(oidc_server, holder).id
    assert set(said["scope"].split()) == set(credential.check().scopes) == {"api:read", "api:write"}


def test_requests_of_both_kinds_share_one_token(oidc_server: OidcServer) -> None:
    credential, before = signing_in(oidc_server, *WAYS[0]), oidc_server.token_requests()

    async def ask() -> int:
        return (await asend_request.fn("GET", oidc_server.api_url, credential=credential)).status_code

    assert send_request.fn("GET", oidc_server.api_url, credential=credential).status_code == 200
    assert anyio.run(ask) == 200
    assert oidc_server.token_requests() - before == 1


@pytest.mark.parametrize(("holder", "authentication"), WAYS)
def test_a_token_that_was_taken_back_is_renewed(oidc_server: OidcServer, holder: str, authentication: str) -> None:
    credential = signing_in(oidc_server, holder, authentication)
    credential.check()
    oidc_server.revoke(credential._token().token.value, getattr(oidc_server, holder))

    assert send_request.fn("GET", oidc_server.api_url, credential=credential).status_code == 200


@pytest.mark.parametrize(("holder", "authentication"), WAYS)
def test_a_wrong_secret_is_an_error_that_shows_no_secret(
    oidc_server: OidcServer, holder: str, authentication: str
) -> None:
    credential = signing_in(oidc_server, holder, authentication, client_secret="hunter2: %+ the wrong one")

    with pytest.raises(CredentialError, match="invalid_client") as refusal:
        send_request.fn("GET", oidc_server.api_url, credential=credential)

    assert "hunter2" not in str(refusal.value)
    assert not refusal.value.transient


def test_a_scope_that_is_refused_is_an_error_that_names_it(oidc_server: OidcServer) -> None:
    with pytest.raises(CredentialError, match="invalid_scope"):
        signing_in(oidc_server, *WAYS[0], scope="api:admin").check()


@pytest.mark.parametrize("scheme", ["post_query", "get_query"])
def test_a_provider_that_wants_no_query_refuses_the_schemes_that_send_one(oidc_server: OidcServer, scheme: str) -> None:
    credential = signing_in(oidc_server, *WAYS[0], request_scheme=scheme)

    with pytest.raises(CredentialError, match=r"answered 40[04]") as refusal:
        credential.check()

    assert oidc_server.post_client.secret not in str(refusal.value)


def test_a_token_of_somebody_else_is_refused(oidc_server: OidcServer) -> None:
    with pytest.raises(ResponseError, match="answered 401"):
        send_request.fn(
            "GET", oidc_server.api_url, credential=CustomHeaders(headers={"Authorization": "Bearer not-theirs"})
        )

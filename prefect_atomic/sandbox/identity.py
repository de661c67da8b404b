"""An OAuth provider: the client credentials grant in the three schemes in which providers are found to want it."""

from functools import partial

from prefect_atomic.sandbox import oauth
from prefect_atomic.sandbox.accounts import OAuthAccount
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Route

LIFETIME = 3600


def routes(account: OAuthAccount, tokens: Tokens) -> list[Route]:
    """The token endpoints."""
    in_body = partial(_token_by_body, account, tokens)
    in_query = partial(_token_by_query, account, tokens)
    post, get = frozenset({"POST"}), frozenset({"GET"})
    return [
        Route("/oauth/token", in_body, "client credentials in the body, or the client in HTTP Basic", post),
        Route("/oauth/token-query", in_query, "client credentials in the query of a POST", post),
        Route("/oauth/token-get", in_query, "client credentials in the query of a GET", get),
    ]


def _token_by_body(account: OAuthAccount, tokens: Tokens, received: Received) -> Answer:
    return _grant(account, tokens, oauth.form(received), received)


def _token_by_query(account: OAuthAccount, tokens: Tokens, received: Received) -> Answer:
    stray = oauth.named(received.form_pairs)
    if stray:
        oauth.refuse("invalid_request", f"this endpoint reads the query only; the body has {', '.join(stray)}")
    if received.header("authorization") is not None:
        oauth.refuse("invalid_request", "this endpoint reads the query only; leave the Authorization header out")
    return _grant(account, tokens, oauth.parameters(received.query_pairs), received)


def _grant(account: OAuthAccount, tokens: Tokens, given: dict[str, str], received: Received) -> Answer:
    oauth.require_grant(given, "client_credentials")
    client = oauth.client(received, given)
    oauth.require_client(client, client_id=account.client_id, client_secret=account.client_secret)
    scope = oauth.granted_scope(given, account.scope)
    token = tokens.issue("oauth", lifetime=LIFETIME)
    content = {"access_token": token, "token_type": "Bearer", **tokens.expiry(LIFETIME), "scope": scope}
    return Answer.of_json(content, headers=oauth.NO_STORE)

"""Salesforce's two steps to a Data 360 token: a core token, and its exchange.

Sources: help.salesforce.com, c360_a_using_data_cloud_apis_with_data_spaces and article 005104785.
"""

import base64
import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from prefect_atomic.sandbox import oauth
from prefect_atomic.sandbox.accounts import Data360Account, SalesforceAccount
from prefect_atomic.sandbox.tokens import TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Route

CORE_LIFETIME = 7200
DATA_360_LIFETIME = 7130
SCOPE = "api cdp_ingest_api cdp_profile_api cdp_query_api"
EXCHANGE = "urn:salesforce:grant-type:external:cdp"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type, not a token
JWT = "urn:ietf:params:oauth:token-type:jwt"
ORGANISATION = "00D000000000001EAA"
USER = "005000000000001AAA"


class Salesforce:
    """One org: who signs in, and with Data 360 beside it, the exchange of its tokens."""

    def __init__(self, account: SalesforceAccount, data_360: Data360Account, tokens: Tokens) -> None:
        self._account = account
        self._data_360 = data_360
        self._tokens = tokens

    def routes(self) -> list[Route]:
        """All that it serves."""
        post = frozenset({"POST"})
        core = partial(_core_token, self._data_360, self._tokens)
        exchange = partial(_data_360_token, self._data_360, self._tokens)
        return [
            Route("/services/oauth2/token", core, "Salesforce: a core token for client credentials", post),
            Route("/services/a360/token", exchange, "Salesforce: a core token for a Data 360 token, once", post),
        ]

    def shown(self) -> dict[str, object]:
        """What it has."""
        return {}

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        if data:
            raise ValueError(f"{min(data)} cannot be set")

    def reset(self) -> None:
        """Forgets all that it has."""


def _core_token(account: Data360Account, tokens: Tokens, received: Received) -> Answer:
    given = oauth.form(received)
    oauth.require_grant(given, "client_credentials")
    client = oauth.client(received, given)
    oauth.require_client(client, client_id=account.client_id, client_secret=account.client_secret, status=400)
    scope = oauth.granted_scope(given, SCOPE)
    token = tokens.issue("salesforce-core", lifetime=CORE_LIFETIME, token=f"00D!{secrets.token_urlsafe(64)}")
    content = {
        "access_token": token,
        "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
        "scope": scope,
        "instance_url": account.login_url,
        "id": f"{account.login_url}/id/{ORGANISATION}/{USER}",
        "token_type": "Bearer",
        "issued_at": str(time.time_ns() // 1_000_000),
        "api_instance_url": account.login_url,
    }
    return Answer.of_json(content, headers=oauth.NO_STORE)


def _data_360_token(account: Data360Account, tokens: Tokens, received: Received) -> Answer:
    given = oauth.form(received)
    oauth.require_grant(given, EXCHANGE)
    if given.get("subject_token_type") != ACCESS_TOKEN:
        oauth.refuse("invalid_request", f"subject_token_type should be {ACCESS_TOKEN}")
    if not given.get("subject_token"):
        oauth.refuse("invalid_request", "subject_token is missing; it is the core token")
    if given.get("dataspace", account.dataspace) != account.dataspace:
        oauth.refuse("invalid_request", f"there is no such dataspace; this tenant has {account.dataspace}")
    try:
        core = tokens.accept("salesforce-core", given["subject_token"])
    except TokenRefused as reason:
        oauth.refuse("invalid_grant", f"subject_token: {reason}")
    if core.spent:
        return _login_page()
    core.spent = True
    content = {
        "access_token": tokens.issue("data-360", lifetime=DATA_360_LIFETIME),
        "instance_url": account.login_url.partition("://")[2],
        "token_type": "Bearer",
        "issued_token_type": JWT,
        **tokens.expiry(DATA_360_LIFETIME),
    }
    return Answer.of_json(content, headers=oauth.NO_STORE)


def _login_page() -> Answer:
    # Salesforce answers a second exchange of the same core token with this, and a status of 200
    page = "<!DOCTYPE html><html><head><title>Login | Salesforce</title></head><body>Redirecting...</body></html>"
    return Answer.of_text(page, content_type="text/html; charset=utf-8")

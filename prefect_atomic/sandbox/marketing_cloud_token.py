"""The token endpoint: JSON, no form; a scope that is left out is all there are, one that is empty is refused."""

import json
from typing import NoReturn

from prefect_atomic.sandbox import oauth
from prefect_atomic.sandbox.accounts import MarketingCloudAccount
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Answer, Received, Refused

LIFETIME = 1079
PROPERTIES = frozenset({"grant_type", "client_id", "client_secret", "scope", "account_id"})
HELP = "https://developer.salesforce.com/docs"


def issue(account: MarketingCloudAccount, tokens: Tokens, received: Received) -> Answer:
    """`POST /v2/token`."""
    given = _given(received)
    if given.get("grant_type") != "client_credentials":
        _refuse("unsupported_grant_type", "grant_type should be client_credentials")
    try:
        client = (given.get("client_id", ""), given.get("client_secret", ""))
        oauth.require_client(client, client_id=account.client_id, client_secret=account.client_secret)
    except Refused:
        # which of the two is wrong is nobody's business
        _refuse("invalid_client", "Invalid client ID. Use the client ID in Marketing Cloud Installed Packages.", 401)
    if given.get("account_id", account.account_id) != account.account_id:
        _refuse("invalid_grant", "this client has no access to the business unit account_id")
    asked, available = given.get("scope", account.scope).split(), account.scope.split()
    if not asked or set(asked) - set(available):
        _refuse("invalid_scope", f"scope should be some of {account.scope}; leave it out for all of them")
    rest = account.rest_url.removesuffix("/") + "/"
    content = {
        "access_token": tokens.issue("marketing-cloud", lifetime=LIFETIME),
        "token_type": "Bearer",
        **tokens.expiry(LIFETIME),
        "scope": " ".join(asked),
        "soap_instance_url": rest.removesuffix("rest/") + "soap/",
        "rest_instance_url": rest,
    }
    return Answer.of_json(content, headers=oauth.NO_STORE)


def _given(received: Received) -> dict[str, str]:
    if (received.header("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        _refuse("invalid_request", "send Content-Type: application/json")
    if received.query or received.header("authorization") is not None:
        _refuse("invalid_request", "the client is in the body, and nowhere else")
    try:
        content = json.loads(received.body)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(isinstance(value, str | int) for value in content.values()):
        _refuse("invalid_request", "the body should be a JSON object of texts")
    unknown = sorted(content.keys() - PROPERTIES)
    if unknown:
        _refuse("invalid_request", f"there is no property {unknown[0]}")
    return {name: str(value) for name, value in content.items()}


def _refuse(error: str, description: str, status: int = 400) -> NoReturn:
    content = {"error": error, "error_description": description, "error_uri": HELP}
    raise Refused(Answer.of_json(content, status=status, headers=oauth.NO_STORE))

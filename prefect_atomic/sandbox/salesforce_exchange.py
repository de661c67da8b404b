"""The second step to a Data 360 token: the exchange of a core token, once.

Sources: help.salesforce.com, c360_a_using_data_cloud_apis_with_data_spaces and article 005104785.
"""

from prefect_atomic.sandbox import oauth
from prefect_atomic.sandbox.accounts import Data360Account
from prefect_atomic.sandbox.tokens import TokenRefused, Tokens
from prefect_atomic.sandbox.wire import Answer, Received

LIFETIME = 7130
EXCHANGE = "urn:salesforce:grant-type:external:cdp"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type, not a token
JWT = "urn:ietf:params:oauth:token-type:jwt"


def exchange(account: Data360Account, tokens: Tokens, received: Received) -> Answer:
    """Answers a Data 360 token for a core token."""
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
        "access_token": tokens.issue("data-360", lifetime=LIFETIME),
        "instance_url": account.login_url.partition("://")[2],
        "token_type": "Bearer",
        "issued_token_type": JWT,
        **tokens.expiry(LIFETIME),
    }
    return Answer.of_json(content, headers=oauth.NO_STORE)


def _login_page() -> Answer:
    # Salesforce answers a second exchange of the same core token with this, and a status of 200
    page = "<!DOCTYPE html><html><head><title>Login | Salesforce</title></head><body>Redirecting...</body></html>"
    return Answer.of_text(page, content_type="text/html; charset=utf-8")

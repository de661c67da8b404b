"""What people enter: one way to sign in, and a domain that the API is at."""

import pytest
from pydantic import ValidationError

from prefect_atomic import KeyPair, Salesforce

APP = {"client_id": "3MVG9", "client_secret": "s3cret-of-the-app"}


@pytest.fixture(scope="module")
def pem() -> str:
    return KeyPair.generate("RS256").private_key.get_secret_value()


@pytest.mark.parametrize(
    ("entered", "login"),
    [
        ("acme.my", "https://acme.my.salesforce.com"),
        ("ACME.my.salesforce.com", "https://acme.my.salesforce.com"),
        ("https://acme.my.salesforce.com/", "https://acme.my.salesforce.com"),
        ("acme--sbx.sandbox.my", "https://acme--sbx.sandbox.my.salesforce.com"),
        ("https://acme.my.salesforce.mil", "https://acme.my.salesforce.mil"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
    ],
)
def test_a_domain_is_taken_as_it_is_pasted(entered: str, login: str) -> None:
    """From the address bar, or from simple-salesforce."""
    from prefect_atomic.integrations.salesforce.my_domain import login_url

    assert login_url(Salesforce(domain=entered, **APP).domain) == login


@pytest.mark.parametrize(
    ("entered", "told"),
    [
        ("https://acme.lightning.force.com", "COMPANY.my"),
        ("acme.lightning.force.com", "COMPANY.my"),
        ("https://acme.my.site.com", "COMPANY.my"),
        ("acme", "'acme' is no My Domain"),
        ("http://acme.my.salesforce.com", "COMPANY.my"),
        ("https://acme.my.salesforce.com/home/home.jsp", "COMPANY.my"),
        ("https://example.com", "is no My Domain"),
        ("login", "refuses client credentials"),
        ("test", "refuses client credentials"),
    ],
)
def test_another_address_is_refused_with_the_right_one(entered: str, told: str) -> None:
    """A wrong one would fail later, with an answer that says nothing."""
    with pytest.raises(ValidationError, match=told):
        Salesforce(domain=entered, **APP)


@pytest.mark.parametrize(
    "fields",
    [
        {"client_id": "3MVG9", "client_secret": "s3cret-of-the-app"},
        {"client_id": "3MVG9", "username": "me@example.com", "private_key": "PEM"},
        {"username": "me@example.com", "password": "s3cret", "security_token": "t0ken"},
        {"username": "me@example.com", "password": "s3cret"},
        {"session_id": "00D!s3cret", "instance_url": "acme.my"},
    ],
)
def test_each_way_to_sign_in_takes_its_own_fields(fields: dict[str, str], pem: str) -> None:
    """What a form leaves empty, or fills with blanks, is not there."""
    given = {name: pem if value == "PEM" else value for name, value in fields.items()}
    blank = dict.fromkeys(("client_id", "client_secret", "username", "password", "security_token", "private_key"), "")
    Salesforce(domain="acme.my", **{**blank, "session_id": "", "instance_url": None, **given})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"client_id": "3MVG9"},
        {"client_id": "3MVG9", "client_secret": "s3cret-1", "username": "me"},
        {"client_id": "3MVG9", "client_secret": "s3cret-1", "session_id": "s3cret-2", "instance_url": "acme.my"},
        {"session_id": "s3cret-2"},
        {"password": "s3cret-3"},
    ],
)
def test_no_way_or_more_than_one_is_refused(fields: dict[str, str]) -> None:
    """The message lists the ways and what was given, and no value of it."""
    with pytest.raises(ValidationError, match="exactly one set of fields") as raised:
        Salesforce(domain="acme.my", **fields)
    assert "s3cret" not in str(raised.value)


def test_a_key_that_does_not_fit_is_refused() -> None:
    """Salesforce takes RS256 only."""
    key = KeyPair.generate("ES256").private_key.get_secret_value()
    with pytest.raises(ValidationError, match="private_key: is an EC key"):
        Salesforce(domain="acme.my", client_id="3MVG9", username="me", private_key=key)


@pytest.mark.parametrize("version", ["v62.0", "62", "latest", ""])
def test_a_version_is_a_number(version: str) -> None:
    """simple-salesforce would put a v before it."""
    if version:
        with pytest.raises(ValidationError, match="api_version"):
            Salesforce(domain="acme.my", api_version=version, **APP)
    else:
        assert Salesforce(domain="acme.my", api_version=version, **APP).api_version == "62.0"


def test_what_does_not_change_the_session_does_not_make_another() -> None:
    """Two blocks for one app share a session, whatever their limits."""
    one = Salesforce(domain="acme.my", **APP)
    other = Salesforce(domain="acme.my", timeout=5, stop_at_usage=0.5, api_version="60.0", **APP)
    assert one._seal() == other._seal()
    assert one._seal() != Salesforce(domain="acme.my", client_id="3MVG9", client_secret="another")._seal()

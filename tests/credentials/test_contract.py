"""What every credential promises: its form, its copies, and that nobody sees its secret."""

import copy
import pickle
from typing import Any, get_args

import cloudpickle
import pytest
from prefect.blocks.core import Block

from prefect_atomic import AnyCredential, KeyPair
from prefect_atomic.credentials import Credential
from prefect_atomic.credentials.base import TokenCredential
from tests.credentials.conftest import Make

_REQUIRED = object()

FORMS: dict[str, dict[str, Any]] = {
    "oauth-client-credentials": {
        "identity_url": _REQUIRED,
        "client_id": _REQUIRED,
        "client_secret": _REQUIRED,
        "scope": None,
        "request_scheme": "post_body",
        "client_authentication": "parameters",
        "extra_parameters": {},
        "cache_seconds": 45,
    },
    "aws-signed-request": {
        "access_key_id": _REQUIRED,
        "secret_access_key": _REQUIRED,
        "service": _REQUIRED,
        "region": _REQUIRED,
        "session_token": None,
        "sign_query": False,
        "expires_in": 3600,
    },
    "basic-auth": {"username": _REQUIRED, "password": _REQUIRED},
    "key-pair": {
        "private_key": _REQUIRED,
        "private_key_passphrase": None,
        "algorithm": "RS256",
        "key_id": None,
        "issuer": None,
        "subject": None,
        "audience": None,
        "expires_in": 3600,
        "claims": {},
        "headers": {},
    },
    "custom-headers": {"headers": _REQUIRED},
    "google-service-account": {
        "client_email": _REQUIRED,
        "private_key": _REQUIRED,
        "private_key_id": None,
        "scopes": [],
        "audience": None,
        "subject": None,
        "token_uri": "https://oauth2.googleapis.com/token",
        "exchange": False,
        "cache_seconds": 300,
    },
    "salesforce-data-360": {
        "login_url": _REQUIRED,
        "client_id": _REQUIRED,
        "client_secret": _REQUIRED,
        "dataspace": "default",
        "scope": None,
        "batch_size": 200,
        "cache_seconds": 300,
    },
    "atomic-environment": {
        "organization_id": _REQUIRED,
        "environment_id": _REQUIRED,
        "client_id": _REQUIRED,
        "client_secret": _REQUIRED,
        "role": "events",
        "base_url": None,
        "token_url": "https://master-atomic-io.auth.us-east-1.amazoncognito.com/oauth2/token",
        "batch_size": 100,
        "target_in_payload": False,
        "operations": {},
        "cache_seconds": 3600,
    },
    "salesforce": {
        "domain": "login",
        "client_id": None,
        "client_secret": None,
        "username": None,
        "password": None,
        "security_token": None,
        "private_key": None,
        "private_key_passphrase": None,
        "session_id": None,
        "instance_url": None,
        "api_version": "62.0",
        "timeout": 60.0,
        "stop_at_usage": None,
        "cache_seconds": 3600,
    },
    "marketing-cloud": {
        "subdomain": _REQUIRED,
        "client_id": _REQUIRED,
        "client_secret": _REQUIRED,
        "account_id": None,
        "scope": None,
        "auth_url": None,
        "sync_batch": 50,
        "async_batch": 32_000,
        "max_async_bytes": 5_000_000,
        "max_text": 4000,
        "cache_seconds": 1200,
    },
    "marketo": {
        "munchkin_id": None,
        "rest_endpoint": None,
        "identity_endpoint": None,
        "client_id": _REQUIRED,
        "client_secret": _REQUIRED,
        "partition": None,
        "calls_per_20_seconds": 100,
        "concurrent_calls": 10,
        "calls_per_day": 50_000,
        "cache_seconds": 3600,
    },
}
CHANGE_NO_TOKEN = {
    "atomic-environment": {
        "base_url",
        "batch_size",
        "environment_id",
        "operations",
        "role",
        "target_in_payload",
    },
    "salesforce": {"api_version", "stop_at_usage", "timeout"},
    "salesforce-data-360": {"batch_size"},
    "marketing-cloud": {"async_batch", "max_async_bytes", "max_text", "sync_batch"},
    "marketo": {"calls_per_20_seconds", "calls_per_day", "concurrent_calls", "partition"},
}
"""Fields that say what is done with a token."""

KINDS = list(FORMS)
CLASSES: dict[str, type[Credential]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(AnyCredential)
}  # fmt: skip


def test_the_kinds_are_the_documented_ones() -> None:
    assert sorted(CLASSES) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_shows_its_own_fields_then_the_hosts_then_the_kind(kind: str) -> None:
    shown = {}
    for name, field in CLASSES[kind].model_fields.items():
        default = _REQUIRED if field.is_required() else field.default
        shown[name] = default.get_secret_value() if hasattr(default, "get_secret_value") else default

    assert list(shown.items()) == [*FORMS[kind].items(), ("allowed_hosts", []), ("kind", kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described_in_a_line_that_ends_with_a_period(kind: str) -> None:
    for name, field in CLASSES[kind].model_fields.items():
        description = field.description or ""
        assert description.endswith("."), name
        assert len(description) <= 110, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_slug_is_the_kind(kind: str) -> None:
    slug = f"atomic-{kind.removeprefix('atomic-')}"
    assert CLASSES[kind].get_block_type_slug() == slug
    assert Block.get_block_class_from_key(slug) is CLASSES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_the_same_credential(make: dict[str, Make], kind: str) -> None:
    credential = make[kind](allowed_hosts=["api.example.com"])

    for twin in (
        cloudpickle.loads(cloudpickle.dumps(credential)),
        pickle.loads(pickle.dumps(credential)),  # noqa: S301 - our own
        copy.deepcopy(credential),
        copy.copy(credential),
        credential.model_copy(),
        credential.model_copy(deep=True),
    ):
        assert type(twin) is type(credential)
        assert twin == credential
        assert twin.known_secrets() == credential.known_secrets()
        if isinstance(credential, TokenCredential):
            assert isinstance(twin, TokenCredential)
            assert twin._seal() == credential._seal()


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_that_was_read_back_from_its_own_json_is_the_same(make: dict[str, Make], kind: str) -> None:
    credential = make[kind]()

    stored = credential.model_dump_json(context={"include_secrets": True})

    assert type(credential).model_validate_json(stored).known_secrets() == credential.known_secrets()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_sees_the_secret(make: dict[str, Make], kind: str) -> None:
    credential = make[kind]()
    secrets = [secret for secret in credential.known_secrets() if len(secret) > 3]

    assert secrets
    for shown in (repr(credential), str(credential), credential.model_dump_json(), str(credential.model_dump())):
        assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(CLASSES[kind], TokenCredential)])
def test_another_secret_is_another_token(make: dict[str, Make], kind: str) -> None:
    others = "another-s3cret"
    if kind in ("key-pair", "google-service-account"):
        others = KeyPair.generate("RS256").private_key.get_secret_value()
    mine, theirs = make[kind](), make[kind](others)
    assert isinstance(mine, TokenCredential)
    assert isinstance(theirs, TokenCredential)

    assert mine._seal().name != theirs._seal().name
    assert theirs._seal().open(mine._seal().close(b"a token", "name"), "name") is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(CLASSES[kind], TokenCredential)])
def test_where_it_may_go_does_not_change_the_token(make: dict[str, Make], kind: str) -> None:
    here, anywhere = make[kind](allowed_hosts=["api.example.com"]), make[kind]()
    assert isinstance(here, TokenCredential)
    assert isinstance(anywhere, TokenCredential)

    assert here._seal() == anywhere._seal()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(CLASSES[kind], TokenCredential)])
def test_every_other_field_is_part_of_what_a_token_is_kept_under(make: dict[str, Make], kind: str) -> None:
    """A field that were left out would serve one tenant the token of another."""
    credential = make[kind]()
    assert isinstance(credential, TokenCredential)
    other: dict[type, Any] = {str: "other", int: 77, list: ["other"], dict: {"other": 1}, bool: True, type(None): "x"}

    for name in FORMS[kind].keys() - CHANGE_NO_TOKEN.get(kind, set()):
        value = getattr(credential, name)
        plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        changed = type(value)(other[type(plain)]) if plain is not value else other[type(plain)]
        twin = credential.model_copy(update={name: changed})
        assert twin._seal().name != credential._seal().name, name


def test_two_tenants_get_their_own_tokens(make: dict[str, Make], provider: Any) -> None:
    from tests.e2e.servers.faulty import Answer

    provider.handler = lambda sent: Answer(
        body=b'{"access_token": "of-%s"}' % sent.body.partition(b"client_secret=")[2].partition(b"&")[0]
    )
    url = f"http://127.0.0.1:{provider.port}/token"
    mine, theirs = (make["oauth-client-credentials"](secret, identity_url=url) for secret in ("mine", "theirs"))
    assert isinstance(mine, TokenCredential)
    assert isinstance(theirs, TokenCredential)

    assert [one._token().token.value for one in (mine, theirs, mine)] == ["of-mine", "of-theirs", "of-mine"]
    assert len(provider.requests) == 2

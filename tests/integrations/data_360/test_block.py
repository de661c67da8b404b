"""The block: where the tenant is, and login URLs that are none."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from prefect_atomic import CredentialError, SalesforceData360
from prefect_atomic.sandbox import Sandbox
from tests.integrations.data_360.conftest import Tenant, as_json, block_for


@pytest.mark.parametrize(
    ("login_url", "said"),
    [
        ("https://acme.lightning.force.com", "its My Domain is https://acme.my.salesforce.com"),
        (
            "https://acme--uat.sandbox.lightning.force.com",
            "its My Domain is https://acme--uat.sandbox.my.salesforce.com",
        ),
        ("https://login.salesforce.com", "login.salesforce.com refuses client credentials"),
        ("https://test.salesforce.com", "test.salesforce.com refuses client credentials"),
        ("https://acme.example.com", "must be an https My Domain"),
        ("http://acme.my.salesforce.com", "must be an https My Domain"),
        ("https://acme.my.salesforce.com/services", "must end with the host"),
    ],
)
def test_login_urls_that_cannot_be_right_say_what_is(login_url: str, said: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SalesforceData360(login_url=login_url, client_id="a", client_secret="b")
    assert said in str(refusal.value)


def test_a_my_domain_that_is_nobodys_says_that_it_could_not_connect() -> None:
    block = SalesforceData360(login_url="http://127.0.0.1:1", client_id="a", client_secret="b")
    with pytest.raises(CredentialError, match=r"the Salesforce token request at http://127\.0\.0\.1:1"):
        block.check()


@pytest.mark.parametrize(
    ("instance_url", "base_url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://127.0.0.1:8000", "https://127.0.0.1:8000"),
        ("abc.c360a.salesforce.com", "https://abc.c360a.salesforce.com"),
        ("https://abc.c360a.salesforce.com/", "https://abc.c360a.salesforce.com"),
        ("http://abc.c360a.salesforce.com", "https://abc.c360a.salesforce.com"),
    ],
)
def test_a_token_goes_over_plain_http_on_this_machine_only(tenant: Tenant, instance_url: str, base_url: str) -> None:
    tenant.server.handler = lambda request: as_json(
        access_token="t0ken", token_type="Bearer", expires_in=7200, instance_url=instance_url
    )
    assert tenant.block().base_url() == base_url


def test_the_number_of_records_makes_no_token_of_its_own(sandbox: Sandbox) -> None:
    for size in (10, 20):
        block_for(sandbox, batch_size=size).host()
    assert sandbox.calls()["POST /services/a360/token"] == 1


@pytest.mark.parametrize("size", [0, 10_001, "many"])
def test_a_batch_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ValidationError):
        SalesforceData360(login_url="https://acme.my.salesforce.com", client_id="a", client_secret="b", batch_size=size)

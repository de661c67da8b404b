"""What a subscription may be: whatever else is entered is refused, with the field named and no secret quoted."""

import cloudpickle
import pytest

from prefect_atomic import BasicAuth, WebhookSubscription
from prefect_atomic.webhooks.pausing import key_of, name_of
from tests.webhooks.test_signature import PRIVATE, SECRET

HUNTER = "hunter2-hunter2"
URL = "https://crm.example.com/hook"


@pytest.mark.parametrize(
    ("entered", "field", "remedy"),
    [
        ({"url": "crm.example.com"}, "url", "must begin with https://"),
        ({"url": "ftp://crm.example.com"}, "url", "must begin with https://"),
        ({"url": f"https://me:{HUNTER}@crm.example.com"}, "url", "BasicAuth credential instead"),
        ({"url": f"{URL}\n"}, "url", "line break"),
        ({"url": "https:///hook"}, "url", "no valid host"),
        ({"url": ""}, "url", "must begin with https://"),
        ({"method": "GET"}, "method", "'POST' or 'PUT'"),
        ({"method": "post"}, "method", "'POST' or 'PUT'"),
        ({"event_types": [""]}, "event_types", "a type that is empty"),
        ({"event_types": ["a", " b"]}, "event_types", "begins or ends with a space"),
        ({"event_types": "a"}, "event_types", "valid list"),
        ({"retry_delays": [5, -1]}, "retry_delays.1", "greater than or equal to 0"),
        ({"retry_delays": [604_801]}, "retry_delays.0", "less than or equal to 604800"),
        ({"retry_delays": [float("nan")]}, "retry_delays.0", "less than or equal to"),
        ({"retry_delays": [1] * 51}, "retry_delays", "at most 50 items"),
        ({"timeout": 0}, "timeout", "greater than 0"),
        ({"timeout": 601}, "timeout", "less than or equal to 600"),
        ({"timeout": float("nan")}, "timeout", "less than or equal to 600"),
        ({"headers": {"X-Api-Key": f"{HUNTER}\nX-Evil: 1"}}, "headers", "the value of X-Api-Key holds a line break"),
        ({"headers": {"X-Api-Key": f"{HUNTER} "}}, "headers", "begins or ends with a space"),
        ({"headers": {"X-Api-Key": [HUNTER]}}, "headers", "not text but list"),
        ({"headers": {"X Api Key": HUNTER}}, "headers", "no space and no colon"),
        ({"headers": {"Webhook-Id": HUNTER}}, "headers", "Webhook-Id is set for each attempt; leave it out"),
        ({"headers": {"WEBHOOK-SIGNATURE": HUNTER}}, "headers", "set for each attempt"),
        ({"headers": {"webhook-timestamp": HUNTER}}, "headers", "set for each attempt"),
        ({"headers": {"Host": HUNTER}}, "headers", "set for each attempt"),
        ({"headers": {"content-length": HUNTER}}, "headers", "set for each attempt"),
        ({"headers": {"X-Api-Key": "********"}}, "secret consists of asterisks", "as its slug"),
        ({"signing_secret": "********"}, "secret consists of asterisks", "as its slug"),
        ({"signing_secret": HUNTER}, "signing_secret", "is no signing secret"),
        ({"body_template": "{{"}, "body_template", "does not parse"),
        ({"outbox": "outbox"}, "outbox", "is not the slug of a saved block"),
        ({"outbox": "/var/outbox"}, "outbox", "is not the slug of a saved block"),
        ({"outbox": "../x/y"}, "outbox", "is not the slug of a saved block"),
        (
            {"credential": BasicAuth(username="me", password=HUNTER, allowed_hosts=["api.example.com"])},
            "url",
            "may not",
        ),
        ({"credential": "atomic-basic-auth/crm"}, "credential", '"$ref"'),
        ({"paused": "perhaps"}, "paused", "valid boolean"),
        ({"signing_sekret": HUNTER}, "signing_sekret", "no such field; is it misspelt"),
    ],
)
def test_a_refusal_names_the_field_and_the_remedy_and_no_secret(entered, field, remedy):
    with pytest.raises(ValueError, match=r".") as refusal:
        WebhookSubscription(**{"url": URL, **entered})

    told = str(refusal.value)
    assert field in told
    assert remedy in told
    assert HUNTER not in told + repr(refusal.value)


@pytest.mark.parametrize("nothing", ["", None, {}])
def test_a_field_that_a_form_left_blank_was_not_entered(nothing):
    blank = dict.fromkeys(WebhookSubscription.model_fields.keys() - {"url"}, nothing)

    assert WebhookSubscription(url=URL, **blank) == WebhookSubscription(url=URL)


def test_headers_that_a_form_left_empty_were_not_entered():
    assert WebhookSubscription(url=URL, headers={}).headers is None


def test_a_credential_may_go_to_a_host_that_it_allows():
    credential = BasicAuth(username="me", password=HUNTER, allowed_hosts=["*.example.com"])

    assert WebhookSubscription(url=URL, credential=credential).credential == credential


@pytest.fixture
def full():
    return WebhookSubscription(
        url=URL,
        method="PUT",
        event_types=["card-completed"],
        credential=BasicAuth(username="me", password=HUNTER),
        headers={"X-Api-Key": HUNTER},
        signing_secret=f"{SECRET} {PRIVATE}",
        body_template="{{ event | tojson }}",
        retry_delays=[1, 2],
        outbox="local-file-system/outbox",
    )


@pytest.mark.parametrize(
    "show", [repr, str, lambda block: block.model_dump_json(), lambda block: str(block.model_dump())]
)
def test_nothing_that_shows_a_subscription_shows_a_secret(full, show):
    shown = show(full)

    for secret in (HUNTER, SECRET, PRIVATE):
        assert secret not in shown


def test_what_nobody_may_read_is_known(full):
    assert {HUNTER, f"{SECRET} {PRIVATE}"} <= set(full.known_secrets())


def test_a_pickled_subscription_is_the_same(full):
    again = cloudpickle.loads(cloudpickle.dumps(full))

    assert again == full
    assert type(again.credential) is BasicAuth
    assert again.headers.get_secret_value() == {"X-Api-Key": HUNTER}


@pytest.mark.parametrize(("types", "kind", "wanted"), [([], "a", True), (["a"], "a", True), (["a"], "b", False)])
def test_a_subscription_wants_the_types_it_names(types, kind, wanted):
    assert WebhookSubscription(url=URL, event_types=types).wants(kind) is wanted


def test_unsaved_subscriptions_to_different_places_have_different_outboxes():
    keys = {
        key_of(WebhookSubscription(url=url, method=method)) for url in (URL, f"{URL}/2") for method in ("POST", "PUT")
    }

    assert len(keys) == 4
    assert name_of(WebhookSubscription(url=URL)) == "crm.example.com"


def test_unsaved_subscriptions_of_two_tenants_have_different_outboxes():
    """What differs in nothing but a secret would otherwise be delivered with the proof of the other."""
    ways = [{"headers": {"X-Api-Key": HUNTER}}, {"headers": {"X-Api-Key": "another"}}]
    ways += [{"credential": BasicAuth(username="me", password=password)} for password in (HUNTER, "another")]

    assert len({key_of(WebhookSubscription(url=URL, **way)) for way in ways}) == 4


def test_an_unsaved_subscription_keeps_its_outbox_when_it_is_paused():
    assert key_of(WebhookSubscription(url=URL, paused=True)) == key_of(WebhookSubscription(url=URL))

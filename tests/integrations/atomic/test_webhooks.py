"""Atomic's own webhooks: created, listed without their secrets, and deleted."""

import logging
import pickle

import pytest

from prefect_atomic import RequestError, ResponseError
from tests.e2e.servers.faulty import Answer
from tests.integrations.atomic.conftest import of_json

KEY = "hunter2-of-the-receiver"


def test_a_webhook_is_created_with_its_secret(sandbox, workbench, call):
    webhook = call(workbench.create_webhook, ["card-completed"], "https://example.com/in?key=k", headers={"X-Key": KEY})

    (known,) = sandbox.atomic()["webhooks"]
    assert webhook.id == known["id"]
    assert webhook.types == ("card-completed",)
    assert webhook.secret.get_secret_value() == known["secret"]
    assert webhook.created.isoformat(timespec="milliseconds").replace("+00:00", "Z") == known["created"]
    assert known["headers"] == {"X-Key": KEY}
    assert known["secret"] not in repr(webhook) + str(webhook) + webhook.model_dump_json()


def test_a_webhook_can_be_for_one_card(sandbox, workbench, call):
    call(workbench.create_webhook, ["a"], "https://example.com", card_template_id="1", action_flow_config_id="2")

    (known,) = sandbox.atomic()["webhooks"]
    assert (known["cardTemplateId"], known["actionFlowConfigId"]) == ("1", "2")


def test_a_listing_shows_no_secret(raw, call):
    webhook = {"id": "1", "url": f"https://example.com/in?key={KEY}", "headers": {"X-Key": KEY}, "secret": KEY}
    raw.answers = [of_json({"data": {"webhooks": [webhook]}})]

    (shown,) = call(raw.block(role="workbench").webhooks)

    assert shown == {"id": "1", "url": "https://example.com/in?key=***", "headers": {"X-Key": "***"}, "secret": "***"}


def test_a_webhook_is_deleted(sandbox, workbench, call):
    webhook = workbench.create_webhook(["a"], "https://example.com")

    assert [each["id"] for each in call(workbench.webhooks)] == [webhook.id]
    assert call(workbench.delete_webhook, webhook.id) is None
    assert call(workbench.webhooks) == []


def test_one_that_is_not_there_cannot_be_deleted(workbench, call):
    with pytest.raises(ResponseError, match="there is no webhook nowhere"):
        call(workbench.delete_webhook, "nowhere")


def test_one_that_is_gone_at_the_second_attempt_was_deleted_by_the_first(raw, call):
    raw.answers = ["close", of_json({"error": "there is none"}, 404)]

    assert call(raw.block(role="workbench").delete_webhook, "1") is None


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("card-completed", "https://example.com"), {}, r"^types: "),
        (([], "https://example.com"), {}, r"^types: "),
        ((["a"], "example.com"), {}, r"^url: must begin with"),
        ((["a"], "https://example.com"), {"headers": {"X Key": KEY}}, r"^headers: a name holds"),
        ((["a"], "https://example.com"), {"headers": {"X-Key": f"{KEY}\n"}}, r"^headers: the value of X-Key"),
    ],
)
def test_what_cannot_be_sent_is_refused(sandbox, workbench, call, arguments, options, told):
    with pytest.raises(RequestError, match=told) as error:
        call(workbench.create_webhook, *arguments, **options)
    assert KEY not in str(error.value)
    assert sandbox.calls() == {}


@pytest.mark.parametrize("status", [400, 201])
def test_neither_a_refusal_nor_an_odd_answer_shows_the_receivers_key(raw, call, status, caplog):
    raw.answers = [Answer(status, [("X-Echo", KEY)], b'{"data": {"headers": "%s"}}' % KEY.encode())]
    caplog.set_level(logging.DEBUG)

    with pytest.raises(ResponseError) as error:
        call(raw.block(role="workbench").create_webhook, ["a"], "https://example.com", headers={"X-Key": KEY})

    assert KEY not in str(error.value)
    assert KEY not in caplog.text
    assert KEY.encode() not in pickle.dumps(error.value)

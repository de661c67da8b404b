"""Who is told of which events, where, and with which proof."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import httpx
from prefect.types import SecretDict
from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from prefect_atomic.credentials.guarded_block import GuardedBlock
from prefect_atomic.errors import DestinationError, RequestError
from prefect_atomic.integrations.any_credential import AnyCredential
from prefect_atomic.tasks.saved import Saved, is_slug
from prefect_atomic.transport import outgoing
from prefect_atomic.transport.request import header_fault
from prefect_atomic.webhooks import template
from prefect_atomic.webhooks.event import Event, encoded
from prefect_atomic.webhooks.signature import read_secrets

_DAY = 86_400.0
_MOST_RETRIES = 50
# 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h: what Standard Webhooks 1.0 gives as an example.
_RETRY_DELAYS = [5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, _DAY]
_SET_BY_THE_CLIENT = {"connection", "content-length", "host", "transfer-encoding"}
_SET_FOR_EACH_ATTEMPT = {"webhook-id", "webhook-signature", "webhook-timestamp", *_SET_BY_THE_CLIENT}


def _is_a_destination(url: str) -> str:
    outgoing("POST", url)
    return url


class WebhookSubscription(GuardedBlock):
    """Has events delivered to a URL: signed, with a credential, retried, and never lost.

    An event waits in the outbox until it is delivered. A subscription whose deliveries keep failing is paused.

    Example:
        Deliver an event to a saved subscription:
        ```python
        from prefect import flow
        from prefect_atomic import WebhookSubscription, webhook

        crm = WebhookSubscription.load("BLOCK_NAME")

        @flow
        def tell():
            return webhook({"type": "card-completed", "data": {"card": 42}}, crm)
        ```
    """

    _block_type_name = "Atomic Webhook Subscription"
    _block_type_slug = "atomic-webhook-subscription"
    _documentation_url = "https://www.standardwebhooks.com"  # type: ignore[assignment]
    _noun: ClassVar[str] = "a webhook subscription"

    url: Annotated[str, AfterValidator(_is_a_destination)] = Field(description="Where events are delivered to.")
    method: Literal["POST", "PUT"] = Field("POST", description="The HTTP method.")
    event_types: list[str] = Field([], description="The types of events that are delivered; none = all.")
    credential: AnyCredential | None = Field(None, description="What proves who delivers; none = no proof.")
    headers: SecretDict | None = Field(None, description='Further headers, such as {"X-Api-Key": "..."}.')
    signing_secret: SecretStr | None = Field(
        None, description="`whsec_...`, or an Ed25519 private key; several, separated by spaces, while one is rotated."
    )
    body_template: str | None = Field(
        None, description="A Jinja2 template that makes the JSON body of an `event`; none = the event as it is."
    )
    timeout: float = Field(20.0, gt=0, le=600, description="The longest that an attempt may take, in seconds.")
    retry_delays: list[Annotated[float, Field(ge=0, le=7 * _DAY)]] = Field(
        _RETRY_DELAYS,
        max_length=_MOST_RETRIES,
        description="The delays between attempts, in seconds; a jitter of a tenth is added or taken.",
    )
    allow_private_networks: bool = Field(True, description="Whether the URL may lead to an address that is not public.")
    outbox: str | None = Field(
        None, description="The slug of the file system block that keeps events; none = a folder under PREFECT_HOME."
    )
    paused: bool = Field(False, description="Whether events only wait; redelivery tries one of them, and resumes.")

    @field_validator("event_types")
    @classmethod
    def _are_types(cls, types: list[str]) -> list[str]:
        if any(not kind.strip() or kind != kind.strip() for kind in types):
            raise ValueError("has a type that is empty, or begins or ends with a space")
        return types

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: SecretDict | None) -> SecretDict | None:
        for name, value in (headers.get_secret_value() if headers else {}).items():
            if fault := header_fault(name, value):
                raise ValueError(fault)
            if name.lower() in _SET_FOR_EACH_ATTEMPT:
                raise ValueError(f"{name} is set for each attempt; leave it out")
        return headers if headers and headers.get_secret_value() else None

    @field_validator("signing_secret")
    @classmethod
    def _can_sign(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret:
            keys = read_secrets(secret.get_secret_value())
            if len(keys.public) > len(keys.private):
                raise ValueError("has a public key, which verifies and cannot sign; enter the private key")
        return secret

    @field_validator("body_template")
    @classmethod
    def _can_make_a_body(cls, text: str | None) -> str | None:
        if text:
            template.check(text)
        return text

    @field_validator("outbox")
    @classmethod
    def _is_a_slug(cls, slug: str | None) -> str | None:
        if slug and not is_slug(slug):
            raise ValueError("is not the slug of a saved block, which looks like local-file-system/outbox")
        return slug

    @model_validator(mode="after")
    def _may_be_proved_there(self) -> Self:
        if self.credential:
            try:
                self.credential.refuse_destination(httpx.URL(self.url))
            except DestinationError as error:
                raise ValueError(f"url: {error}") from None
        return self

    def wants(self, kind: str) -> bool:
        """Whether events of a type are delivered."""
        return not self.event_types or kind in self.event_types

    def body_of(self, event: Event) -> bytes:
        """What is sent for an event.

        Raises:
            RequestError: The template makes none of it.
        """
        return template.render(self.body_template, event) if self.body_template else encoded(event)

    def known_secrets(self) -> tuple[str, ...]:
        """Everything of this subscription that nobody may read."""
        return (*self._own_secrets(), *(self.credential.known_secrets() if self.credential else ()))


_SUBSCRIPTIONS = Saved("subscription", "atomic-webhook-subscription/crm", RequestError)
SUBSCRIPTION_TYPE = "atomic-webhook-subscription"


def resolve(subscription: WebhookSubscription | str) -> WebhookSubscription:
    """The subscription itself, loaded if it was given as the slug of a saved one.

    Raises:
        RequestError: There is no such block, or it is no subscription.
    """
    return _checked(_SUBSCRIPTIONS.load(subscription) if isinstance(subscription, str) else subscription)


async def aresolve(subscription: WebhookSubscription | str) -> WebhookSubscription:
    """The same as `resolve`, for an event loop."""
    return _checked(await _SUBSCRIPTIONS.aload(subscription) if isinstance(subscription, str) else subscription)


def _checked(block: Any) -> WebhookSubscription:
    if isinstance(block, WebhookSubscription):
        return block
    raise RequestError(f"subscription: is a {type(block).__name__}, which is no WebhookSubscription.")

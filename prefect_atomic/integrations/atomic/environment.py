"""An environment of Atomic as a Prefect block: what people enter, and what flows do with it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import httpx
from pydantic import AfterValidator, Field, field_validator

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, Printable, PrintableSecret, TokenCredential, now
from prefect_atomic.credentials.identity_url import IdentityUrl
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.atomic import cards, invocation, starting, users, webhooks
from prefect_atomic.integrations.atomic.analytics import Source, Spans
from prefect_atomic.integrations.atomic.analytics_hour import AnalyticsHour, Format
from prefect_atomic.integrations.atomic.api import Api, check_id
from prefect_atomic.integrations.atomic.invocation import Invocation, InvocationOutcome
from prefect_atomic.integrations.atomic.operations import check_overrides, operation_of
from prefect_atomic.integrations.atomic.pages import Listing
from prefect_atomic.integrations.atomic.webhooks import AtomicWebhook
from prefect_atomic.tasks.course import Course, arun, run
from prefect_atomic.tasks.listing import aeach, each
from prefect_atomic.tokens import Token, served_until
from prefect_atomic.transport import Outgoing, outgoing

Invocations = Iterable[Invocation | Mapping[str, Any]]

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
_USER_AGENT = "prefect-atomic"


def _is_an_organization(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError("consists of letters, digits and dashes, as in its host, ID.customer-api.atomic.io")
    return text


def _is_an_environment(text: str) -> str:
    if not _SEGMENT.fullmatch(text):
        raise ValueError("is the id alone, as it stands in the path of the API, without a slash or a space")
    return text


def _has_no_query(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("has a query or a fragment; enter what the paths of the API follow on, such as https://HOST")
    return url.rstrip("/")


class AtomicEnvironment(TokenCredential):
    """Atomic's API for one environment: starts Action Flows, cancels cards, and reads users and analytics.

    It is a credential too. Its token is shared by all processes for the hour that it lives.

    Example:
        Start an Action Flow for two users:
        ```python
        from prefect import flow
        from prefect_atomic import AtomicEnvironment

        atomic = AtomicEnvironment.load("BLOCK_NAME")

        @flow
        def welcome():
            return atomic.start_action_flow(
                "FLOW_ID", [{"target": {"usersById": [user]}} for user in ("123", "456")]
            )
        ```
    """

    _block_type_name = "Atomic Environment"
    _block_type_slug = "atomic-environment"
    _documentation_url = "https://documentation.atomic.io/api/auth"  # type: ignore[assignment]
    _not_of_the_token: ClassVar[frozenset[str]] = TokenCredential._not_of_the_token | {
        "base_url",
        "batch_size",
        "environment_id",
        "operations",
        "role",  # the client has it, whatever is entered here
        "target_in_payload",
    }

    organization_id: Annotated[str, AfterValidator(_is_an_organization)] = Field(
        description="The organization's id, which the host of its API begins with."
    )
    environment_id: Annotated[str, AfterValidator(_is_an_environment)] = Field(description="The environment's id.")
    client_id: Printable = Field(min_length=1, description="The client's id.")
    client_secret: PrintableSecret = Field(min_length=1, description="The client's secret.")
    role: Literal["events", "workbench", "auth"] = Field(
        "events", description="The client's role: events for flows and cards, workbench for webhooks."
    )
    base_url: Annotated[IdentityUrl, AfterValidator(_has_no_query)] | None = Field(
        None, description="Where the API is; none = https://ORGANIZATION.customer-api.atomic.io."
    )
    token_url: IdentityUrl = Field(
        "https://master-atomic-io.auth.us-east-1.amazoncognito.com/oauth2/token",
        description="The token endpoint; the default is the one that Atomic documents.",
    )
    batch_size: int = Field(100, ge=1, le=1000, description="The most invocations, or users, of one request.")
    target_in_payload: bool = Field(False, description="Whether an invocation's `target` goes into its `payload`.")
    operations: dict[str, str] = Field(
        {}, description='Other methods and paths, such as {"cancel_cards": "PUT cards/cancel"}.'
    )
    cache_seconds: CacheSeconds = Field(3600, description="How long a token is shared, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["atomic-environment"] = Field(
        "atomic-environment", description="Tells saved credentials apart; leave as it is."
    )

    @field_validator("operations")
    @classmethod
    def _are_operations(cls, operations: dict[str, str]) -> dict[str, str]:
        check_overrides(operations)
        return operations

    # Action Flows

    def start_action_flow(
        self,
        action_flow_id: str,
        invocations: Invocations,
        *,
        test: bool = False,
        raise_on_failure: bool = True,
        bulk_wait: float = 600.0,
    ) -> list[InvocationOutcome]:
        """Starts an Action Flow for each invocation, many with one request.

        All are checked before the first is sent. Where Atomic refuses some, the others are started. An invocation
        without an id is given one that is the same when Prefect runs this flow run again; whether Atomic leaves out
        what it has under that id already is not documented.

        Args:
            action_flow_id: The id of the Action Flow.
            invocations: Whom it is started for, such as `{"target": {"usersById": ["123"]}, "payload": {"variables":
                {"name": "Ada"}}}`, or `Invocation`s.
            test: Whether it reaches test users only; Atomic takes drafts then too.
            raise_on_failure: Whether it is an error if one was not started. Else the outcomes say so.
            bulk_wait: The longest to wait, in seconds, until more bulk targets (tags, a segment, a filter) may start:
                Atomic runs five at once.

        Returns:
            What became of each invocation, in their order.

        Raises:
            RequestError: One of them cannot be sent; none was.
            InvocationError: Some were not started, or it is not known; has the outcomes.
            AtomicError: None was started, as none can be: the token, the flow or the destination is at fault.
        """
        return run(self._started(action_flow_id, invocations, test, raise_on_failure, bulk_wait))

    async def astart_action_flow(
        self,
        action_flow_id: str,
        invocations: Invocations,
        *,
        test: bool = False,
        raise_on_failure: bool = True,
        bulk_wait: float = 600.0,
    ) -> list[InvocationOutcome]:
        """The same as `start_action_flow`, for an event loop."""
        return await arun(self._started(action_flow_id, invocations, test, raise_on_failure, bulk_wait))

    # Cards

    def cancel_cards(
        self,
        *,
        user_id: str | None = None,
        lifecycle_id: str | None = None,
        card_template_id: str | None = None,
        flow_instance_id: str | None = None,
        flow_invocation_id: str | None = None,
        limit: int = 1000,
    ) -> int:
        """Cancels all cards that match every filter given; at least one is needed.

        Args:
            user_id: The user who has them.
            lifecycle_id: Their lifecycle.
            card_template_id: The template that they are made of.
            flow_instance_id: The instance of an Action Flow that made them.
            flow_invocation_id: The invocation that they came of.
            limit: The most to cancel with one request, up to 1000; requests are made until no card is left.

        Returns:
            How many were cancelled.

        Raises:
            RequestError: There is no filter, or one is empty; nothing was cancelled.
            AtomicError: Atomic refused, or its answers do not say how many were cancelled.
        """
        filters = cards.filters_of(
            user_id=user_id,
            lifecycle_id=lifecycle_id,
            card_template_id=card_template_id,
            flow_instance_id=flow_instance_id,
            flow_invocation_id=flow_invocation_id,
        )
        return run(cards.cancel(self._api("cancel_cards"), filters, limit))

    async def acancel_cards(
        self,
        *,
        user_id: str | None = None,
        lifecycle_id: str | None = None,
        card_template_id: str | None = None,
        flow_instance_id: str | None = None,
        flow_invocation_id: str | None = None,
        limit: int = 1000,
    ) -> int:
        """The same as `cancel_cards`, for an event loop."""
        filters = cards.filters_of(
            user_id=user_id,
            lifecycle_id=lifecycle_id,
            card_template_id=card_template_id,
            flow_instance_id=flow_instance_id,
            flow_invocation_id=flow_invocation_id,
        )
        return await arun(cards.cancel(self._api("cancel_cards"), filters, limit))

    def cards(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        lifecycle_id: str | None = None,
        card_template_id: str | None = None,
        flow_instance_id: str | None = None,
        flow_invocation_id: str | None = None,
        page_size: int = 100,
    ) -> Iterator[dict[str, Any]]:
        """The cards that match every filter given, page by page as they are needed.

        Args:
            user_id: The user who has them.
            status: Their status.
            lifecycle_id: Their lifecycle.
            card_template_id: The template that they are made of.
            flow_instance_id: The instance of an Action Flow that made them.
            flow_invocation_id: The invocation that they came of.
            page_size: How many to ask for at once, up to 1000.

        Raises:
            RequestError: A filter is empty.
            AtomicError: Atomic refused, or its answer cannot be read.
        """
        filters = cards.filters_of(
            user_id=user_id,
            status=status,
            lifecycle_id=lifecycle_id,
            card_template_id=card_template_id,
            flow_instance_id=flow_instance_id,
            flow_invocation_id=flow_invocation_id,
        )
        return each(Listing(self._api("cards"), "cards", page_size, filters))

    def acards(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        lifecycle_id: str | None = None,
        card_template_id: str | None = None,
        flow_instance_id: str | None = None,
        flow_invocation_id: str | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[dict[str, Any]]:
        """The same as `cards`, for an event loop: `async for card in atomic.acards(...)`."""
        filters = cards.filters_of(
            user_id=user_id,
            status=status,
            lifecycle_id=lifecycle_id,
            card_template_id=card_template_id,
            flow_instance_id=flow_instance_id,
            flow_invocation_id=flow_invocation_id,
        )
        return aeach(Listing(self._api("cards"), "cards", page_size, filters))

    # Users

    def users(self, *, segment_id: str | None = None, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """The users, page by page as they are needed.

        Args:
            segment_id: Only those of this segment.
            page_size: How many to ask for at once, up to 1000.

        Raises:
            AtomicError: Atomic refused, or its answer cannot be read.
        """
        return each(Listing(self._api("users"), "users", page_size, cards.filters_of(segment_id=segment_id)))

    def ausers(self, *, segment_id: str | None = None, page_size: int = 100) -> AsyncIterator[dict[str, Any]]:
        """The same as `users`, for an event loop: `async for user in atomic.ausers()`."""
        return aeach(Listing(self._api("users"), "users", page_size, cards.filters_of(segment_id=segment_id)))

    def upsert_users(self, users: Iterable[Mapping[str, Any]]) -> int:
        """Creates users, and changes those that are there already.

        Args:
            users: Their profiles, each with an `id`. All are checked before the first is sent.

        Returns:
            How many were sent.

        Raises:
            RequestError: One of them cannot be sent; none was.
            AtomicError: Atomic refused; a note says how many were sent before.
        """
        return run(self._upserted(users))

    async def aupsert_users(self, users: Iterable[Mapping[str, Any]]) -> int:
        """The same as `upsert_users`, for an event loop."""
        return await arun(self._upserted(users))

    # Webhooks

    def webhooks(self) -> list[dict[str, Any]]:
        """Atomic's webhook subscriptions; their secrets, headers and query values are masked. Needs role workbench."""
        return run(webhooks.list_all(self._api("webhooks")))

    async def awebhooks(self) -> list[dict[str, Any]]:
        """The same as `webhooks`, for an event loop."""
        return await arun(webhooks.list_all(self._api("webhooks")))

    def create_webhook(
        self,
        types: Sequence[str],
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        card_template_id: str | None = None,
        action_flow_config_id: str | None = None,
    ) -> AtomicWebhook:
        """Has Atomic deliver events to a URL. Needs role workbench.

        Args:
            types: The types of events, such as `card-completed`.
            url: Where to.
            headers: Headers of each delivery.
            card_template_id: Only events of this card.
            action_flow_config_id: Only events of this Action Flow.

        Returns:
            The webhook, with its secret.

        Raises:
            RequestError: An argument cannot be sent.
            AtomicError: Atomic refused.
        """
        body = webhooks.body_of(types, url, headers, card_template_id, action_flow_config_id)
        return run(webhooks.create(self._api("create_webhook"), body))

    async def acreate_webhook(
        self,
        types: Sequence[str],
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        card_template_id: str | None = None,
        action_flow_config_id: str | None = None,
    ) -> AtomicWebhook:
        """The same as `create_webhook`, for an event loop."""
        body = webhooks.body_of(types, url, headers, card_template_id, action_flow_config_id)
        return await arun(webhooks.create(self._api("create_webhook"), body))

    def delete_webhook(self, webhook_id: str) -> None:
        """Deletes one of Atomic's webhook subscriptions. Needs role workbench."""
        run(webhooks.delete(self._api("delete_webhook"), check_id("webhook_id", webhook_id)))

    async def adelete_webhook(self, webhook_id: str) -> None:
        """The same as `delete_webhook`, for an event loop."""
        await arun(webhooks.delete(self._api("delete_webhook"), check_id("webhook_id", webhook_id)))

    # Analytics

    def analytics(
        self,
        from_: datetime,
        to: datetime,
        *,
        format: Format = "ndjson",  # noqa: A002 - as Atomic calls it
    ) -> Iterator[AnalyticsHour]:
        """The hours between two moments, oldest first, asked for as they are needed.

        Args:
            from_: Where the first hour begins; rounded down to the hour.
            to: Where the last hour ends; rounded up to the hour.
            format: What their files are: ndjson, csv or parquet.

        Returns:
            Every hour, also those that Atomic has not processed yet.

        Raises:
            RequestError: The moments have no time zone, or are the wrong way round.
            AtomicError: Atomic refused, or its answer cannot be read.
        """
        return each(Spans(Source(self._api("analytics"), format), from_, to))

    def aanalytics(
        self,
        from_: datetime,
        to: datetime,
        *,
        format: Format = "ndjson",  # noqa: A002 - as Atomic calls it
    ) -> AsyncIterator[AnalyticsHour]:
        """The same as `analytics`, for an event loop: `async for hour in atomic.aanalytics(...)`."""
        return aeach(Spans(Source(self._api("analytics"), format), from_, to))

    # The credential

    def known_secrets(self) -> tuple[str, ...]:
        return (*super().known_secrets(), self._basic().removeprefix("Basic "))

    def _prove_with(self, request: httpx.Request, token: Token) -> None:
        super()._prove_with(request, token)
        if not request.headers.get("User-Agent"):  # Atomic refuses requests without one
            request.headers["User-Agent"] = _USER_AGENT

    def _mint(self) -> Token:
        step = TokenStep(self.title(), "the token request", self.known_secrets(), provider.deadline())
        issued_at = now()
        answer = step.ask(self._token_request())
        scope = answer.get("scope")
        return Token(
            value=step.read_token(answer),
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, provider.expires_in(answer)),
            attributes={"scope": scope} if isinstance(scope, str) else {},
        )

    def _token_request(self) -> Outgoing:
        return outgoing(
            "POST",
            self.token_url,
            params=[("grant_type", "client_credentials"), ("client_id", self.client_id)],
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Authorization": self._basic(),
            },
        )

    def _basic(self) -> str:
        return provider.basic(self.client_id, self.client_secret.get_secret_value())

    # The courses of the methods

    def _api(self, operation: str) -> Api:
        base_url = self.base_url or f"https://{self.organization_id}.customer-api.atomic.io"
        return Api(
            environment=f"{base_url}/v1/{self.environment_id}",
            operation=operation_of(operation, self.operations, self.role, self.title()),
            proof=self,
            batch_size=self.batch_size,
            target_in_payload=self.target_in_payload,
        )

    def _started(
        self, action_flow_id: str, invocations: Invocations, test: bool, raise_on_failure: bool, bulk_wait: float
    ) -> Course[list[InvocationOutcome]]:
        operation = "test_action_flow" if test else "start_action_flow"
        api = self._api(operation)
        check_id("action_flow_id", action_flow_id)
        if not bulk_wait >= 0:
            raise RequestError("bulk_wait: is a number of seconds, zero or more.")
        given = invocation.numbered(invocations, of=f"{operation} {action_flow_id}")
        outcomes = yield from starting.start(api, action_flow_id, given, bulk_wait=bulk_wait)
        if raise_on_failure and (error := invocation.failure(outcomes)):
            raise error
        return outcomes

    def _upserted(self, given: Iterable[Mapping[str, Any]]) -> Course[int]:
        count = yield from users.upsert(self._api("upsert_users"), users.checked(given))
        return count

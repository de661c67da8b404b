"""A tenant of Marketing Cloud Engagement as a Prefect block: what people enter, and what flows do with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, Printable, PrintableSecret, TokenCredential, now
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketing_cloud import journeys, upserting
from prefect_atomic.integrations.marketing_cloud.api import Api
from prefect_atomic.integrations.marketing_cloud.journeys import Member
from prefect_atomic.integrations.marketing_cloud.reading import Reading
from prefect_atomic.integrations.marketing_cloud.tenant import AuthUrl, Mid, Subdomain, auth_url_of, rest_url
from prefect_atomic.integrations.marketing_cloud.upserting import Mode
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.tasks.course import arun, run
from prefect_atomic.tasks.listing import aeach, each
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.tokens import Token, served_until
from prefect_atomic.transport import outgoing


class SalesforceMarketingCloud(TokenCredential):
    """Salesforce Marketing Cloud Engagement: rows into and out of data extensions, and contacts into journeys.

    It is a credential too. Its token is shared by all processes for the 18 minutes that it lives.

    Example:
        Upsert rows into a data extension:
        ```python
        from prefect import flow
        from prefect_atomic import SalesforceMarketingCloud

        marketing_cloud = SalesforceMarketingCloud.load("BLOCK_NAME")

        @flow
        def scores():
            rows = [{"ContactKey": "123", "Score": 42}, {"ContactKey": "456", "Score": 7}]
            return marketing_cloud.upsert_rows("Scores", rows, keys=["ContactKey"])
        ```
    """

    _block_type_name = "Atomic Salesforce Marketing Cloud"
    _block_type_slug = "atomic-marketing-cloud"
    _documentation_url = "https://developer.salesforce.com/docs/marketing/marketing-cloud/guide/access-token-s2s"  # type: ignore[assignment]
    _not_of_the_token: ClassVar[frozenset[str]] = TokenCredential._not_of_the_token | {
        "async_batch",
        "max_async_bytes",
        "max_text",
        "sync_batch",
    }

    subdomain: Subdomain = Field(
        description="The part of the package's Authentication Base URI before .auth.marketingcloudapis.com."
    )
    client_id: Printable = Field(min_length=1, description="The client id of the package's server-to-server API.")
    client_secret: PrintableSecret = Field(min_length=1, description="The client secret that stands beside it.")
    account_id: Mid | None = Field(None, description="The MID of the business unit; none = that of the package.")
    scope: Printable | None = Field(None, description="The scopes to ask for, separated by spaces; none = all it has.")
    auth_url: AuthUrl | None = Field(
        None, description="Where tokens come from; none = https://SUBDOMAIN.auth.marketingcloudapis.com."
    )
    sync_batch: int = Field(50, ge=1, le=1000, description="The most rows of one synchronous request.")
    async_batch: int = Field(32_000, ge=1, le=32_000, description="The most rows of one asynchronous request.")
    max_async_bytes: int = Field(
        5_000_000, ge=1000, le=50_000_000, description="The most bytes of one request's body; a larger one is cut."
    )
    max_text: int = Field(4000, ge=1, description="The most characters of a value; a row with a longer one is refused.")
    cache_seconds: CacheSeconds = Field(1200, description="How long a token is shared at most, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["marketing-cloud"] = Field(
        "marketing-cloud", description="Tells saved credentials apart; leave as it is."
    )

    @field_validator("scope")
    @classmethod
    def _is_not_blank(cls, scope: str | None) -> str | None:
        # An empty scope would ask for a token without any, where none asks for all.
        return " ".join(scope.split()) or None if scope else None

    # Data extensions

    def upsert_rows(
        self,
        data_extension_key: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        keys: Sequence[str],
        mode: Mode = "auto",
        wait: float = 600.0,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Inserts rows into a data extension, and changes those that are there already.

        A row that cannot be sent, or is refused, is told in its outcome, and the others go through. Columns that a row
        does not have stay as they are. Doing it twice does no harm, so what got no answer is sent again.

        Args:
            data_extension_key: The data extension's external key.
            rows: The rows, each a mapping of columns to values; read as they are needed.
            keys: The columns of the data extension's primary key, which every row has.
            mode: `sync` sends up to `sync_batch` rows a request, and Marketing Cloud answers when they are written.
                `async` sends up to `async_batch`, and asks until they are processed. `auto` is `async` from 501 rows.
            wait: The longest to wait until an asynchronous request is processed, in seconds. Rows of one that is not
                by then are `unknown`.
            on_error: `raise`, or `return` the outcomes whatever they are.

        Returns:
            What became of each row.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            RecordsError: Some rows did not surely arrive, or `rows` failed after some were sent; has the outcomes.
            AtomicError: None arrived, as none can: the token, the key or the destination is at fault.
        """
        return run(
            upserting.upsert(self._api(), data_extension_key, rows, keys, mode=mode, wait=wait, on_error=on_error)
        )

    async def aupsert_rows(
        self,
        data_extension_key: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        keys: Sequence[str],
        mode: Mode = "auto",
        wait: float = 600.0,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """The same as `upsert_rows`, for an event loop."""
        return await arun(
            upserting.upsert(self._api(), data_extension_key, rows, keys, mode=mode, wait=wait, on_error=on_error)
        )

    def read_rows(
        self,
        data_extension_key: str,
        *,
        filter: str | None = None,  # noqa: A002 - as the API calls it
        order_by: str | None = None,
        page_size: int = 2500,
    ) -> Iterator[dict[str, Any]]:
        """The rows of a data extension, page by page as they are needed.

        Marketing Cloud gives the names of columns in small letters, and values as text.

        Args:
            data_extension_key: The data extension's external key.
            filter: Only rows that fit, such as `"Score gt 10 and Region eq 'EU'"`.
            order_by: A column, such as `"Score desc"`. Where rows may come or go meanwhile, name one that stays.
            page_size: How many to ask for at once, up to 2500.

        Raises:
            RequestError: An argument makes no request.
            AtomicError: Marketing Cloud refused, or its answer cannot be read.
        """
        return each(self._reading(data_extension_key, filter, order_by, page_size))

    def aread_rows(
        self,
        data_extension_key: str,
        *,
        filter: str | None = None,  # noqa: A002 - as the API calls it
        order_by: str | None = None,
        page_size: int = 2500,
    ) -> AsyncIterator[dict[str, Any]]:
        """The same as `read_rows`, for an event loop: `async for row in marketing_cloud.aread_rows(...)`."""
        return aeach(self._reading(data_extension_key, filter, order_by, page_size))

    # Journeys

    def fire_entry_event(
        self, contact_key: str, event_definition_key: str, data: Mapping[str, Any] | None = None
    ) -> str:
        """Has a contact enter a journey. It is sent again only where it surely was not processed.

        Args:
            contact_key: The contact's key.
            event_definition_key: The key of the journey's entry event, as its API Event shows it.
            data: What the entry event takes along, by its attributes.

        Returns:
            The id of the entry, as Marketing Cloud gives it.

        Raises:
            RequestError: An argument cannot be sent.
            RecordsError: No answer says whether the contact entered. Sent again, it may enter twice.
            AtomicError: It did not enter; says why.
        """
        return run(journeys.fire_one(self._api(), contact_key, event_definition_key, data))

    async def afire_entry_event(
        self, contact_key: str, event_definition_key: str, data: Mapping[str, Any] | None = None
    ) -> str:
        """The same as `fire_entry_event`, for an event loop."""
        return await arun(journeys.fire_one(self._api(), contact_key, event_definition_key, data))

    def fire_entry_events(
        self, event_definition_key: str, members: Iterable[Member], *, on_error: OnError = "raise"
    ) -> Outcomes:
        """Has many contacts enter a journey, a hundred with each request.

        A request is sent again only where it surely was not processed: no connection was made, or Marketing Cloud
        throttles. After any other failure its members are `unknown`, and the next hundred go on their way. After
        three such requests in a row no more are sent.

        Args:
            event_definition_key: The key of the journey's entry event.
            members: Who enters, such as `{"contact_key": "123", "data": {"Name": "Ada"}}`.
            on_error: `raise`, or `return` the outcomes whatever they are.

        Returns:
            What became of each member. One that is `unknown` may have entered: sent again, it may enter twice.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            RecordsError: Some did not surely enter, or `members` failed after some were sent; has the outcomes.
            AtomicError: None entered, as none can: the token or the destination is at fault.
        """
        return run(journeys.fire_many(self._api(), event_definition_key, members, on_error=on_error))

    async def afire_entry_events(
        self, event_definition_key: str, members: Iterable[Member], *, on_error: OnError = "raise"
    ) -> Outcomes:
        """The same as `fire_entry_events`, for an event loop."""
        return await arun(journeys.fire_many(self._api(), event_definition_key, members, on_error=on_error))

    # The credential

    def rest_url(self) -> str:
        """Where the REST API is, without a slash at its end: for `send_request`.

        Raises:
            CredentialError: There is no token to be had.
        """
        return self._token().token.attributes["base_url"]

    async def arest_url(self) -> str:
        """The same as `rest_url`, for an event loop."""
        return (await self._atoken()).token.attributes["base_url"]

    def _mint(self) -> Token:
        auth_url = self.auth_url or auth_url_of(self.subdomain)
        what = "the token request" if self.auth_url else f"the token request of subdomain {self.subdomain!r}"
        step = TokenStep(self.title(), what, self.known_secrets(), provider.deadline())
        body = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
            "scope": self.scope,
            "account_id": self.account_id,
        }
        issued_at = now()
        answer = step.ask(
            outgoing(
                "POST",
                f"{auth_url}/v2/token",
                headers={"Accept": "application/json"},
                json={name: value for name, value in body.items() if value is not None},
            )
        )
        base_url = rest_url(answer.get("rest_instance_url"), step, auth_url)
        return Token(
            value=step.read_token(answer),
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, provider.expires_in(answer)),
            attributes={
                "base_url": base_url,
                "host": base_url.partition("//")[2].partition("/")[0],
                "scope": str(answer.get("scope") or self.scope or ""),
            },
        )

    # What the methods ask

    def _api(self) -> Api:
        return Api(
            proof=self,
            base_url=self.rest_url,
            business_unit=f"business unit {self.account_id}" if self.account_id else "package's business unit",
            sync_batch=self.sync_batch,
            async_batch=self.async_batch,
            max_bytes=self.max_async_bytes,
            max_text=self.max_text,
        )

    def _reading(self, data_extension_key: str, condition: str | None, order_by: str | None, page_size: int) -> Reading:
        return Reading(self._api(), data_extension_key, filter=condition, order_by=order_by, page_size=page_size)


_TENANTS = Saved("marketing_cloud", "atomic-marketing-cloud/production", RequestError)


def resolve(marketing_cloud: SalesforceMarketingCloud | str) -> SalesforceMarketingCloud:
    """The block itself, loaded if it was given as the slug of a saved one.

    Raises:
        RequestError: There is no such block, or it is of another kind.
    """
    block = _TENANTS.load(marketing_cloud) if isinstance(marketing_cloud, str) else marketing_cloud
    if not isinstance(block, SalesforceMarketingCloud):
        raise RequestError(f"marketing_cloud: is a {type(block).__name__}, which is no SalesforceMarketingCloud.")
    return block

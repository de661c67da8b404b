"""An org of Salesforce as a Prefect block: what people enter, and what flows do with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

import httpx
from pydantic import Field, SecretStr, model_validator

from prefect_atomic.credentials.base import (
    AllowedHosts,
    CacheSeconds,
    OptionalSecret,
    Printable,
    TokenCredential,
)
from prefect_atomic.credentials.private_keys import check_fit, load_private_key
from prefect_atomic.integrations.records.outcomes import OnError, Outcome, Outcomes
from prefect_atomic.integrations.salesforce import usage
from prefect_atomic.integrations.salesforce.my_domain import Domain
from prefect_atomic.integrations.salesforce.sign_in import FIELDS, Way, sign_in, way_of
from prefect_atomic.integrations.salesforce.usage import ApiUsage

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce as SimpleSalesforce

    from prefect_atomic.integrations.salesforce.org import Org
    from prefect_atomic.integrations.salesforce.writing import Operation
    from prefect_atomic.tokens import Token

Record = Mapping[str, Any]

_A_DAY = 86_400.0


class Salesforce(TokenCredential):
    """An org of Salesforce: queries, and records created, updated, upserted and deleted, each with its outcome.

    It is a credential too. Its session is shared by all processes. Fill in exactly one set of fields: client_id and
    client_secret (client credentials); client_id, username and private_key (JWT bearer); username, password and
    security_token; or session_id and instance_url.

    Example:
        Upsert contacts by an external id:
        ```python
        from prefect import flow
        from prefect_atomic import Salesforce

        crm = Salesforce.load("BLOCK_NAME")

        @flow
        def contacts():
            rows = [{"External_Id__c": "1", "LastName": "Ada"}]
            return crm.upsert("Contact", rows, external_id="External_Id__c").succeeded
        ```
    """

    _block_type_name = "Atomic Salesforce"
    _block_type_slug = "atomic-salesforce"
    _documentation_url = "https://developer.salesforce.com/docs/platform/api-rest/guide/intro-rest.html"  # type: ignore[assignment]
    _not_of_the_token: ClassVar[frozenset[str]] = TokenCredential._not_of_the_token | {
        "api_version",
        "stop_at_usage",
        "timeout",
    }

    domain: Domain = Field(
        "login", description="The org's My Domain, such as COMPANY.my; login and test take no client credentials."
    )
    client_id: Printable | None = Field(None, description="The consumer key of the external client app.")
    client_secret: OptionalSecret = Field(None, description="The consumer secret of the external client app.")
    username: Printable | None = Field(None, description="The user that signs in.")
    password: OptionalSecret = Field(None, description="The user's password.")
    security_token: OptionalSecret = Field(None, description="The user's security token.")
    private_key: SecretStr | None = Field(None, description="The private key of the app's certificate, as a PEM.")
    private_key_passphrase: SecretStr | None = Field(
        None, description="What opens the private key, if it is encrypted."
    )
    session_id: OptionalSecret = Field(None, description="A session that exists already; it is not renewed.")
    instance_url: Domain | None = Field(None, description="Where that session is, such as COMPANY.my.")
    api_version: str = Field(
        "62.0", pattern=r"^[1-9][0-9]\.0$", description="The version of the API, without a leading v."
    )
    timeout: float = Field(
        60.0, gt=0, le=3600, description="The longest to wait for each part of an answer, in seconds."
    )
    stop_at_usage: float | None = Field(
        None, gt=0, le=1, description="The share of the org's daily API calls at which this block stops, such as 0.8."
    )
    cache_seconds: CacheSeconds = Field(3600, description="How long a session is shared, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["salesforce"] = Field("salesforce", description="Tells saved credentials apart; leave as it is.")

    @model_validator(mode="after")
    def _signs_in_one_way(self) -> Self:
        way = self._way()
        if way == "client credentials" and self.domain in ("login", "test"):
            raise ValueError(
                f"domain: {self.domain}.salesforce.com refuses client credentials; enter the org's own My Domain, such "
                "as COMPANY.my"
            )
        if self.private_key is not None:
            passphrase = self.private_key_passphrase.get_secret_value() if self.private_key_passphrase else None
            try:
                check_fit(load_private_key(self.private_key.get_secret_value(), passphrase), "RS256")
            except ValueError as error:
                raise ValueError(f"private_key: {error}") from None
        return self

    # Reading

    def query(
        self,
        soql: str,
        *,
        include_deleted: bool = False,
        limit: int | None = None,
        bulk_from: int = 50_000,
        bulk_wait: float = _A_DAY,
    ) -> Iterator[dict[str, Any]]:
        """The rows of a query, as they are needed; a million of them take no more memory than a page.

        A row has the selected fields by their names; those of related records as `Account.Name`. It is the same
        whichever API it came by.

        Args:
            soql: The query, such as `SELECT Id, Name, Account.Name FROM Contact`.
            include_deleted: Whether records in the recycle bin count.
            limit: The most rows to read; None = all.
            bulk_from: The number of rows beyond which a Bulk API 2.0 job reads them, where that takes the query.
            bulk_wait: The longest to wait for that job, in seconds.

        Raises:
            RequestError: There is no query.
            QuotaError: `stop_at_usage` is reached.
            AtomicError: Salesforce refused, or could not be asked.
        """
        from prefect_atomic.integrations.salesforce import reading

        return reading.query(
            self._org(),
            soql,
            include_deleted=include_deleted,
            bulk_from=bulk_from,
            bulk_wait=bulk_wait,
            limit=limit,
        )

    @overload
    def get(  # type: ignore[overload-overlap]  # a text is an iterable of texts
        self, sobject: str, ids: str, *, fields: Sequence[str] | None = None, external_id: str = ""
    ) -> dict[str, Any]: ...

    @overload
    def get(
        self, sobject: str, ids: Iterable[str], *, fields: Sequence[str] | None = None, external_id: str = ""
    ) -> list[dict[str, Any] | None]: ...

    def get(
        self,
        sobject: str,
        ids: str | Iterable[str],
        *,
        fields: Sequence[str] | None = None,
        external_id: str = "",
    ) -> dict[str, Any] | list[dict[str, Any] | None]:
        """One record, or many, by id.

        Args:
            sobject: The API name of the object, such as `Contact`.
            ids: The id, or several.
            fields: The fields to read; None = all.
            external_id: The field that the ids are of; empty = `Id`.

        Returns:
            The record; or a list with each, in the order of the ids, and None for one that is not there.

        Raises:
            RequestError: An argument cannot be sent.
            AtomicError: There is no such record, or Salesforce refused.
        """
        from prefect_atomic.integrations.salesforce import reading

        if isinstance(ids, str):
            return reading.get_one(self._org(), sobject, ids, fields, external_id)
        return list(reading.get_many(self._org(), sobject, ids, fields, external_id))

    # Writing

    @overload
    def create(self, sobject: str, records: Record, *, on_error: OnError = "raise") -> Outcome: ...

    @overload
    def create(
        self,
        sobject: str,
        records: Iterable[Record],
        *,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcomes: ...

    def create(
        self,
        sobject: str,
        records: Record | Iterable[Record],
        *,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcome | Outcomes:
        """Creates one record, or many.

        Many are read as they are needed: up to 200 go with a request, and from `bulk_from` on Bulk API 2.0 jobs take
        them all. A request that may have been processed is not repeated; its records are `unknown`.

        Args:
            sobject: The API name of the object, such as `Contact`.
            records: The record, or an iterable of records: mappings of field names to values. None and an empty text
                empty a field; `{"Account": {"External_Id__c": "1"}}` relates to another record.
            on_error: `raise`, or `return` the outcomes also where some are no success.
            bulk_from: The number of records from which Bulk API 2.0 is used.
            bulk_wait: The longest to wait for each of its jobs, in seconds.

        Returns:
            What became of the record; or of all, by their position.

        Raises:
            RequestError: An argument cannot be sent.
            RecordsError: Some were not created, or it is not known; has the outcomes.
            QuotaError: `stop_at_usage` is reached.
            AtomicError: None was, as none can be.
        """
        return self._write("insert", sobject, records, "", on_error, bulk_from, bulk_wait)

    @overload
    def update(self, sobject: str, records: Record, *, on_error: OnError = "raise") -> Outcome: ...

    @overload
    def update(
        self,
        sobject: str,
        records: Iterable[Record],
        *,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcomes: ...

    def update(
        self,
        sobject: str,
        records: Record | Iterable[Record],
        *,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcome | Outcomes:
        """Changes records, each of which has its `Id`. Arguments, result and errors are those of `create`."""
        return self._write("update", sobject, records, "Id", on_error, bulk_from, bulk_wait)

    @overload
    def upsert(self, sobject: str, records: Record, *, external_id: str, on_error: OnError = "raise") -> Outcome: ...

    @overload
    def upsert(
        self,
        sobject: str,
        records: Iterable[Record],
        *,
        external_id: str,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcomes: ...

    def upsert(
        self,
        sobject: str,
        records: Record | Iterable[Record],
        *,
        external_id: str,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcome | Outcomes:
        """Creates records, and changes those that are there already, told by an external id.

        Arguments, result and errors are those of `create`, and `external_id` is the field that tells them.
        """
        return self._write("upsert", sobject, records, external_id, on_error, bulk_from, bulk_wait)

    @overload
    def delete_records(  # type: ignore[overload-overlap]  # as above
        self, sobject: str, ids: str, *, on_error: OnError = "raise"
    ) -> Outcome: ...

    @overload
    def delete_records(
        self,
        sobject: str,
        ids: Iterable[str],
        *,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcomes: ...

    def delete_records(
        self,
        sobject: str,
        ids: str | Iterable[str],
        *,
        on_error: OnError = "raise",
        bulk_from: int = 2000,
        bulk_wait: float = _A_DAY,
    ) -> Outcome | Outcomes:
        """Deletes one record, or many, by id: they go to the recycle bin. (`delete` is Prefect's, and deletes a block.)

        Arguments, result and errors are those of `create`.
        """
        records: Any = {"Id": ids}
        if not isinstance(ids, str):  # rows of a query that have the id are as good
            records = (each if isinstance(each, Mapping) else {"Id": each} for each in ids)
        return self._write("delete", sobject, records, "Id", on_error, bulk_from, bulk_wait)

    # The org

    def usage(self) -> ApiUsage | None:
        """The org's API calls within 24 hours, as its latest answer to this process said; None before the first."""
        return usage.last(self._token().token.attributes["host"])

    def get_client(self) -> SimpleSalesforce:  # type: ignore[override]  # as Prefect's other blocks do
        """A `simple_salesforce.Salesforce` with the shared session, for all else that it offers.

        Its session id is read anew for every request, and a rejected one is renewed once, in `bulk` and `bulk2` too.
        The answers of errors have no secret in them.
        """
        from prefect_atomic.integrations.salesforce.client import SharedSalesforce

        return SharedSalesforce(self)

    def is_rejection(self, status: int, content: bytes) -> bool:
        """Whether an answer says that the session is not accepted (any more): any 401, and Bulk API 1.0's 400."""
        if self._way() == "session":
            return False  # there is no other one to be had
        return status == 401 or (status == 400 and b"InvalidSessionId" in content)

    def _is_judged_by_body(self, response: httpx.Response) -> bool:
        # Only Bulk API 1.0 answers so, in a few words.
        length = response.headers.get("content-length", "")
        is_short = length.isdigit() and int(length) <= _SHORT
        return response.status_code == 400 and is_short and "/services/async/" in response.request.url.path

    def _rejects(self, response: httpx.Response) -> bool:
        content = response.content if self._is_judged_by_body(response) else b""
        return self.is_rejection(response.status_code, content)

    def _mint(self) -> Token:
        return sign_in(self, self._way())

    def _way(self) -> Way:
        return way_of(frozenset(name for name in FIELDS if getattr(self, name) is not None))

    def _org(self) -> Org:
        from prefect_atomic.integrations.salesforce.org import Org

        return Org(self)

    def _write(
        self,
        operation: Operation,
        sobject: str,
        records: Record | Iterable[Record],
        key: str,
        on_error: OnError,
        bulk_from: int,
        bulk_wait: float,
    ) -> Outcome | Outcomes:
        from prefect_atomic.integrations.salesforce.writing import Writing, write

        one = isinstance(records, Mapping)
        outcomes = write(
            self._org(),
            Writing(operation, sobject, key),
            [records] if isinstance(records, Mapping) else records,
            bulk_from=2 if one else bulk_from,
            on_error=on_error,
            bulk_wait=bulk_wait,
        )
        return outcomes[0] if one else outcomes


_SHORT = 64 * 1024

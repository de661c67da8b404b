"""A tenant of Salesforce Data 360 as a Prefect block: what people enter, and what flows do with it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import httpx
from pydantic import AfterValidator, Field

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, Printable, PrintableSecret, TokenCredential, now
from prefect_atomic.credentials.identity_url import IdentityUrl, is_loopback
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.data_360.api import Api, check_target, check_wait
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.tokens import Token, served_until
from prefect_atomic.transport.redaction import redact_url

if TYPE_CHECKING:  # loaded by the methods that need them: most who import the package need none
    from prefect_atomic.integrations.data_360.bulk import BulkIngest, BulkLoad, Rejected
    from prefect_atomic.integrations.data_360.jobs import BulkJob, Jobs, Operation
    from prefect_atomic.integrations.data_360.query import Parameters, QueryApi
    from prefect_atomic.integrations.data_360.sources import Records
    from prefect_atomic.integrations.s3 import S3Bucket

_MY_DOMAINS = (".my.salesforce.com", ".my.salesforce.mil", ".my.sfcrmproducts.cn")


def _is_my_domain(login_url: str) -> str:
    url = httpx.URL(login_url)
    if not is_loopback(url):
        if url.host in ("login.salesforce.com", "test.salesforce.com"):
            raise ValueError(
                "this sign-in needs the org's own My Domain, such as https://COMPANY.my.salesforce.com: "
                f"{url.host} refuses client credentials"
            )
        if url.host.endswith((".lightning.force.com", ".lightning.force.mil")):
            my_domain = url.host.partition(".lightning.")[0] + ".my.salesforce.com"
            raise ValueError(f"is where people look at the org; its My Domain is https://{my_domain}")
        if url.scheme != "https" or not url.host.endswith(_MY_DOMAINS):
            raise ValueError("must be an https My Domain, such as https://COMPANY.my.salesforce.com")
    if url.path not in ("", "/") or url.query:
        raise ValueError(f"must end with the host, without {redact_url(url.raw_path.decode())}")
    return login_url.rstrip("/")


class SalesforceData360(TokenCredential):
    """A tenant of Data 360: takes records, one by one or in bulk, and answers queries.

    It is a credential too: a Salesforce token, exchanged for one of Data 360, which all processes share for 5 minutes,
    as Atomic documents.

    Example:
        Ingest records, and query them:
        ```python
        from prefect import flow
        from prefect_atomic import SalesforceData360

        crm = SalesforceData360.load("BLOCK_NAME")

        @flow
        def orders():
            crm.ingest("prefect_connector", "orders_1c2d3e4f", [{"order_id": "1", "amount": 9.5, "placed_at": None}])
            return list(crm.query("SELECT * FROM orders_1c2d3e4f__dll LIMIT 10"))
        ```
    """

    _block_type_name = "Atomic Salesforce Data 360"
    _block_type_slug = "atomic-salesforce-data-360"
    _documentation_url = "https://developer.salesforce.com/docs/data/data-cloud-ref/guide/c360a-api-get-started.html"  # type: ignore[assignment]
    _not_of_the_token: ClassVar[frozenset[str]] = TokenCredential._not_of_the_token | {"batch_size"}

    login_url: Annotated[IdentityUrl, AfterValidator(_is_my_domain)] = Field(
        description="The org's My Domain, such as https://COMPANY.my.salesforce.com."
    )
    client_id: Printable = Field(min_length=1, description="The consumer key of the external client app.")
    client_secret: PrintableSecret = Field(min_length=1, description="The consumer secret of the external client app.")
    dataspace: str = Field("default", min_length=1, description="The API name of the data space.")
    scope: str | None = Field(None, description="The scopes to ask for, separated by spaces; none = all of the app's.")
    batch_size: int = Field(200, ge=1, le=10_000, description="The most records of one request of streaming ingestion.")
    cache_seconds: CacheSeconds = Field(300, description="How long a token is shared, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["salesforce-data-360"] = Field(
        "salesforce-data-360", description="Tells saved credentials apart; leave as it is."
    )

    # Streaming ingestion

    def ingest(
        self,
        source: str,
        object: str,  # noqa: A002 - as Data 360 calls it
        records: Iterable[Mapping[str, Any]],
        *,
        fields: Sequence[str] | None = None,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Upserts records by their primary key, a few hundred with each request. A record is replaced as a whole.

        Records are read as they are needed, in little memory. Data 360 says yes or no to a request, not to a record:
        where it says no, the halves of the request are sent, and theirs, until what is wrong is alone. What it accepted
        is processed some minutes later.

        Args:
            source: The API name of the ingestion connector.
            object: The endpoint's name of the object, from the connector's page in Setup, such as `contacts_734a9fa2`.
            records: The records, such as `{"id": "1", "email": "ann@example.com"}`. Dates and moments may be Python's.
            fields: All fields of the schema: what a record lacks of them is sent as null. Without it, all records have
                to have the fields of the first one.
            on_error: `raise`, or `return` the outcomes whatever they are.

        Returns:
            What became of each record: `succeeded` is accepted.

        Raises:
            RecordsError: Some records did not surely arrive; has the outcomes.
            RequestError: The arguments are no names and records; nothing was sent.
            AtomicError: None was accepted, as none can be: the token, a scope, the connector or the object is at fault.
        """
        from prefect_atomic.integrations.data_360 import streaming

        return streaming.ingest(
            self._api(), (source, object), records, fields=fields, batch_size=self.batch_size, on_error=on_error
        )

    def validate_records(
        self,
        source: str,
        object: str,  # noqa: A002 - as Data 360 calls it
        records: Iterable[Mapping[str, Any]],
        *,
        fields: Sequence[str] | None = None,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Has records checked against the schema, and nothing kept: for development, says Data 360.

        Arguments, outcomes and errors are those of `ingest`.
        """
        from prefect_atomic.integrations.data_360 import streaming

        return streaming.ingest(
            self._api(),
            (source, object),
            records,
            fields=fields,
            batch_size=self.batch_size,
            on_error=on_error,
            is_test=True,
        )

    def delete_records(
        self,
        source: str,
        object: str,  # noqa: A002 - as Data 360 calls it
        ids: Iterable[str | int],
        *,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Deletes records by their primary keys, 200 with each request; one that is not there is no error.

        Where the object has a Record Modified Field, Data 360 keeps a record whose value of it is in the future.

        Args:
            source: The API name of the ingestion connector.
            object: The endpoint's name of the object.
            ids: The primary keys, whose case matters.
            on_error: `raise`, or `return` the outcomes whatever they are.

        Returns:
            What became of each id: `succeeded` is accepted.

        Raises:
            RecordsError: Some were not surely accepted; has the outcomes.
            AtomicError: None was, as none can be.
        """
        from prefect_atomic.integrations.data_360 import streaming

        return streaming.delete_records(self._api(), (source, object), ids, on_error=on_error)

    # Bulk jobs

    def bulk_ingest(
        self,
        source: str,
        object: str,  # noqa: A002 - as Data 360 calls it
        records: Records,
        *,
        operation: Operation = "upsert",
        fields: Sequence[str] | None = None,
        bucket: S3Bucket | None = None,
        wait: float = 3600.0,
        on_rejected: Callable[[Rejected], None] | None = None,
        on_job: Callable[[str], None] | None = None,
    ) -> BulkIngest:
        """Upserts or deletes any number of records with bulk jobs, and waits until Data 360 has processed them.

        Rows are cut into CSV files of 150 MB on this host's disk, one at a time, and up to 100 go into a job. No job is
        closed, so nothing is processed, before the last row was read and uploaded; where that fails, all are aborted.

        Args:
            source: The API name of the ingestion connector.
            object: The endpoint's name of the object.
            records: An iterable of mappings; a file, by its path or open in binary mode: CSV (UTF-8, commas, a header),
                or JSON Lines if its name ends with .jsonl or .ndjson; or, with `bucket`, the key of such an object.
            operation: `upsert`, or `delete`, for which the primary key is enough.
            fields: The columns, for mappings and JSON Lines; none = the fields of the first record. What a record lacks
                is blank.
            bucket: The bucket that `records` is a key of.
            wait: The longest to wait for the end of the jobs, in seconds; 0 = not at all.
            on_rejected: Told each row that cannot be sent: it is no CSV, not UTF-8, has a NUL, or other fields. None =
                such a row is an error.
            on_job: Told the id of each job, before anything is uploaded to it.

        Returns:
            The jobs, and how much was sent.

        Raises:
            RequestError: A row, or a file as a whole, cannot be sent; says where; nothing was processed.
            BulkIngestError: A job did not complete, or not within `wait`, or it is not known; has the result.
            AtomicError: Data 360 or the bucket failed before the jobs were closed; nothing was processed.
        """
        from prefect_atomic.integrations.data_360 import bulk, sources

        check_wait(wait)  # not after all was uploaded
        if on_rejected is not None and not callable(on_rejected):
            raise RequestError("on_rejected: takes a function, which is told each row that cannot be sent.")
        load = self.bulk_load(source, object, operation=operation, on_job=on_job)
        with sources.table_of(records, fields, bucket) as table:
            load.upload(table, on_rejected=on_rejected)
        return bulk.finish(load, self._jobs(), wait)

    def bulk_load(
        self,
        source: str,
        object: str,  # noqa: A002 - as Data 360 calls it
        *,
        operation: Operation = "upsert",
        on_job: Callable[[str], None] | None = None,
    ) -> BulkLoad:
        """The steps of `bulk_ingest` one by one, for those who keep a note between them.

        Raises:
            RequestError: The arguments are no names, or another operation.
        """
        source, object = check_target(source, object)  # noqa: A001 - as Data 360 calls it
        if operation not in ("upsert", "delete"):
            raise RequestError("operation: is 'upsert' or 'delete'.")
        if on_job is not None and not callable(on_job):
            raise RequestError("on_job: takes a function, which is told the id of each job.")
        from prefect_atomic.integrations.data_360.bulk import BulkLoad

        return BulkLoad(self._jobs(), source, object, operation, on_job=on_job)

    def bulk_job(self, job_id: str) -> BulkJob:
        """What became of a bulk job."""
        return self._jobs().get(job_id)

    def abort_bulk_job(self, job_id: str) -> None:
        """Ends a bulk job that is not processed yet; what was uploaded to it is not processed."""
        self._jobs().abort(job_id)

    def close_bulk_job(self, job_id: str) -> None:
        """Has what was uploaded to a bulk job processed; one that is closed already is left alone."""
        self._jobs().close(job_id)

    def follow_bulk_jobs(self, job_ids: Iterable[str], *, wait: float = 3600.0) -> list[BulkJob]:
        """Looks at closed bulk jobs until all are over, or `wait` seconds are; returns them as they were seen last."""
        from prefect_atomic.integrations.data_360 import bulk

        return bulk.follow(self._jobs(), job_ids, wait)

    # Queries

    def query(
        self,
        sql: str,
        *,
        parameters: Parameters | None = None,
        api: QueryApi = "auto",
        wait: float = 3600.0,
    ) -> Generator[dict[str, Any], None, None]:
        """The rows of a query, page by page as they are needed.

        Numbers, booleans, dates and moments are Python's, a DECIMAL is a `Decimal`; what Python cannot hold stays text.
        With version 3, which is asked first, a page that fails is asked for again, and closing the iterator early
        cancels the query. Version 2 gives out each batch once, within 3 minutes of the one before: there, a page that
        fails ends the iteration.

        Args:
            sql: The statement.
            parameters: A list of values for `?`, or a mapping for `:name`; version 3 only.
            api: `v3`, `v2`, or `auto`: version 3, and version 2 where the tenant has none.
            wait: The longest to wait for the result of version 3, in seconds.

        Raises:
            RequestError: The arguments make no query.
            AtomicError: Data 360 refused it, or did not answer; while iterating.
        """
        from prefect_atomic.integrations.data_360 import query

        return query.query(self._api(), sql, parameters=parameters, version=api, wait=wait)

    # The tenant

    def host(self) -> str:
        """The tenant's host that came with the token, such as `abc123.c360a.salesforce.com`.

        Raises:
            CredentialError: One of the two steps failed.
        """
        return self._token().token.attributes["host"]

    async def ahost(self) -> str:
        """The same as `host`, for an event loop."""
        return (await self._atoken()).token.attributes["host"]

    def base_url(self) -> str:
        """Where the tenant's APIs are, such as `https://abc123.c360a.salesforce.com`.

        Raises:
            CredentialError: One of the two steps failed.
        """
        attributes = self._token().token.attributes
        return attributes.get("base_url") or f"https://{attributes['host']}"

    def _api(self) -> Api:
        return Api(self, self.base_url)

    def _jobs(self) -> Jobs:
        from prefect_atomic.integrations.data_360.jobs import Jobs

        return Jobs(self._api())

    def _mint(self) -> Token:
        deadline, issued_at = provider.deadline(), now()
        core = self._core_token(deadline)
        # A core token may be good for one exchange only, so it is neither kept nor used again.
        step = TokenStep(self.title(), "the Data 360 token exchange", (*self.known_secrets(), core), deadline)
        answer = step.ask(
            provider.form_post(
                f"{self.login_url}/services/a360/token",
                [
                    ("grant_type", "urn:salesforce:grant-type:external:cdp"),
                    ("subject_token", core),
                    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                    ("dataspace", self.dataspace),
                ],
            )
        )
        value = step.read_token(answer)
        tenant = self._tenant(answer.get("instance_url"), step)
        host = tenant.netloc.decode()
        return Token(
            value=value,
            issued_at=issued_at,
            expires_at=served_until(issued_at, self.cache_seconds, provider.expires_in(answer)),
            attributes={
                "host": host,
                "base_url": f"{tenant.scheme}://{host}",
                "scope": str(answer.get("scope") or ""),
            },
        )

    def _core_token(self, deadline: float) -> str:
        step = TokenStep(self.title(), "the Salesforce token request", self.known_secrets(), deadline)
        parameters = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id),
            ("client_secret", self.client_secret.get_secret_value()),
        ]
        if self.scope:
            parameters.append(("scope", self.scope))
        return step.read_token(step.ask(provider.form_post(f"{self.login_url}/services/oauth2/token", parameters)))

    def _tenant(self, instance_url: object, step: TokenStep) -> httpx.URL:
        """The tenant of an `instance_url`, which Salesforce gives with or without a scheme."""
        text = instance_url if isinstance(instance_url, str) else ""
        try:
            url = httpx.URL(text if "//" in text else f"{httpx.URL(self.login_url).scheme}://{text}")
        except (httpx.InvalidURL, UnicodeError):
            url = httpx.URL()
        if not url.host:
            raise step.error("answered without an instance_url, so the tenant's host is not known")
        # A token goes over plain http only where it never leaves this machine, as in the sandbox.
        is_plain = url.scheme == "http" and self.login_url.startswith("http:") and is_loopback(url)
        return url.copy_with(scheme="http" if is_plain else "https")


_BLOCKS = Saved("data_360", "atomic-salesforce-data-360/crm", RequestError)


def resolve(data_360: SalesforceData360 | str) -> SalesforceData360:
    """The block itself, loaded if it was given as the slug of a saved one.

    Raises:
        RequestError: There is no such block, or it is another kind.
    """
    block = _BLOCKS.load(data_360) if isinstance(data_360, str) else data_360
    if not isinstance(block, SalesforceData360):
        raise RequestError(f"data_360: is a {type(block).__name__}, which is no SalesforceData360.")
    return block

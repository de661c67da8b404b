"""An instance of Marketo Engage as a Prefect block: what people enter, and what flows do with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import httpx
from pydantic import Field, model_validator

from prefect_atomic.credentials import provider
from prefect_atomic.credentials.base import AllowedHosts, CacheSeconds, Printable, PrintableSecret, TokenCredential, now
from prefect_atomic.credentials.provider import TokenStep
from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.marketo.answers import token_codes_in
from prefect_atomic.integrations.marketo.api import Api
from prefect_atomic.integrations.marketo.endpoints import (
    IdentityEndpoint,
    MunchkinId,
    RestEndpoint,
    bulk_endpoint,
    endpoint_of,
    instance_of,
)
from prefect_atomic.integrations.marketo.limited_auth import LimitedAuth
from prefect_atomic.integrations.marketo.limits import Limits
from prefect_atomic.integrations.marketo.minting import mint
from prefect_atomic.integrations.records import OnError, Outcomes
from prefect_atomic.tasks.saved import Saved
from prefect_atomic.tokens import Token

if TYPE_CHECKING:
    from pathlib import Path

    from prefect_atomic.integrations.marketo.activities import Activities
    from prefect_atomic.integrations.marketo.custom_objects import By
    from prefect_atomic.integrations.marketo.export_jobs import ExportResult
    from prefect_atomic.integrations.marketo.export_targets import Target
    from prefect_atomic.integrations.marketo.job_notes import JobNotes
    from prefect_atomic.integrations.marketo.leads import Action
    from prefect_atomic.integrations.records.sources import Records
    from prefect_atomic.integrations.s3 import S3Bucket

_AT_ONCE = 5
"""Calls at the same time of one method: what Adobe advises a single integration."""

_LARGEST_REFUSAL = 1_000_000


class Marketo(TokenCredential):
    """Marketo Engage: leads, activities, lists, programs, campaigns, custom objects, and all of them in bulk.

    It is a credential too. Its token is shared by all processes for as long as Marketo says that it lives. So are the
    limits: all threads and processes of a host that use an instance keep its calls in any 20 seconds, those at the same
    time and those of the day, and those of all hosts do where Prefect has global concurrency limits for it.

    Example:
        Synchronise leads:
        ```python
        from prefect import flow
        from prefect_atomic import Marketo

        marketo = Marketo.load("BLOCK_NAME")

        @flow
        def scores():
            leads = [{"email": "ada@example.com", "leadScore": 42}, {"email": "alan@example.com", "leadScore": 7}]
            return marketo.sync_leads(leads)
        ```
    """

    _block_type_name = "Atomic Marketo"
    _block_type_slug = "atomic-marketo"
    _documentation_url = "https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/authentication"  # type: ignore[assignment]
    _not_of_the_token: ClassVar[frozenset[str]] = TokenCredential._not_of_the_token | {
        "calls_per_20_seconds",
        "calls_per_day",
        "concurrent_calls",
        "partition",
    }

    munchkin_id: MunchkinId | None = Field(
        None, description="The instance, such as 123-ABC-456; see Admin > Munchkin. Or enter the two endpoints."
    )
    rest_endpoint: RestEndpoint | None = Field(
        None, description="Its REST endpoint, as Admin > Web Services shows it; none = that of the Munchkin id."
    )
    identity_endpoint: IdentityEndpoint | None = Field(
        None, description="The identity endpoint that stands below it; none = that of the Munchkin id."
    )
    client_id: Printable = Field(min_length=1, description="The client id; see Admin > LaunchPoint, View Details.")
    client_secret: PrintableSecret = Field(min_length=1, description="The client secret that stands below it.")
    partition: Printable | None = Field(
        None, min_length=1, description="The lead partition of new leads; none = as Marketo sees fit."
    )
    calls_per_20_seconds: int = Field(
        100, ge=1, le=10_000, description="The most calls in any 20 seconds; lower it where others call too."
    )
    concurrent_calls: int = Field(10, ge=1, le=100, description="The most calls at the same time.")
    calls_per_day: int = Field(
        50_000, ge=1, description="The most calls from here in a day, which begins at midnight in US Central time."
    )
    cache_seconds: CacheSeconds = Field(3600, description="How long a token is shared at most, in seconds.")
    allowed_hosts: AllowedHosts = []
    kind: Literal["marketo"] = Field("marketo", description="Tells saved credentials apart; leave as it is.")

    @model_validator(mode="after")
    def _is_of_an_instance(self) -> Self:
        if self.munchkin_id is None and (self.rest_endpoint is None or self.identity_endpoint is None):
            raise ValueError("munchkin_id: is missing; enter it, or both rest_endpoint and identity_endpoint")
        return self

    # Leads

    def sync_leads(
        self,
        leads: Iterable[Mapping[str, Any]],
        *,
        action: Action = "createOrUpdate",
        lookup_field: str = "email",
        partition: str | None = None,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Creates leads, and changes those that are there already: 300 with each call, and some calls at once.

        A lead that cannot be sent, or is skipped, is told in its outcome, and the others go through. No two calls that
        are under way have the same lead. Doing it twice does no harm, so what got no answer is sent again; not so with
        `createDuplicate`, whose leads are `unknown` then.

        Args:
            leads: The leads, each a mapping of the API names of fields to values; read as they are needed.
            action: `createOrUpdate`, `createOnly`, `updateOnly` or `createDuplicate`.
            lookup_field: The field that tells leads; every lead has it. `id` goes with `updateOnly` only.
            partition: The partition of new leads; None = the block's.
            on_error: `raise`, or `return` the outcomes also where some are no success.

        Returns:
            What became of each lead, with its id.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            RecordsError: Some leads did not surely arrive; has the outcomes.
            AtomicError: None arrived, as none can; says why.
        """
        from prefect_atomic.integrations.marketo import leads as of_leads

        return of_leads.sync(
            self._api(),
            leads,
            action=action,
            lookup_field=lookup_field,
            partition=partition or self.partition,
            on_error=on_error,
        )

    def leads(
        self, filter_type: str, values: Iterable[str | int], *, fields: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Leads that have one of these values in a field: 300 values a call, page by page as they are needed.

        Args:
            filter_type: The field, such as `email` or `id`; `describe()` has those that are searchable.
            values: The values; read as they are needed. One that is there twice may bring its leads twice.
            fields: The fields to read; None = a few that Marketo chooses.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
            AtomicError: There is no answer.
        """
        from prefect_atomic.integrations.marketo import leads as of_leads

        return of_leads.read(self._api(), filter_type, values, fields)

    def describe(self) -> dict[str, Any]:
        """The fields of leads, and which of them are searchable, as Marketo describes them (`describe2`).

        Raises:
            MarketoError: Marketo refused.
        """
        result = self._api().call("GET", "leads", "describe2").result
        return result[0] if result else {}

    def merge_leads(self, winner: int, losers: Iterable[int], *, in_crm: bool = False) -> None:
        """Merges leads into one, 25 with each call. It cannot be undone.

        Where a later call fails, the error says how many leads were merged before, and which of them was the last: the
        same call again would be refused, as those are there no more.

        Args:
            winner: The id of the lead that stays.
            losers: The ids of those that become part of it.
            in_crm: Whether a CRM that is in sync merges them too.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
            TransportError: No answer says whether they were merged.
        """
        from prefect_atomic.integrations.marketo import leads as of_leads

        of_leads.merge(self._api(), winner, losers, in_crm=in_crm)

    def delete_leads(self, leads: Iterable[int | Mapping[str, Any]], *, on_error: OnError = "raise") -> Outcomes:
        """Deletes leads, 300 with each call.

        Args:
            leads: The ids, or leads that have an `id`.
            on_error: `raise`, or `return` the outcomes.

        Returns:
            What became of each.

        Raises:
            RecordsError: Some were not surely deleted; has the outcomes.
            AtomicError: None was, as none can be.
        """
        from prefect_atomic.integrations.marketo import leads as of_leads

        return of_leads.delete(self._api(), leads, on_error)

    def associate_lead(self, lead: int, cookie: str) -> None:
        """Associates what a browser did with a lead.

        Args:
            lead: The id of the lead.
            cookie: The value of the browser's `_mkto_trk` cookie.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
        """
        from prefect_atomic.integrations.marketo import leads as of_leads

        of_leads.associate(self._api(), lead, cookie)

    # Lists and programs

    def add_to_list(
        self, list_id: int, leads: Iterable[int | Mapping[str, Any]], *, on_error: OnError = "raise"
    ) -> Outcomes:
        """Puts leads on a static list, 300 with each call. Arguments, result and errors are those of `delete_leads`."""
        from prefect_atomic.integrations.marketo import lists

        return lists.add(self._api(), list_id, leads, on_error)

    def remove_from_list(
        self, list_id: int, leads: Iterable[int | Mapping[str, Any]], *, on_error: OnError = "raise"
    ) -> Outcomes:
        """Takes leads off a static list, 300 with each call; see `add_to_list`."""
        from prefect_atomic.integrations.marketo import lists

        return lists.remove(self._api(), list_id, leads, on_error)

    def list_members(self, list_id: int, *, fields: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The leads of a static list, page by page as they are needed.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
        """
        from prefect_atomic.integrations.marketo import lists

        return lists.members(self._api(), list_id, fields)

    def program_members(
        self, program_id: int, filter_type: str, values: Iterable[str | int], *, fields: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Members of a program that have one of these values in a field, such as `statusName` or `leadId`.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
        """
        from prefect_atomic.integrations.marketo import programs

        return programs.members(self._api(), program_id, filter_type, values, fields)

    def set_program_status(
        self,
        program_id: int,
        status: str,
        leads: Iterable[int | Mapping[str, Any]],
        *,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Gives leads a status in a program, of which they become members where they are none yet.

        Args:
            program_id: The id of the program.
            status: The name of the status, such as `Registered`.
            leads: The ids, or leads that have an `id`.
            on_error: `raise`, or `return` the outcomes.

        Returns:
            What became of each.

        Raises:
            RecordsError: Some were not surely changed; has the outcomes.
            AtomicError: None was, as none can be.
        """
        from prefect_atomic.integrations.marketo import programs

        return programs.set_status(self._api(), program_id, status, leads, on_error)

    def sync_program_members(
        self, program_id: int, members: Iterable[Mapping[str, Any]], *, on_error: OnError = "raise"
    ) -> Outcomes:
        """Changes fields of members of a program, each of which has its `leadId`; see `set_program_status`."""
        from prefect_atomic.integrations.marketo import programs

        return programs.sync(self._api(), program_id, members, on_error)

    def remove_from_program(
        self, program_id: int, leads: Iterable[int | Mapping[str, Any]], *, on_error: OnError = "raise"
    ) -> Outcomes:
        """Takes leads out of a program; see `set_program_status`."""
        from prefect_atomic.integrations.marketo import programs

        return programs.remove(self._api(), program_id, leads, on_error)

    # Campaigns

    def request_campaign(
        self,
        campaign_id: int,
        leads: Iterable[int | Mapping[str, Any]],
        *,
        tokens: Mapping[str, str] | None = None,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Has leads run through a trigger campaign, 100 with each call.

        A call is sent again only where Marketo says that it did nothing. After any other failure its leads are
        `unknown`, and the next hundred go on their way; after three such calls in a row no more are sent.

        Args:
            campaign_id: The id of an active campaign with the trigger "Campaign is Requested", source Web Service API.
            leads: The ids, or leads that have an `id`.
            tokens: My Tokens for this run, such as `{"my.offer": "20 %"}`; up to 100.
            on_error: `raise`, or `return` the outcomes.

        Returns:
            What became of each: one that succeeded was taken by Marketo, and runs through the campaign in time. One
            that is `unknown` may do so too: requested again, it may run through it twice.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            RecordsError: Some were not surely taken; has the outcomes.
            AtomicError: None was, as none can be.
        """
        from prefect_atomic.integrations.marketo import campaigns

        return campaigns.request(self._api(), campaign_id, leads, tokens, on_error)

    def schedule_campaign(
        self,
        campaign_id: int,
        *,
        run_at: datetime | str | None = None,
        tokens: Mapping[str, str] | None = None,
        clone_to_program: str | None = None,
    ) -> int:
        """Schedules a batch campaign. The request is never repeated, unless Marketo says that it did nothing.

        Args:
            campaign_id: The id of the campaign.
            run_at: When it is to run, with a time zone, up to two years ahead; None = in five minutes. One that is past
                by more than five minutes is refused.
            tokens: My Tokens for this run, such as `{"my.offer": "20 %"}`; up to 100.
            clone_to_program: The name of a program to clone the campaign's program to, which is then scheduled.

        Returns:
            The id of the campaign that was scheduled.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            MarketoError: Marketo refused.
            TransportError: No answer says whether it was scheduled.
        """
        from prefect_atomic.integrations.marketo import campaigns

        return campaigns.schedule(self._api(), campaign_id, run_at, tokens, clone_to_program)

    # Custom objects

    def sync_custom_objects(
        self,
        name: str,
        records: Iterable[Mapping[str, Any]],
        *,
        action: Literal["createOrUpdate", "createOnly", "updateOnly"] = "createOrUpdate",
        dedupe_by: By = "dedupeFields",
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Creates records of a custom object, and changes those that are there already, 300 with each call.

        Args:
            name: The API name of the custom object, such as `car_c`.
            records: The records, each a mapping of the API names of fields to values; read as they are needed.
            action: `createOrUpdate`, `createOnly` or `updateOnly`.
            dedupe_by: What tells records: `dedupeFields`, or `idField` with `updateOnly`.
            on_error: `raise`, or `return` the outcomes also where some are no success.

        Returns:
            What became of each record, with its Marketo GUID.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            RecordsError: Some records did not surely arrive; has the outcomes.
            AtomicError: None arrived, as none can; says why.
        """
        from prefect_atomic.integrations.marketo import custom_objects

        return custom_objects.sync(self._api(), name, records, action=action, dedupe_by=dedupe_by, on_error=on_error)

    def custom_objects(
        self,
        name: str,
        filter_type: str,
        values: Iterable[Any],
        *,
        fields: Sequence[str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Records of a custom object that have one of these values in a field: 300 values a call, page by page.

        Args:
            name: The API name of the custom object.
            filter_type: A searchable field; or `dedupeFields`, where several together tell a record.
            values: The values; for `dedupeFields`, mappings of these fields to values.
            fields: The fields to read; None = a few that Marketo chooses.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
        """
        from prefect_atomic.integrations.marketo import custom_objects

        return custom_objects.read(self._api(), name, filter_type, values, fields)

    def delete_custom_objects(
        self,
        name: str,
        records: Iterable[Mapping[str, Any]],
        *,
        delete_by: By = "dedupeFields",
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Deletes records of a custom object, each of which has the fields that tell it; see `sync_custom_objects`."""
        from prefect_atomic.integrations.marketo import custom_objects

        return custom_objects.delete(self._api(), name, records, delete_by=delete_by, on_error=on_error)

    def describe_custom_object(self, name: str) -> dict[str, Any]:
        """The fields of a custom object, those that tell its records, and those that are searchable.

        Raises:
            MarketoError: There is none of this name, or Marketo refused.
        """
        from prefect_atomic.integrations.marketo import custom_objects

        return custom_objects.describe(self._api(), name)

    # Activities

    def activities(
        self,
        since: datetime | str | None = None,
        *,
        types: Iterable[int | str],
        leads: Iterable[int | Mapping[str, Any]] | None = None,
        list_id: int | None = None,
        paging_token: str | None = None,
    ) -> Activities:
        """Activities from a moment on, page by page as they are needed.

        Args:
            since: The moment, with a time zone.
            types: Up to 10 types, by their ids or names; `activity_types()` lists them.
            leads: Only those of up to 30 leads.
            list_id: Only those of leads on this static list.
            paging_token: In place of `since`: the `paging_token` that a reading before has left.

        Returns:
            An iterator. Its `paging_token` is where a later reading begins: behind the last activity, once the
            iterator is at its end; before that, at the page that is being read, of which some then come again.

        Raises:
            RequestError: An argument makes no request.
            MarketoError: Marketo refused.
            ResponseError: A page leads nowhere, though there are more.
        """
        from prefect_atomic.integrations.marketo import activities

        return activities.read(self._api(), since, types=types, leads=leads, list_id=list_id, paging_token=paging_token)

    def lead_changes(
        self,
        since: datetime | str | None = None,
        *,
        fields: Sequence[str],
        list_id: int | None = None,
        paging_token: str | None = None,
    ) -> Activities:
        """Changes of these fields of leads, and new leads, from a moment on; see `activities`."""
        from prefect_atomic.integrations.marketo import activities

        return activities.lead_changes(self._api(), since, fields, list_id=list_id, paging_token=paging_token)

    def deleted_leads(self, since: datetime | str | None = None, *, paging_token: str | None = None) -> Activities:
        """Leads that were deleted from a moment on; see `activities`."""
        from prefect_atomic.integrations.marketo import activities

        return activities.deleted_leads(self._api(), since, paging_token=paging_token)

    def activity_types(self) -> list[dict[str, Any]]:
        """All types of activities with their attributes.

        Raises:
            MarketoError: Marketo refused.
        """
        from prefect_atomic.integrations.marketo import activities

        return activities.types(self._api())

    def add_activities(self, activities: Iterable[Mapping[str, Any]], *, on_error: OnError = "raise") -> Outcomes:
        """Adds custom activities to leads, 300 with each call: what Atomic documents for responses to cards.

        Marketo keeps each that it is sent. So a call is sent again only where Marketo says that it did nothing; after
        any other failure its activities are `unknown`.

        Args:
            activities: The activities, read as they are needed, such as `{"leadId": 1, "activityTypeId": 100001,
                "activityDate": "2026-08-01T12:00:00Z", "primaryAttributeValue": "card-1", "attributes": {"score": 5}}`:
                up to 10 types (those of an 11th are not sent), up to 20 attributes each, by their API names, and none
                of them an object.
            on_error: `raise`, or `return` the outcomes also where some are no success.

        Returns:
            What became of each, with its id.

        Raises:
            RequestError: The arguments make no request; nothing was sent.
            RecordsError: Some activities did not surely arrive; has the outcomes.
            AtomicError: None arrived, as none can; says why.
        """
        from prefect_atomic.integrations.marketo import activities as of_activities

        return of_activities.add(self._api(), activities, on_error)

    # In bulk

    def import_leads(
        self,
        records: Records,
        *,
        lookup_field: str | None = None,
        list_id: int | None = None,
        partition: str | None = None,
        columns: Sequence[str] | None = None,
        bucket: S3Bucket | None = None,
        state: JobNotes | str | Path | None = None,
        wait: float = 3600.0,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Creates and updates any number of leads in bulk; half a million of them take no more memory than a few.

        Args:
            records: Mappings of the API names of fields to values; a file of CSV (UTF-8, RFC 4180, with a header) or
                of JSON Lines (`.jsonl`, `.ndjson`), by its path or open in binary mode; or the key of one in `bucket`.
            lookup_field: The field that tells leads; None = `email`. With `id`, leads are only updated.
            list_id: A static list that they are put on.
            partition: The partition of new leads; None = the block's.
            columns: The fields, for mappings and JSON Lines; None = those of the first record.
            bucket: Where the object is that `records` names.
            state: Where notes of the jobs are kept, a path or a `JobNotes`, so that the same call with the same records
                goes on where a killed one was, within 7 days; None = nowhere.
            wait: The longest to wait for Marketo to process a file of up to 10 MB, in seconds.
            on_error: `raise`, or `return` the outcomes whatever they are.

        Returns:
            What became of each row, by its number from 0; the header of a file, and empty lines in it, do not count.
            One that Marketo warns of has succeeded, and has the warning as its message.

        Raises:
            RequestError: The arguments make no import; nothing was sent.
            MarketoInputError: Marketo refuses the file, such as for an unknown column; nothing was imported.
            RecordsError: Some rows did not surely succeed; has the outcomes.
            AtomicError: Nothing was imported, as nothing can be; says why.
        """
        from prefect_atomic.integrations.marketo import imports

        return imports.import_leads(
            self._api(),
            records,
            lookup_field=lookup_field,
            list_id=list_id,
            partition=partition or self.partition,
            columns=columns,
            bucket=bucket,
            state=state,
            wait=wait,
            on_error=on_error,
        )

    def import_custom_objects(
        self,
        name: str,
        records: Records,
        *,
        columns: Sequence[str] | None = None,
        bucket: S3Bucket | None = None,
        state: JobNotes | str | Path | None = None,
        wait: float = 3600.0,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Creates and updates records of the custom object `name` in bulk; all else is as with `import_leads`."""
        from prefect_atomic.integrations.marketo import imports

        return imports.import_custom_objects(
            self._api(), name, records, columns=columns, bucket=bucket, state=state, wait=wait, on_error=on_error
        )

    def import_program_members(
        self,
        program_id: int,
        status: str,
        records: Records,
        *,
        columns: Sequence[str] | None = None,
        bucket: S3Bucket | None = None,
        state: JobNotes | str | Path | None = None,
        wait: float = 3600.0,
        on_error: OnError = "raise",
    ) -> Outcomes:
        """Gives leads, told by their `email`, a status in a program in bulk; all else is as with `import_leads`."""
        from prefect_atomic.integrations.marketo import imports

        return imports.import_program_members(
            self._api(),
            program_id,
            status,
            records,
            columns=columns,
            bucket=bucket,
            state=state,
            wait=wait,
            on_error=on_error,
        )

    def export_leads(
        self,
        target: Target,
        *,
        fields: Sequence[str],
        created: tuple[datetime | str, datetime | str] | None = None,
        updated: tuple[datetime | str, datetime | str] | None = None,
        static_list: int | str | None = None,
        smart_list: int | str | None = None,
        header_names: Mapping[str, str] | None = None,
        bucket: S3Bucket | None = None,
        state: JobNotes | str | Path | None = None,
        wait: float = 14_400.0,
    ) -> ExportResult:
        """Writes leads into a file of CSV (UTF-8, RFC 4180, one header), each once, its checksums verified.

        A time of any length is cut into jobs of 31 days. A path or a key has what it had before until all is there.

        Args:
            target: A path, a file that is open in binary mode, or a key in `bucket`.
            fields: The API names of the fields.
            created: Leads that were created from the first of two moments on, and before the second, which is not in
                the future.
            updated: Leads that were last updated then. One that is updated while this runs may be in the file twice, or
                not at all: let it end in the past, and ask for what comes later the next time.
            static_list: Leads of a static list, by its id or name.
            smart_list: Leads of a smart list, by its id or name.
            header_names: What columns are called, by the name of the field.
            bucket: Where the object is that `target` names.
            state: Where notes of the jobs are kept, a path or a `JobNotes`, so that the same call goes on where a
                killed one was, and starts no job twice; None = nowhere.
            wait: The longest to wait for each job, in seconds; it may wait for others of the instance.

        Returns:
            How many rows and bytes there are, and which jobs they came from.

        Raises:
            RequestError: The arguments make no export; no job was made.
            MarketoQuotaError: The bytes, or the calls, of the day are used up; the same call, with its `state`, goes on
                when they are counted anew.
            MarketoInputError: Marketo refuses the job, such as for a field that it does not know.
            MarketoError: A job failed, or its file is damaged; says which one.
            AtomicError: A job is not over in time, or Marketo, or the bucket, did not answer.
        """
        from prefect_atomic.integrations.marketo import exports

        return exports.export_leads(
            self._api(),
            target,
            fields=fields,
            created=created,
            updated=updated,
            static_list=static_list,
            smart_list=smart_list,
            header_names=header_names,
            bucket=bucket,
            state=state,
            wait=wait,
        )

    def export_activities(
        self,
        target: Target,
        *,
        since: datetime | str,
        until: datetime | str,
        types: Iterable[int] | None = None,
        fields: Sequence[str] | None = None,
        header_names: Mapping[str, str] | None = None,
        bucket: S3Bucket | None = None,
        state: JobNotes | str | Path | None = None,
        wait: float = 14_400.0,
    ) -> ExportResult:
        """Writes activities into a file of CSV; its `attributes` are JSON. All else is as with `export_leads`.

        Args:
            target: A path, a file that is open in binary mode, or a key in `bucket`.
            since: The moment from which on.
            until: The moment before which; it is not in the future.
            types: The ids of types; None = all of them.
            fields: Some of the columns; None = all.
            header_names: What columns are called, by the name of the field.
            bucket: Where the object is that `target` names.
            state: Where notes of the jobs are kept.
            wait: The longest to wait for each job, in seconds.
        """
        from prefect_atomic.integrations.marketo import exports

        return exports.export_activities(
            self._api(),
            target,
            since=since,
            until=until,
            activity_types=types,
            fields=fields,
            header_names=header_names,
            bucket=bucket,
            state=state,
            wait=wait,
        )

    # What is used

    def usage(self) -> list[dict[str, Any]]:
        """How many calls were made today, in all and by each API user, as Marketo counts them.

        Raises:
            MarketoError: Marketo refused.
        """
        return self._api().call("GET", "stats", "usage").result

    # The credential

    def rest_url(self) -> str:
        """Where the REST API is, such as `https://123-abc-456.mktorest.com/rest`: for `send_request`."""
        return self.rest_endpoint or endpoint_of(str(self.munchkin_id), "rest")

    def auth(self) -> httpx.Auth:
        """This credential for any httpx client; requests wait until Marketo takes another call."""
        rest = httpx.URL(self.rest_url())
        limits = Limits(
            instance=instance_of(str(rest)),
            per_window=self.calls_per_20_seconds,
            at_once=self.concurrent_calls,
            per_day=self.calls_per_day,
        )
        return LimitedAuth(self, limits, rest.netloc.decode())

    def _rejects(self, response: httpx.Response) -> bool:
        if not self._is_judged_by_body(response):
            return super()._rejects(response)
        return bool(token_codes_in(response.content))

    def _is_judged_by_body(self, response: httpx.Response) -> bool:
        length = response.headers.get("content-length", "")
        is_small = not length.isdigit() or int(length) <= _LARGEST_REFUSAL
        return response.status_code == 200 and is_small and "json" in response.headers.get("content-type", "")

    def _mint(self) -> Token:
        identity = self.identity_endpoint or endpoint_of(str(self.munchkin_id), "identity")
        step = TokenStep(self.title(), "the token request", self.known_secrets(), provider.deadline())
        client = (self.client_id, self.client_secret.get_secret_value())
        return mint(step, f"{identity}/oauth/token", client, self.cache_seconds, now)

    # What the methods ask

    def _api(self) -> Api:
        rest = self.rest_url()
        return Api(proof=self, rest=rest, bulk=bulk_endpoint(rest), at_once=min(self.concurrent_calls, _AT_ONCE))


_INSTANCES = Saved("marketo", "atomic-marketo/production", RequestError)


def resolve(marketo: Marketo | str) -> Marketo:
    """The block itself, loaded if it was given as the slug of a saved one.

    Raises:
        RequestError: There is no such block, or it is of another kind.
    """
    block = _INSTANCES.load(marketo) if isinstance(marketo, str) else marketo
    if not isinstance(block, Marketo):
        raise RequestError(f"marketo: is a {type(block).__name__}, which is no Marketo.")
    return block

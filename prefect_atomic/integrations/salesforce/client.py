"""simple-salesforce's client with our session: all that it offers, with the token that everybody shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simple_salesforce.api import Salesforce as SimpleSalesforce
from simple_salesforce.metadata import SfdcMetadataApi

from prefect_atomic.integrations.salesforce.session import SharedSession

if TYPE_CHECKING:
    from prefect_atomic.integrations.salesforce.block import Salesforce


class SharedSalesforce(SimpleSalesforce):
    """`simple_salesforce.Salesforce`, whose session id is the block's, each time that it is read."""

    def __init__(self, block: Salesforce) -> None:
        token = block._token().token
        self._block = block
        super().__init__(
            session_id=token.value,
            instance_url=token.attributes["base_url"],
            session=SharedSession(block, token.attributes["host"]),
            version=block.api_version,
            object_pairs_hook=dict,
        )

    @property
    def session_id(self) -> str:
        """The session id that is good now."""
        return self._block._token().token.value

    @session_id.setter
    def session_id(self, _: str) -> None:
        """The block's is the only one."""

    @property
    def mdapi(self) -> SfdcMetadataApi:
        """The Metadata API: it keeps the session id that it is made with, so it is made anew."""
        self._mdapi = None
        made: SfdcMetadataApi = SimpleSalesforce.mdapi.__get__(self)
        return made

    def __reduce__(self) -> Any:
        raise TypeError("a Salesforce client cannot be pickled: it holds a session. Pass the block, or its slug.")

"""Marketing Cloud Engagement: its tokens, data extensions and journeys."""

from collections.abc import Mapping
from typing import Any

from prefect_atomic.sandbox.accounts import MarketingCloudAccount
from prefect_atomic.sandbox.tokens import Tokens
from prefect_atomic.sandbox.wire import Route


class MarketingCloud:
    """One tenant."""

    def __init__(self, account: MarketingCloudAccount, tokens: Tokens) -> None:
        self._account = account
        self._tokens = tokens

    def routes(self) -> list[Route]:
        """All that it serves."""
        return []

    def shown(self) -> dict[str, object]:
        """What it has."""
        return {}

    def set(self, data: Mapping[str, Any]) -> None:
        """Sets what a test wants of it; raises ValueError with a sentence that says what is wrong."""
        if data:
            raise ValueError(f"{min(data)} cannot be set")

    def reset(self) -> None:
        """Forgets all that it has."""

"""Reads the hours of Atomic's analytics: one with events, one without, and one that is not processed yet."""

from datetime import UTC, datetime, timedelta

from prefect_atomic import AtomicEnvironment
from prefect_atomic.sandbox import Sandbox

END = datetime(2026, 11, 25, 12, tzinfo=UTC)


def main() -> None:
    with Sandbox.start() as sandbox:
        sandbox.set_atomic(
            hours={"2026-11-25T10": [[{"type": "card-published"}, {"type": "card-completed"}]], "2026-11-25T11": []}
        )
        account = sandbox.accounts.atomic
        atomic = AtomicEnvironment(
            organization_id=account.organization_id,
            environment_id=account.environment_id,
            client_id=account.client_id,
            client_secret=account.client_secret,
            base_url=account.base_url,
            token_url=account.token_url,
        )
        for hour in atomic.analytics(END - timedelta(hours=3), END):
            if hour.is_processed:
                print(f"{hour.hour:%H:%M}", [event["type"] for event in hour.events()])
            else:
                print(f"{hour.hour:%H:%M} is not processed yet")


if __name__ == "__main__":
    main()

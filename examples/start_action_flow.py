"""Starts an Action Flow for several users, one of whom lacks a variable, and shows what became of each."""

from prefect_atomic import AtomicEnvironment
from prefect_atomic.sandbox import Sandbox


def main() -> None:
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.atomic
        atomic = AtomicEnvironment(
            organization_id=account.organization_id,
            environment_id=account.environment_id,
            client_id=account.client_id,
            client_secret=account.client_secret,
            base_url=account.base_url,  # the sandbox; with none of these two it is Atomic's own
            token_url=account.token_url,
        )
        outcomes = atomic.start_action_flow(
            "reminder",
            [
                {"target": {"usersById": ["1"]}, "payload": {"variables": {"name": "Ann"}}},
                {"target": {"usersById": ["2"]}, "payload": {"variables": {}}},
                {"target": {"usersById": ["3"]}, "payload": {"variables": {"name": "Cid"}}},
            ],
            raise_on_failure=False,
        )
        for outcome in outcomes:
            print(outcome.state, outcome.reason or "")
        print(f"cards of user 1: {sum(1 for _ in atomic.cards(user_id='1'))}")
        print(f"cancelled: {atomic.cancel_cards(user_id='1')}")


if __name__ == "__main__":
    main()

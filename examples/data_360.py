"""Ingests contacts into Data 360, one of them faulty, a thousand orders in bulk, and queries them; in the sandbox."""

from typing import Any

from prefect_atomic import SalesforceData360
from prefect_atomic.sandbox import Sandbox

FIELDS = ["id", "email", "score", "active", "birthdate", "modified"]


def main() -> None:
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.data_360
        crm = SalesforceData360(
            login_url=account.login_url,  # with Salesforce, https://COMPANY.my.salesforce.com
            client_id=account.client_id,
            client_secret=account.client_secret,
        )
        people: list[dict[str, Any]] = [
            {"id": "1", "email": "ann@example.com", "active": True},
            {"id": "", "email": "nobody@example.com"},
            {"id": "3", "email": "cid@example.com", "birthdate": "1990-02-03"},
        ]
        outcomes = crm.ingest("prefect_connector", "contacts_734a9fa2", people, fields=FIELDS, on_error="return")
        print(outcomes)
        for outcome in outcomes.failures():
            print(outcome)

        orders = ({"order_id": str(number), "amount": number / 4, "placed_at": None} for number in range(1000))
        print(crm.bulk_ingest("prefect_connector", "orders_1c2d3e4f", orders).jobs)

        large = "SELECT order_id, amount FROM orders_1c2d3e4f__dll WHERE amount > ? ORDER BY amount"
        print(list(crm.query(large, parameters=[249])))


if __name__ == "__main__":
    main()

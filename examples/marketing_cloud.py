"""Upserts rows into a data extension of Marketing Cloud, one of them faulty, and has contacts enter a journey."""

from prefect_atomic import SalesforceMarketingCloud
from prefect_atomic.sandbox import Sandbox


def main() -> None:
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.marketing_cloud
        marketing_cloud = SalesforceMarketingCloud(
            subdomain="sandbox",  # with Marketing Cloud, that of the package, and no auth_url
            auth_url=account.auth_url,
            client_id=account.client_id,
            client_secret=account.client_secret,
        )
        rows = [{"ContactKey": f"c-{number}", "Score": number} for number in range(3000)]
        rows[1234]["Score"] = "many"
        outcomes = marketing_cloud.upsert_rows("Scores", rows, keys=["ContactKey"], on_error="return")
        print(outcomes)
        for outcome in outcomes.failures():
            print(outcome)

        best = list(marketing_cloud.read_rows("Scores", filter="Score gt 2990", order_by="Score desc"))
        print(best[0])

        sandbox.misbehave("/marketing-cloud/rest/interaction/v1/async/events", times=1, cut=True, after=True)
        members = [{"contact_key": row["contactkey"], "data": {"Score": row["score"]}} for row in best]
        print(marketing_cloud.fire_entry_events("APIEvent-welcome", members, on_error="return"))
        print("entered, once each:", len(sandbox.marketing_cloud()["events"]))


if __name__ == "__main__":
    main()

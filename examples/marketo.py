"""Synchronises leads with Marketo while its token ends again and again, one of them faulty, and exports them."""

import tempfile
from pathlib import Path

from prefect_atomic import Marketo
from prefect_atomic.sandbox import Sandbox


def main() -> None:
    with Sandbox.start() as sandbox, tempfile.TemporaryDirectory() as folder:
        account = sandbox.accounts.marketo
        marketo = Marketo(
            rest_endpoint=account.rest_url,  # with Marketo, munchkin_id in place of the two
            identity_endpoint=account.identity_url,
            client_id=account.client_id,
            client_secret=account.client_secret,
        )
        sandbox.set_marketo(session_calls=4, error_every=7)  # each token is good for 4 calls, each 7th call gets 606
        leads = [{"email": f"user{number}@example.com", "leadScore": number} for number in range(3000)]
        leads[1234]["leadScore"] = "many"
        outcomes = marketo.sync_leads(leads, on_error="return")
        print(outcomes)
        print(*outcomes.failures(), sep="\n")
        print("calls in 20 seconds:", sandbox.marketo()["calls"]["most_in_window"])

        sandbox.set_marketo(session_calls=0, error_every=0, export_polls=0)
        best = [each["id"] for each in marketo.leads("email", ["user2999@example.com"], fields=["id"])]
        sandbox.misbehave("/marketo/rest/v1/campaigns/{campaignId}/trigger.json", times=1, cut=True, after=True)
        print(marketo.request_campaign(3001, best, on_error="return"))
        print("requested, once:", len(sandbox.marketo()["campaigns"]))

        marketo.add_to_list(1001, best)
        path = Path(folder) / "leads.csv"
        print(marketo.export_leads(path, fields=["id", "email", "leadScore"], static_list=1001).rows, "exported")
        print(path.read_text("utf-8"))


if __name__ == "__main__":
    main()

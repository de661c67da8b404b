"""Upserts contacts, one of them refused, and reads them with SOQL; the session ends on the way, and nobody notices."""

from prefect_atomic import Salesforce
from prefect_atomic.sandbox import Sandbox


def main() -> None:
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.salesforce
        crm = Salesforce(
            domain=account.login_url,  # the sandbox; an org's own is COMPANY.my
            client_id=account.client_id,
            client_secret=account.client_secret,
        )
        people = [{"External_Id__c": f"p{number}", "LastName": f"Name {number}"} for number in range(5000)]
        people[42]["Email"] = "not an address"
        outcomes = crm.upsert("Contact", people, external_id="External_Id__c", on_error="return")
        print(f"{outcomes.succeeded} written, {outcomes.failed} refused")
        for outcome in outcomes.failures():
            print(people[outcome.position]["LastName"], outcome.code, outcome.fields)
        sandbox.revoke()
        print(sum(1 for _ in crm.query("SELECT Id FROM Contact")), "contacts")
        print(sandbox.calls()["POST /services/oauth2/token"], "sessions,", crm.usage())


if __name__ == "__main__":
    main()

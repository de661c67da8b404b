"""Up to 200 records with a request: an outcome for each, and nothing is created twice."""

from collections.abc import Callable
from typing import Any

import pytest

from prefect_atomic import Outcomes, RecordsError, RequestError, ResponseError, Salesforce, TransportError
from prefect_atomic.sandbox import Sandbox

DATA = "/services/data/{version}"
MANY = f"{DATA}/composite/sobjects"
UPSERT = f"{DATA}/composite/sobjects/{{object}}/{{field}}"


def people(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"LastName": f"Name {number}", "External_Id__c": f"x{number}", **fields} for number in range(count)]


def test_one_record_has_an_outcome_of_its_own(crm: Salesforce) -> None:
    """Created, changed, upserted both ways, read and deleted."""
    made = crm.create("Contact", {"LastName": "Ada", "External_Id__c": "ada"})
    assert made.success
    assert made.id
    assert crm.update("Contact", {"Id": made.id, "FirstName": "A."}).success
    assert (
        crm.upsert("Contact", {"External_Id__c": "ada", "Score__c": 1.5}, external_id="External_Id__c").created is False
    )
    assert (
        crm.upsert("Contact", {"External_Id__c": "bob", "LastName": "B"}, external_id="External_Id__c").created is True
    )
    row = crm.get("Contact", made.id, fields=["FirstName", "LastName", "Score__c"])
    assert row == {"FirstName": "A.", "LastName": "Ada", "Score__c": 1.5}
    assert crm.get("Contact", "bob", external_id="External_Id__c")["LastName"] == "B"
    assert crm.delete_records("Contact", made.id).success
    with pytest.raises(ResponseError, match="404"):
        crm.get("Contact", made.id)


def test_one_record_that_is_refused_raises_with_its_outcome(crm: Salesforce) -> None:
    """Code, message and fields are Salesforce's."""
    with pytest.raises(RecordsError, match="REQUIRED_FIELD_MISSING") as raised:
        crm.create("Contact", {"FirstName": "Ada"})
    (outcome,) = raised.value.outcomes
    assert (outcome.code, outcome.fields) == ("REQUIRED_FIELD_MISSING", ("LastName",))
    returned = crm.create("Contact", {"LastName": "L", "Email": "no"}, on_error="return")
    assert (returned.state, returned.code, returned.fields) == ("failed", "INVALID_EMAIL_ADDRESS", ("Email",))


def test_many_go_in_requests_of_200_and_the_refused_are_told_by_position(crm: Salesforce, sandbox: Sandbox) -> None:
    """201 records are two requests; the others go through."""
    records = people(201)
    records[7]["LastName"] = "FAIL"
    records[200]["LastName"] = "FAIL"
    with pytest.raises(RecordsError, match="2 of 201 Contact records") as raised:
        crm.create("Contact", iter(records))
    outcomes = raised.value.outcomes
    assert [outcome.position for outcome in outcomes.failures()] == [7, 200]
    assert outcomes.succeeded == 199
    assert sandbox.calls()[f"POST {MANY}"] == 2


def test_ids_beyond_200_are_cut(crm: Salesforce, sandbox: Sandbox) -> None:
    """A deletion has its ids in the URL."""
    ids = [outcome.id or "" for outcome in crm.create("Contact", people(201))]
    before = sandbox.calls().get(f"DELETE {MANY}", 0)
    assert crm.delete_records("Contact", ids).succeeded == 201
    assert sandbox.calls()[f"DELETE {MANY}"] == before + 2
    assert list(crm.query("SELECT Id FROM Contact")) == []


def test_a_record_without_its_key_is_not_sent(crm: Salesforce) -> None:
    """Nor one that is no record; what is good goes through."""
    records: list[Any] = [
        *people(2),
        {"LastName": "nobody"},
        ["no", "record"],
        {"LastName": "x", "External_Id__c": " "},
    ]
    outcomes = crm.upsert("Contact", records, external_id="External_Id__c", on_error="return")
    assert [outcome.state for outcome in outcomes] == ["succeeded"] * 2 + ["not sent"] * 3
    assert "External_Id__c" in str(outcomes[2].message)
    assert "list" in str(outcomes[3].message)
    update = crm.update("Contact", [{"LastName": "x"}], on_error="return")
    assert update[0].state == "not sent"
    assert "Id" in str(update[0].message)


def test_a_record_of_6_megabytes_is_refused_with_the_limit(crm: Salesforce) -> None:
    """The rest goes through."""
    outcomes = crm.create("Contact", [{"LastName": "x" * 6_000_000}, {"LastName": "y"}], on_error="return")
    assert [outcome.state for outcome in outcomes] == ["not sent", "succeeded"]
    assert outcomes[0].code == "RECORD_TOO_LARGE"
    assert "5,0" in str(outcomes[0].message) or "4,999" in str(outcomes[0].message)


def test_a_record_that_has_its_whole_request_refused_is_found(crm: Salesforce, sandbox: Sandbox) -> None:
    """Salesforce refuses a request whole where one record names a field that there is not."""
    records = people(50)
    records[33]["Nothing__c"] = 1
    outcomes = crm.create("Contact", records, on_error="return")
    (failed,) = outcomes.failures()
    assert failed.position == 33
    assert failed.code == "INVALID_FIELD"
    assert outcomes.succeeded == 49
    assert len(list(crm.query("SELECT Id FROM Contact"))) == 49


def test_what_is_wrong_with_all_of_them_ends_it_soon(crm: Salesforce, sandbox: Sandbox) -> None:
    """An unknown field in each of 1,000 records is no reason for 2,000 requests."""
    with pytest.raises((RecordsError, ResponseError), match="INVALID_FIELD"):
        crm.create("Contact", people(1000, Nothing__c=1))
    assert sandbox.calls()[f"POST {MANY}"] < 60


def test_an_object_that_there_is_not_ends_it_at_once(crm: Salesforce) -> None:
    """As does one that is no name."""
    with pytest.raises((RecordsError, ResponseError)):
        crm.create("Nothing__c", people(3))
    for name in ("Contact/..", "", "Contact'", None):
        with pytest.raises(RequestError, match="object"):
            crm.create(name, people(1))  # type: ignore[call-overload]


@pytest.mark.parametrize("after", [False, True])
def test_a_request_that_was_cut_is_unknown_and_not_repeated(crm: Salesforce, sandbox: Sandbox, after: bool) -> None:
    """Whether it was processed or not: nothing is created twice, and the next request is sent."""
    crm.check()
    sandbox.misbehave(MANY, times=1, cut=True, after=after)
    outcomes = crm.create("Contact", people(201), on_error="return")
    assert outcomes.unknown == 200
    assert outcomes.succeeded == 1
    assert len(list(crm.query("SELECT Id FROM Contact"))) == (201 if after else 1)


def test_a_500_after_a_creation_is_unknown(crm: Salesforce, sandbox: Sandbox) -> None:
    """It may have been created."""
    crm.check()
    sandbox.misbehave(MANY, times=1, status=500, after=True)
    outcomes = crm.create("Contact", people(3), on_error="return")
    assert outcomes.unknown == 3
    assert len(list(crm.query("SELECT Id FROM Contact"))) == 3


def test_an_upsert_that_was_cut_is_repeated(crm: Salesforce, sandbox: Sandbox) -> None:
    """Twice is as good as once."""
    crm.check()
    sandbox.misbehave(UPSERT, times=2, cut=True, after=True)
    outcomes = crm.upsert("Contact", people(3), external_id="External_Id__c")
    assert outcomes.succeeded == 3
    assert len(list(crm.query("SELECT Id FROM Contact"))) == 3


def test_a_deletion_that_was_cut_succeeds_when_it_is_repeated(crm: Salesforce, sandbox: Sandbox) -> None:
    """Salesforce says of the second attempt that they are deleted already."""
    ids = [outcome.id or "" for outcome in crm.create("Contact", people(3))]
    sandbox.misbehave(MANY, times=1, cut=True, after=True)
    assert crm.delete_records("Contact", ids).succeeded == 3


def test_an_org_that_is_gone_ends_it_with_what_is_known(crm: Salesforce, sandbox: Sandbox) -> None:
    """The outcomes so far are in the error; the rest was not read."""
    read = []

    def records() -> Any:
        for record in people(1000):
            read.append(record)
            if len(read) == 150:
                sandbox.misbehave(UPSERT, cut=True)
            yield record

    with pytest.raises((RecordsError, TransportError)) as raised:
        crm.upsert("Contact", records(), external_id="External_Id__c", bulk_from=100_000)
    if isinstance(raised.value, RecordsError):
        assert raised.value.outcomes.unknown == 200


def test_a_session_that_ends_is_renewed_on_the_way(crm: Salesforce, sandbox: Sandbox) -> None:
    """Every third request finds it ended; each record is written once."""
    sandbox.set_salesforce(session_calls=3)
    outcomes = crm.create("Contact", people(1500))
    assert outcomes.succeeded == 1500
    sandbox.set_salesforce(session_calls=None)
    assert len({row["Id"] for row in crm.query("SELECT Id FROM Contact")}) == 1500
    assert sandbox.calls()["POST /services/oauth2/token"] == 3


def test_a_session_that_is_never_accepted_is_renewed_once(crm: Salesforce, sandbox: Sandbox) -> None:
    """No loop, whatever the code of the 401."""
    crm.check()
    sandbox.revoke()
    body = [{"message": "no", "errorCode": "INVALID_AUTH_HEADER"}]
    sandbox.misbehave(MANY, status=401, body=body)
    with pytest.raises(ResponseError, match="INVALID_AUTH_HEADER"):
        crm.create("Contact", people(2))
    assert sandbox.calls()[f"POST {MANY}"] == 2
    assert sandbox.calls()["POST /services/oauth2/token"] == 2


def test_other_arguments_are_refused_before_anything_is_sent(crm: Salesforce, sandbox: Sandbox) -> None:
    """Each with its name."""
    with pytest.raises(RequestError, match="on_error"):
        crm.create("Contact", people(1), on_error="ignore")  # type: ignore[call-overload]
    with pytest.raises(RequestError, match="external_id"):
        crm.upsert("Contact", people(1), external_id="")
    with pytest.raises(RequestError, match="records"):
        crm.create("Contact", "text")  # type: ignore[call-overload]
    assert f"POST {MANY}" not in sandbox.calls()


def test_no_records_are_no_request(crm: Salesforce, sandbox: Sandbox) -> None:
    """And no error."""
    assert isinstance(crm.create("Contact", []), Outcomes)
    assert sandbox.calls() == {}


def test_usage_is_told_and_its_floor_stops_what_follows(make: Callable[..., Salesforce], sandbox: Sandbox) -> None:
    """The rest of the quota is for others; a reserve that is not reached stops nothing."""
    from prefect_atomic import QuotaError

    crm = make(stop_at_usage=0.8)
    assert crm.usage() is None
    sandbox.set_salesforce(api_limit=1000, api_used=795)
    crm.create("Contact", people(1))
    usage = crm.usage()
    assert usage is not None
    assert (usage.total, usage.share < 0.8) == (1000, True)
    with pytest.raises(RecordsError, match=r"stop_at_usage is 0\.8") as raised:
        crm.create("Contact", people(1900))
    assert raised.value.outcomes.succeeded < 1900
    with pytest.raises(QuotaError) as told:
        crm.create("Contact", {"LastName": "x"})
    assert (told.value.used, told.value.total) == (800, 1000)
    assert make().create("Contact", {"LastName": "x"}).success


def test_a_quota_that_is_used_up_is_told_in_salesforces_words(crm: Salesforce, sandbox: Sandbox) -> None:
    """It comes as a 403."""
    sandbox.set_salesforce(api_limit=10, api_used=10)
    with pytest.raises(ResponseError, match="REQUEST_LIMIT_EXCEEDED"):
        crm.create("Contact", people(1))


def test_a_host_that_is_not_allowed_gets_nothing(make: Callable[..., Salesforce], sandbox: Sandbox) -> None:
    """Neither by our requests nor by simple-salesforce's."""
    from prefect_atomic import DestinationError

    crm = make(allowed_hosts=["acme.my.salesforce.com"])
    with pytest.raises(DestinationError):
        crm.create("Contact", people(1))
    with pytest.raises(DestinationError):
        crm.get_client().query("SELECT Id FROM Contact")
    assert not [call for call in sandbox.calls() if "/services/data" in call]

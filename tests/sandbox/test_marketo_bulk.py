"""Marketo's bulk API: imports of leads, custom objects and program members; exports of leads and activities."""

import csv
import hashlib
import http.client
import io
import json
from urllib.parse import urlencode

import pytest

from tests.e2e.judged import Description

BULK = "/marketo/bulk/v1"
AUGUST = {"createdAt": {"startAt": "2026-08-01T00:00:00Z", "endAt": "2026-08-31T23:59:59Z"}}
STATUS = {
    "leads.json": "leads/batch/{}",
    "customobjects/car_c/import.json": "customobjects/car_c/import/{}",
    "program/2001/members/import.json": "program/members/import/{}",
}


@pytest.fixture
def bearer(sandbox, send):
    account = sandbox.accounts.marketo
    given = {"client_id": account.client_id, "client_secret": account.client_secret}
    query = urlencode({"grant_type": "client_credentials", **given})
    return send("GET", f"/marketo/identity/oauth/token?{query}").json()["access_token"]


@pytest.fixture
def call(bearer, send):
    def call(method, path, content=None, *, headers=(), body=b"", **query):
        pairs = {"Authorization": f"Bearer {bearer}", **dict(headers)}
        if content is not None:
            body, pairs["Content-Type"] = json.dumps(content).encode(), "application/json"
        target = f"{BULK}/{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        return send(method, target, headers=pairs, body=body)

    return call


def form(content, *, name="file", filename='; filename="rows.csv"', boundary="b0und-ary"):
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\nContent-Type: text/csv\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


@pytest.fixture
def upload(call):
    """Sends a file, as text or bytes."""

    def upload(content, path="leads.json", **query):
        content = content if isinstance(content, bytes) else content.encode()
        kind = {"Content-Type": "multipart/form-data; boundary=b0und-ary"}
        usual = {"format": "CSV"} if path.startswith("program") else {"format": "csv"}
        return call("POST", path, headers=kind, body=form(content), **(usual | query))

    return upload


@pytest.fixture
def imported(call, upload):
    """Imports a file to its end: what is said at last, its failures and its warnings."""

    def imported(content, path="leads.json", **query):
        batch = told(upload(content, path, **query))["batchId"]
        base = STATUS[path].format(batch)
        status = f"{base}.json" if path == "leads.json" else f"{base}/status.json"
        for _ in range(2):
            last = told(call("GET", status))
        return last, call("GET", f"{base}/failures.json"), call("GET", f"{base}/warnings.json")

    return imported


@pytest.fixture
def create(call):
    def create(kind="leads", fields=("id", "email"), chosen=AUGUST, **more):
        return call("POST", f"{kind}/export/create.json", {"fields": fields and list(fields), "filter": chosen, **more})

    return create


@pytest.fixture
def export(call, create):
    """Makes an export and has it made: what is said at last."""

    def export(kind="leads", **how):
        job = told(create(kind, **how))["exportId"]
        told(call("POST", f"{kind}/export/{job}/enqueue.json"))
        for _ in range(2):
            last = told(call("GET", f"{kind}/export/{job}/status.json"))
        return last

    return export


@pytest.fixture
def file(call):
    def file(job, kind="leads", **headers):
        return call("GET", f"{kind}/export/{job['exportId']}/file.json", headers=headers)

    return file


def told(reply):
    content = reply.json()
    assert (reply.status, content["success"]) == (200, True), content
    return content["result"][0]


def refused(reply, code, *words):
    content = reply.json()
    assert (reply.status, content["success"], content["errors"][0]["code"]) == (200, False, str(code)), content
    assert all(word in content["errors"][0]["message"] for word in words), content
    return True


def rows_of(reply, delimiter=","):
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/csv")
    return list(csv.reader(io.StringIO(reply.body.decode(), newline=""), delimiter=delimiter))


class TestImportsOfLeads:
    def test_leads_are_there_once_the_import_is_complete_and_not_before(self, call, upload, sandbox):
        job = told(upload("email,firstName,leadScore,unsubscribed\nada@example.com,Ada,7,true\n"))
        assert job["status"] == "Queued"
        assert job["importId"] == str(job["batchId"])

        path = f"leads/batch/{job['batchId']}.json"
        assert told(call("GET", path))["status"] == "Importing"
        assert sandbox.marketo()["leads"] == 0
        last = told(call("GET", path))

        assert (last["status"], last["numOfLeadsProcessed"], last["numOfRowsFailed"]) == ("Complete", 1, 0)
        (lead,) = sandbox.marketo()["lead_list"]
        assert lead["email"] == "ada@example.com"
        assert (lead["firstName"], lead["leadScore"], lead["unsubscribed"]) == ("Ada", 7, True)
        (shown,) = sandbox.marketo()["imports"]
        assert (shown["kind"], shown["rows"], shown["status"]) == ("leads", 1, "Complete")

    @pytest.mark.parametrize(("word", "delimiter"), [("tsv", "\t"), ("ssv", ";")])
    def test_files_may_have_tabs_or_semicolons(self, imported, sandbox, word, delimiter):
        last, _, _ = imported(f"email{delimiter}notes\r\na@example.com{delimiter}1,2\r\n", format=word)

        assert last["numOfLeadsProcessed"] == 1
        assert sandbox.marketo()["lead_list"][0]["notes"] == "1,2"

    def test_rows_that_fail_are_given_back_in_their_order_with_the_reason_and_not_written(self, imported, sandbox):
        text = 'email,leadScore\n"a@example.com",1\nb@example.com,much\n"c@example.com",many\nd@example.com,2,3\n'

        last, failures, warnings = imported(text)

        assert (last["numOfLeadsProcessed"], last["numOfRowsFailed"]) == (4, 3)
        header, *rows = rows_of(failures)
        assert header == ["email", "leadScore", "Import Failure Reason"]
        assert [row[:2] for row in rows] == [
            ["b@example.com", "much"],
            ["c@example.com", "many"],
            ["d@example.com", "2"],
        ]
        assert rows[0][2] == "Invalid value 'much'. Required of type 'integer'"
        assert rows_of(warnings) == [["email", "leadScore", "Import Warning Reason"]]
        assert [lead["email"] for lead in sandbox.marketo()["lead_list"]] == ["a@example.com"]

    def test_a_row_given_back_means_the_same_though_its_quotes_may_differ(self, imported, sandbox):
        sandbox.set_marketo(fail_row_every=1)

        _, failures, _ = imported('email,notes\n"a@example.com","one\ntwo, ""three"""\n')

        assert failures.body.count(b'"a@example.com"') == 0
        assert rows_of(failures)[1][:2] == ["a@example.com", 'one\ntwo, "three"']

    def test_each_so_manieth_row_of_all_imports_fails_or_is_warned_of(self, imported, sandbox):
        sandbox.set_marketo(fail_row_every=3, warn_row_every=2)
        lines = "\n".join(f"user{number}@example.com" for number in range(4))

        first, _, first_warnings = imported(f"email\n{lines}\n")
        second, second_failures, _ = imported(f"email\n{lines}\n")

        assert (first["numOfRowsFailed"], first["numOfRowsWithWarning"]) == (1, 2)
        assert [row[0] for row in rows_of(first_warnings)[1:]] == ["user1@example.com", "user3@example.com"]
        # rows 5 to 8: the 6th fails, and is not warned of as well
        assert (second["numOfRowsFailed"], second["numOfRowsWithWarning"]) == (1, 1)
        assert [row[0] for row in rows_of(second_failures)[1:]] == ["user1@example.com"]

    def test_leads_are_put_on_a_list(self, imported, sandbox):
        imported("email\na@example.com\n", listId=1001)

        assert len(sandbox.marketo()["lists"]["1001"]) == 1

    def test_an_id_finds_leads_and_makes_none(self, imported, sandbox):
        imported("email\na@example.com\n")
        known = sandbox.marketo()["lead_list"][0]["id"]

        last, _, _ = imported(f"id,firstName\n{known},Ada\n999999,Nobody\n", lookupField="id")

        assert last["numOfRowsFailed"] == 1
        assert [lead["firstName"] for lead in sandbox.marketo()["lead_list"]] == ["Ada"]

    @pytest.mark.parametrize(("line", "why"), [('"b@example.com"x', "not CSV"), ("b\0@example.com", "NUL")])
    def test_a_file_that_is_not_csv_fails_as_a_whole(self, imported, sandbox, line, why):
        last, _, _ = imported(f"email\na@example.com\n{line}\n")

        assert (last["status"], last["numOfLeadsProcessed"]) == ("Failed", 0)
        assert why in last["message"]
        assert sandbox.marketo()["leads"] == 0

    def test_the_next_import_fails_with_the_message_that_a_test_sets(self, imported, sandbox):
        sandbox.set_marketo(failed_import="the instance is being moved")

        first, _, _ = imported("email\na@example.com\n")
        second, _, _ = imported("email\na@example.com\n")

        assert (first["status"], first["message"]) == ("Failed", "the instance is being moved")
        assert second["status"] == "Complete"

    def test_two_imports_run_and_the_others_wait_for_their_turn(self, call, upload):
        jobs = [f"leads/batch/{told(upload('email'))['batchId']}.json" for _ in range(3)]

        first = [told(call("GET", job))["status"] for job in reversed(jobs)]
        second = [told(call("GET", job))["status"] for job in reversed(jobs)]

        assert first == ["Queued", "Complete", "Complete"]
        assert second == ["Importing", "Complete", "Complete"]

    def test_who_waits_for_a_place_is_not_held_up_by_imports_that_nobody_asks_for(self, upload, sandbox):
        sandbox.set_marketo(most_imports=2)
        for _ in range(2):
            told(upload("email\n"))

        assert refused(upload("email\n"), 1016, "Import queue is full")
        assert refused(upload("email\n"), 1016)
        assert told(upload("email\n"))["status"] == "Queued"

    @pytest.mark.parametrize(
        ("header", "code", "words"),
        [
            ("email,shoeSize", 1006, "Header 'shoeSize' not found"),
            ("email,createdAt", 1006, "createdAt"),
            ("email,id", 1006, "'id'"),
            ("\ufeffemail", 1006, "email"),
            ("firstName", 1003, "email"),
            ("email,email", 1003, "once"),
            ("", 1003, "email"),
        ],
    )
    def test_a_header_that_marketo_does_not_know_is_refused(self, upload, sandbox, header, code, words):
        assert refused(upload(f"{header}\na@example.com,1\n"), code, words)
        assert sandbox.marketo()["imports"] == []

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"format": ""}, 1002),
            ({"format": "CSV"}, 1003),
            ({"lookupField": "shoeSize"}, 1006),
            ({"lookupField": "firstName"}, 1003),
            ({"partitionName": "Nowhere"}, 1003),
            ({"partitionName": "Secret"}, 1008),
            ({"listId": "all"}, 1001),
            ({"listId": 4711}, 1013),
            ({"listid": 1001}, 1003),
            ({"format": ["csv", "csv"]}, 1003),
        ],
    )
    def test_a_parameter_that_is_wrong_is_refused(self, upload, query, code):
        assert refused(upload("email\na@example.com\n", **query), code)

    def test_a_file_that_is_not_utf8_is_refused(self, upload):
        assert refused(upload(b"email,firstName\na@example.com,Ren\xe9\n"), 1003, "UTF-8")

    def test_a_file_has_at_most_10_mb(self, upload):
        fits = b"email\n" + b"a" * 9_999_993 + b"\n"

        assert len(fits) == 10_000_000
        assert told(upload(fits))["status"] == "Queued"
        assert upload(fits + b"a").status == 413

    def test_an_import_that_is_not_over_has_no_files(self, call, upload):
        batch = told(upload("email\n"))["batchId"]

        assert refused(call("GET", f"leads/batch/{batch}/failures.json"), 1003, "Queued")
        assert refused(call("GET", f"leads/batch/{batch}/warnings.json"), 1003)

    def test_an_import_is_found_where_it_was_made_only(self, call, upload):
        batch = told(upload("email\n"))["batchId"]

        assert refused(call("GET", f"leads/batch/{batch + 1}.json"), 610)
        assert refused(call("GET", f"program/members/import/{batch}/status.json"), 610)
        assert refused(call("GET", f"customobjects/car_c/import/{batch}/status.json"), 610)
        assert refused(call("GET", "leads/batch/first.json"), 1001)

    def test_a_full_file_goes_through(self, imported, sandbox):
        lines = "\n".join(f"user{number}@example.com,Ada,Lovelace,{number}" for number in range(50_000))

        last, _, _ = imported(f"email,firstName,lastName,leadScore\n{lines}\n")

        assert (last["numOfLeadsProcessed"], last["numOfRowsFailed"]) == (50_000, 0)
        assert sandbox.marketo()["leads"] == 50_000


class TestForms:
    @pytest.mark.parametrize(
        ("kind", "body", "code"),
        [
            ("text/csv", b"email\n", 612),
            ("multipart/form-data", form(b"email\n"), 613),
            ("multipart/form-data; boundary=other", form(b"email\n"), 613),
            ("multipart/form-data; boundary=b0und-ary", form(b"email\n")[:-4], 613),
            ("multipart/form-data; boundary=b0und-ary", form(b"email\n") + b"more", 613),
            ("multipart/form-data; boundary=b0und-ary", b"", 613),
            ("multipart/form-data; boundary=b0und-ary", form(b"email\n", name="rows"), 1002),
            ("multipart/form-data; boundary=b0und-ary", form(b"email\n", filename=""), 1002),
        ],
    )
    def test_what_is_not_a_form_with_a_file_is_refused(self, call, kind, body, code):
        assert refused(call("POST", "leads.json", headers={"Content-Type": kind}, body=body, format="csv"), code)

    def test_the_boundary_may_be_in_quotes_and_the_file_is_taken_as_it_is(self, call, sandbox):
        content = b'email,notes\r\na@example.com,"\r\n--b\r\n"\r\n'
        kind = {"Content-Type": 'multipart/form-data; boundary="b:0"'}

        told(call("POST", "leads.json", headers=kind, body=form(content, boundary="b:0"), format="csv"))

        assert sandbox.marketo()["imports"][0]["bytes"] == len(content)
        assert sandbox.marketo()["imports"][0]["rows"] == 1


class TestImportsOfOtherThings:
    def test_custom_objects_are_imported(self, imported, sandbox):
        path = "customobjects/car_c/import.json"

        last, failures, _ = imported("vin,model,year\nV1,Beetle,1967\nV2,Polo,new\n", path)

        assert (last["objectApiName"], last["operation"], last["status"]) == ("car_c", "import", "Complete")
        assert (last["numOfObjectsProcessed"], last["numOfRowsFailed"], last["numOfRowsWithWarning"]) == (2, 1, 0)
        assert rows_of(failures)[1][:3] == ["V2", "Polo", "new"]
        assert "1967" in json.dumps(sandbox.marketo()["custom_objects"])

    def test_a_custom_object_that_there_is_not_is_refused(self, upload):
        assert refused(upload("vin\nV1\n", "customobjects/boat_c/import.json"), 1013)
        assert refused(upload("model\nPolo\n", "customobjects/car_c/import.json"), 1003, "vin")

    def test_program_members_are_imported_with_their_status(self, imported, sandbox):
        path = "program/2001/members/import.json"

        last, _, _ = imported("email,firstName\na@example.com,Ada\n", path, programMemberStatus="Registered")

        assert (last["status"], last["numOfLeadsProcessed"]) == ("Complete", 1)
        lead = sandbox.marketo()["lead_list"][0]["id"]
        assert sandbox.marketo()["members"]["2001"] == {str(lead): "Registered"}

    def test_program_members_need_a_program_a_status_and_a_format_in_capitals(self, upload):
        path = "program/{}/members/import.json"

        assert refused(upload("email\n", path.format(4711), programMemberStatus="Invited"), 610)
        assert refused(upload("email\n", path.format(2001), programMemberStatus="Asleep"), 1025)
        assert refused(upload("email\n", path.format(2001)), 1002, "programMemberStatus")
        assert refused(upload("email\n", path.format(2001), programMemberStatus="Invited", format="csv"), 1003)


class TestExports:
    def test_an_export_is_created_then_enqueued_then_made(self, call, create, file, sandbox):
        sandbox.set_marketo(generate_leads=180)
        job = told(create())
        assert job["status"] == "Created"
        path = f"leads/export/{job['exportId']}"
        assert file(job).status == 404

        assert told(call("POST", f"{path}/enqueue.json"))["status"] == "Queued"
        assert told(call("GET", f"{path}/status.json"))["status"] == "Processing"
        assert file(job).status == 404
        last = told(call("GET", f"{path}/status.json"))

        content = file(job).body
        header, *rows = csv.reader(io.StringIO(content.decode()))
        assert (last["status"], header) == ("Completed", ["id", "email"])
        assert last["numberOfRecords"] == len(rows) == 62
        assert last["fileSize"] == len(content)
        assert last["fileChecksum"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        (shown,) = sandbox.marketo()["exports"]
        assert (shown["enqueued"], shown["downloads"], shown["filter"]) == (1, 1, AUGUST)

    def test_both_ends_of_a_range_belong_to_it(self, export, sandbox):
        sandbox.set_marketo(generate_leads=90)
        day = {"startAt": "2026-08-02T00:00:00Z", "endAt": "2026-08-03T02:00:00+02:00"}

        assert export(chosen={"createdAt": day})["numberOfRecords"] == 2
        assert export(chosen={"updatedAt": {**day, "endAt": "2026-08-02T00:00:00Z"}})["numberOfRecords"] == 1

    def test_leads_of_a_list_are_exported(self, imported, export):
        imported("email\na@example.com\n", listId=1002)
        imported("email\nb@example.com\n")

        assert export(chosen={"staticListId": 1002})["numberOfRecords"] == 1
        assert export(chosen={"staticListName": "Trial"})["numberOfRecords"] == 1
        assert export(chosen={"staticListId": 1001})["numberOfRecords"] == 0

    def test_columns_have_the_names_and_the_format_that_were_asked_for(self, export, file, sandbox):
        sandbox.set_marketo(generate_leads=1)

        job = export(columnHeaderNames={"email": "E-mail"}, format="TSV", fields=["email", "id"])

        assert rows_of(file(job), "\t")[0] == ["E-mail", "id"]

    def test_activities_of_some_types_are_exported_with_their_attributes_as_json(self, export, file, sandbox):
        sandbox.set_marketo(generate_leads=1, generate_activities=90)
        fields = ["marketoGUID", "leadId", "activityDate", "activityTypeId", "campaignId"]
        fields += ["primaryAttributeValueId", "primaryAttributeValue", "attributes"]

        every = export("activities", fields=fields)
        some = export("activities", fields=fields, chosen={**AUGUST, "activityTypeIds": [6, 13]})

        assert every["numberOfRecords"] == 31
        header, *rows = rows_of(file(some, "activities"))
        assert header == fields
        assert {row[3] for row in rows} == {"6", "13"}
        assert all(isinstance(json.loads(row[7]), list) for row in rows)

    def test_activities_have_all_columns_unless_some_are_named(self, call, export, file, sandbox):
        job = told(call("POST", "activities/export/create.json", {"filter": AUGUST}))
        told(call("POST", f"activities/export/{job['exportId']}/enqueue.json"))
        for _ in range(2):
            call("GET", f"activities/export/{job['exportId']}/status.json")

        assert len(rows_of(file(job, "activities"))[0]) == 8

    @pytest.mark.parametrize(
        ("chosen", "code", "words"),
        [
            ({}, 1003, "createdAt"),
            ({**AUGUST, "staticListId": 1001}, 1003, ""),
            ({"bornAt": {}}, 1003, ""),
            ({"smartListId": 1}, 1035, "smartListId"),
            ({"staticListId": 4711}, 1003, "4711"),
            ({"staticListName": "None"}, 1003, ""),
            ({"createdAt": {"startAt": "2026-08-01T00:00:00Z"}}, 1003, "endAt"),
            ({"createdAt": {"startAt": "2026-08-01", "endAt": "2026-08-02"}}, 1001, "2026-08-01"),
            ({"createdAt": {"startAt": "2026-08-01T00:00:00.5Z", "endAt": "2026-08-02T00:00:00Z"}}, 1001, ""),
            ({"createdAt": {"startAt": "2026-02-30T00:00:00Z", "endAt": "2026-08-02T00:00:00Z"}}, 1001, ""),
            ({"createdAt": {"startAt": "2026-08-02T00:00:00Z", "endAt": "2026-08-01T00:00:00Z"}}, 1003, "after"),
            (
                {"createdAt": {"startAt": "2026-08-01T00:00:00Z", "endAt": "2026-09-01T00:00:01Z"}},
                1003,
                "must be within 31 days",
            ),
        ],
    )
    def test_a_filter_that_marketo_does_not_know_is_refused(self, create, sandbox, chosen, code, words):
        assert refused(create(chosen=chosen), code, words)
        assert sandbox.marketo()["exports"] == []

    @pytest.mark.parametrize(
        ("chosen", "code"),
        [
            ({"activityTypeIds": [1]}, 1002),
            ({**AUGUST, "activityTypeIds": "1,6"}, 1001),
            ({**AUGUST, "activityTypeIds": [True]}, 1001),
            ({**AUGUST, "leadIds": [1]}, 1003),
            ({**AUGUST, "primaryAttributeValueIds": list(range(51))}, 1003),
        ],
    )
    def test_a_filter_of_activities_needs_a_range_and_lists(self, create, chosen, code):
        assert refused(create("activities", ["leadId"], chosen), code)

    def test_a_body_that_marketo_does_not_know_is_refused(self, call, create):
        path = "leads/export/create.json"

        assert refused(create(fields=None), 1002, "fields")
        assert refused(create(fields=[]), 1001, "fields")
        assert refused(create(fields=["email", "shoeSize"]), 1003, "Invalid fields", "shoeSize")
        assert refused(create(fields=["email", "email"]), 1003)
        assert refused(create(format="csv"), 1003)
        assert refused(create(columnHeaderNames={"phone": "Phone"}), 1003)
        assert refused(create(columns=[]), 1003, "columns")
        assert refused(call("POST", path, {"fields": ["email"]}), 1002, "filter")
        assert refused(call("POST", path, body=b"{}"), 612)
        assert refused(call("POST", path, headers={"Content-Type": "application/json"}, body=b"{"), 609)


class TestExportsInLine:
    def test_a_job_is_enqueued_once(self, call, create, sandbox):
        path = f"leads/export/{told(create())['exportId']}/enqueue.json"
        told(call("POST", path))

        assert refused(call("POST", path), 1029, "is already queued")
        assert sandbox.marketo()["exports"][0]["enqueued"] == 2

    def test_two_run_and_ten_wait(self, call, create):
        jobs = [f"leads/export/{told(create())['exportId']}" for _ in range(13)]
        for job in jobs[:12]:
            told(call("POST", f"{job}/enqueue.json"))

        assert refused(call("POST", f"{jobs[12]}/enqueue.json"), 1029, "Too many jobs in queue")
        # who waits lets the running ones get on
        assert refused(call("POST", f"{jobs[12]}/enqueue.json"), 1029)
        assert told(call("POST", f"{jobs[12]}/enqueue.json"))["status"] == "Queued"

    def test_once_the_bytes_of_the_day_are_exported_no_job_is_enqueued(self, call, create, export, sandbox):
        sandbox.set_marketo(generate_leads=90, export_bytes_per_day=100)
        assert export()["status"] == "Completed"

        later = f"leads/export/{told(create())['exportId']}/enqueue.json"
        assert refused(call("POST", later), 1029, "Export daily quota exceeded")
        sandbox.set_marketo(export_bytes_per_day=1_000_000)
        assert told(call("POST", later))["status"] == "Queued"

    @pytest.mark.parametrize("word", ["Canceled", "Cancelled"])
    def test_a_canceled_job_makes_no_file_and_its_word_may_be_spelled_both_ways(self, call, create, sandbox, word):
        sandbox.set_marketo(canceled_word=word)
        path = f"leads/export/{told(create())['exportId']}"
        told(call("POST", f"{path}/enqueue.json"))

        assert told(call("POST", f"{path}/cancel.json"))["status"] == word
        assert told(call("GET", f"{path}/status.json"))["status"] == word
        assert refused(call("POST", f"{path}/enqueue.json"), 1003)
        assert refused(call("POST", f"{path}/cancel.json"), 1003)
        assert call("GET", f"{path}/file.json").status == 404

    def test_a_job_that_is_canceled_leaves_the_others_where_they_are(self, call, create):
        one, other = (f"leads/export/{told(create())['exportId']}" for _ in range(2))
        for job in (one, other):
            told(call("POST", f"{job}/enqueue.json"))
            assert told(call("GET", f"{job}/status.json"))["status"] == "Processing"

        told(call("POST", f"{other}/cancel.json"))

        assert told(call("GET", f"{one}/status.json"))["status"] == "Completed"

    def test_jobs_are_listed_by_status_in_pages(self, call, create, export, sandbox):
        done = export()["exportId"]
        waiting = [told(create())["exportId"] for _ in range(3)]

        def listed(**query):
            content = call("GET", "leads/export.json", **query).json()
            return [job["exportId"] for job in content["result"]], content.get("nextPageToken")

        assert listed() == ([done, *waiting], None)
        assert listed(status="completed")[0] == [done]
        assert listed(status="completed,created")[0] == listed(status=["completed", "created"])[0] == [done, *waiting]
        first, token = listed(status="created", batchSize=2)
        assert first + listed(status="created", batchSize=2, nextPageToken=token)[0] == waiting
        assert call("GET", "activities/export.json").json()["result"] == []
        assert refused(call("GET", "leads/export.json", status="lost"), 1003)
        assert refused(call("GET", "leads/export.json", batchSize=301), 1003)

    def test_a_job_is_found_where_it_was_made_only(self, call, create):
        job = told(create())["exportId"]

        assert refused(call("GET", f"activities/export/{job}/status.json"), 610)
        assert refused(call("POST", "leads/export/nothing/enqueue.json"), 610)
        assert call("GET", f"activities/export/{job}/file.json").status == 404


class TestFiles:
    @pytest.fixture
    def job(self, export, sandbox):
        sandbox.set_marketo(generate_leads=200)
        return export(fields=["id", "email", "firstName"])

    def test_a_range_is_served(self, job, file):
        whole, total = file(job).body, job["fileSize"]

        part = file(job, Range="bytes=10-19")
        assert (part.status, part.body) == (206, whole[10:20])
        assert part.headers["Content-Range"] == f"bytes 10-19/{total}"
        assert file(job, Range=f"bytes={total - 5}-").body == whole[-5:]
        assert file(job, Range="bytes=-7").body == whole[-7:]
        beyond = file(job, Range=f"bytes={total}-")
        assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{total}")

    def test_a_range_may_be_ignored(self, job, file, sandbox):
        sandbox.set_marketo(range_ignored=True)

        reply = file(job, Range="bytes=10-19")

        assert (reply.status, len(reply.body)) == (200, job["fileSize"])

    def test_the_next_files_may_be_wrong_by_a_byte(self, job, file, sandbox):
        sandbox.set_marketo(wrong_checksums=1)

        wrong, right = file(job).body, file(job).body

        assert len(wrong) == len(right)
        assert sum(one != other for one, other in zip(wrong, right, strict=True)) == 1
        assert job["fileChecksum"] == f"sha256:{hashlib.sha256(right).hexdigest()}"

    def test_the_next_files_may_be_cut_in_the_middle(self, job, file, sandbox):
        sandbox.set_marketo(cut_files=1)

        with pytest.raises(http.client.IncompleteRead) as cut:
            file(job)

        whole = file(job).body
        assert cut.value.partial == whole[: len(whole) // 2]
        assert file(job, Range=f"bytes={len(cut.value.partial)}-").body == whole[len(cut.value.partial) :]

    @pytest.mark.parametrize(
        ("settings", "spoiled"),
        [
            ({"nul_in_rows": True}, b"\0"),
            ({"cr_in_rows": True}, b"\r"),
            ({"nul_in_rows": True, "cr_in_rows": True}, b"\0\r"),
        ],
    )
    def test_each_tenth_row_may_have_a_nul_or_a_return_in_a_value(self, export, file, sandbox, settings, spoiled):
        sandbox.set_marketo(generate_leads=90, **settings)
        job = export(fields=["id", "email"])

        _, *lines = file(job).body.removesuffix(b"\n").split(b"\n")

        assert job["numberOfRecords"] == len(lines) == 31
        marked = [number for number, line in enumerate(lines, 1) if spoiled in line]
        assert marked == [10, 20, 30]
        assert all(b'"' not in line for line in lines)


class TestAdobesDescription:
    """Answers have the shape that Adobe describes."""

    @pytest.fixture
    def judge(self, call, upload):
        description = Description.load()

        def judge(method, template, *, form=None, content=None, **query):
            path = template
            for name, value in {name: query.pop(name) for name in ("exportId", "batchId") if name in query}.items():
                path = path.replace(f"{{{name}}}", str(value))
            path = path.replace("{apiName}", "car_c").replace("{programId}", "2001").removeprefix("/bulk/v1/")
            reply = upload(form, path, **query) if form else call(method, path, content, **query)
            result = told(reply)
            description.assert_valid(method, template, reply.json())
            return result

        return judge

    @pytest.mark.parametrize("failure", ["", "the instance is being moved"])
    @pytest.mark.parametrize(
        ("made", "asked", "key", "query"),
        [
            ("leads.json", "leads/batch/{batchId}.json", "email", {}),
            ("customobjects/{apiName}/import.json", "customobjects/{apiName}/import/{batchId}/status.json", "vin", {}),
            (
                "program/{programId}/members/import.json",
                "program/members/import/{batchId}/status.json",
                "email",
                {"programMemberStatus": "Invited"},
            ),
        ],
    )
    def test_imports_answer_as_described(self, judge, sandbox, made, asked, key, query, failure):
        sandbox.set_marketo(failed_import=failure)

        batch = judge("POST", f"/bulk/v1/{made}", form=f"{key}\na@example.com\n", **query)["batchId"]

        states = [judge("GET", f"/bulk/v1/{asked}", batchId=batch)["status"] for _ in range(2)]
        assert states == ["Importing", "Failed" if failure else "Complete"]

    @pytest.mark.parametrize("kind", ["leads", "activities"])
    def test_exports_answer_as_described(self, judge, kind):
        base, one = f"/bulk/v1/{kind}/export", f"/bulk/v1/{kind}/export/{{exportId}}"
        content = {"fields": ["id" if kind == "leads" else "leadId"], "filter": AUGUST}
        job, other = (judge("POST", f"{base}/create.json", content=content)["exportId"] for _ in range(2))

        judge("POST", f"{one}/enqueue.json", exportId=job)
        states = [judge("GET", f"{one}/status.json", exportId=job)["status"] for _ in range(2)]
        judge("POST", f"{one}/cancel.json", exportId=other)
        judge("GET", f"{base}.json", batchSize=1)

        assert states == ["Processing", "Completed"]

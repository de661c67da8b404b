"""Atomic's API: what each role may do, what is refused, and what a test sets and sees of it."""

import base64
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus, urlencode, urlsplit

import pytest

from prefect_atomic.sandbox import SandboxError

AGENT = {"User-Agent": "tests"}
GRANT = {"grant_type": "client_credentials"}
BULK = ({"tags": ["a"]}, {"segment": "a"}, {"segmentId": "1"}, {"filter": {"a": 1}}, {"tags": ["b"]})
WEBHOOK = {"types": ["card-completed"], "url": "https://crm.example.com/cards", "headers": {"X-Key": "1"}}
HOURS = {
    "2026-01-31T09": [[{"id": "a"}]],
    "2026-01-31T10": [[{"id": "b"}, {"id": "c", "properties": {"values": {"x": "é"}}}], [{"id": "d"}]],
    "2026-01-31T11": [],
    "2026-01-31T13": [[{"id": "e"}]],
}


def basic(client_id: str, client_secret: str) -> dict[str, str]:
    proof = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return {"Authorization": "Basic " + base64.b64encode(proof.encode()).decode()}


@pytest.fixture
def account(sandbox):
    return sandbox.accounts.atomic


@pytest.fixture
def token(sandbox, send):
    """A new token for a role."""

    def token(role="events"):
        account = {"events": sandbox.accounts.atomic, "workbench": sandbox.accounts.atomic_workbench}[role]
        assert account.role == role
        target = f"/atomic/oauth2/token?{urlencode(GRANT | {'client_id': account.client_id})}"
        reply = send("POST", target, headers=basic(account.client_id, account.client_secret))
        return reply.json()["access_token"]

    return token


@pytest.fixture
def environment(account):
    return f"/atomic/v1/{account.environment_id}"


@pytest.fixture
def call(token, environment, send):
    """Calls an operation of the environment, with a token for the role."""

    def call(method, path, content=None, *, role="events", **query):
        target = f"{environment}/{path}" + (f"?{urlencode(query)}" if query else "")
        body = b"" if content is None else json.dumps(content).encode()
        return send(method, target, headers={**AGENT, "Authorization": f"Bearer {token(role)}"}, body=body)

    return call


def refused(reply, status, reason):
    assert (reply.status, reply.headers.get_content_type()) == (status, "application/json")
    assert reason in reply.json()["error"]
    return True


class TestTokens:
    @pytest.mark.parametrize("where", ["query", "form"])
    @pytest.mark.parametrize("name", ["atomic", "atomic_workbench"])
    def test_a_client_gets_a_token(self, name, where, send, sandbox):
        account = getattr(sandbox.accounts, name)
        proof, given = basic(account.client_id, account.client_secret), GRANT | {"client_id": account.client_id}
        path = account.token_url.removeprefix(sandbox.url)
        if where == "query":
            reply = send("POST", f"{path}?{urlencode(given)}", headers=proof)
        else:
            reply = send("POST", path, headers=proof, form=given)

        content = reply.json()
        issued = content.pop("access_token")
        assert content == {"token_type": "Bearer", "expires_in": 3600}
        assert reply.headers["Cache-Control"] == "no-store"
        verified = send("GET", "/verify/atomic", headers={"Authorization": f"Bearer {issued}"})
        assert verified.json()["credential"] == "atomic"

    @pytest.mark.parametrize(
        ("change", "proof", "status", "error"),
        [
            ({"grant_type": "password"}, {}, 400, "unsupported_grant_type"),
            ({"grant_type": ""}, {}, 400, "invalid_request"),
            ({"client_id": ""}, {}, 400, "invalid_request"),
            ({"client_secret": "in the query"}, {}, 400, "invalid_request"),
            ({"client_id": "another"}, {}, 401, "invalid_client"),
            ({}, {"client_secret": "wrong"}, 401, "invalid_client"),
            ({"client_id": "another"}, {"client_id": "another"}, 401, "invalid_client"),
        ],
    )
    def test_a_client_that_is_wrong_is_refused(self, change, proof, status, error, account, send):
        client = {"client_id": account.client_id, "client_secret": account.client_secret} | proof
        given = GRANT | {"client_id": account.client_id} | change

        reply = send("POST", f"/atomic/oauth2/token?{urlencode(given)}", headers=basic(**client))

        assert (reply.status, reply.json()["error"]) == (status, error)
        assert account.client_secret not in reply.body.decode()

    def test_a_client_without_basic_is_refused(self, account, send):
        given = GRANT | {"client_id": account.client_id, "client_secret": account.client_secret}

        reply = send("POST", "/atomic/oauth2/token", form=given)

        assert (reply.status, reply.json()["error"]) == (401, "invalid_client")

    def test_a_parameter_in_query_and_form_is_there_twice(self, account, send):
        proof = basic(account.client_id, account.client_secret)

        reply = send("POST", f"/atomic/oauth2/token?{urlencode(GRANT)}", headers=proof, form=GRANT)

        assert reply.json()["error_description"] == "grant_type is there more than once"

    def test_its_lifetime_is_the_one_that_the_sandbox_was_told(self, account, send, sandbox):
        sandbox.tokens_live(20)
        given = GRANT | {"client_id": account.client_id}

        reply = send(
            "POST", "/atomic/oauth2/token", headers=basic(account.client_id, account.client_secret), form=given
        )

        assert reply.json()["expires_in"] == 20

    def test_the_token_of_another_service_is_no_proof(self, sandbox, send, environment):
        other = sandbox.accounts.oauth
        client = {"client_id": other.client_id, "client_secret": other.client_secret}
        foreign = send("POST", "/oauth/token", form=GRANT | client).json()["access_token"]
        headers = {**AGENT, "Authorization": f"Bearer {foreign}"}
        reason = "this is an oauth token; an atomic-events or atomic-workbench token was expected"

        assert refused(send("GET", f"{environment}/cards", headers=headers), 401, reason)
        assert send("GET", "/verify/atomic", headers=headers).json()["reason"] == reason


class TestGate:
    def test_there_is_one_environment(self, account, token, send):
        for role in ("events", "workbench"):
            reply = send("GET", "/atomic/v1/environments", headers={**AGENT, "Authorization": f"Bearer {token(role)}"})
            assert reply.json() == {"data": {"environments": [{"id": account.environment_id, "name": "Sandbox"}]}}

    @pytest.mark.parametrize("agent", [{}, {"User-Agent": " "}])
    def test_a_request_without_a_user_agent_is_refused(self, agent, token, environment, send):
        headers = {**agent, "Authorization": f"Bearer {token()}"}

        assert refused(send("GET", f"{environment}/cards", headers=headers), 403, "the User-Agent header is missing")
        assert refused(send("GET", "/atomic/v1/environments", headers=headers), 403, "User-Agent")

    @pytest.mark.parametrize(
        ("authorization", "reason"),
        [
            ([], "send Authorization: Bearer TOKEN"),
            (["Bearer one", "Bearer two"], "more than one"),
            (["Basic Zm9v"], "should start with Bearer"),
            (["Bearer unknown"], "nobody here issued this token"),
        ],
    )
    def test_a_request_without_a_token_is_refused(self, authorization, reason, environment, send):
        headers = [*AGENT.items(), *(("Authorization", value) for value in authorization)]

        reply = send("GET", f"{environment}/cards", headers=headers)

        assert refused(reply, 401, reason)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("what", ["revoke", "reset"])
    def test_a_token_that_is_no_longer_good_is_refused(self, what, token, environment, send, sandbox):
        headers = {**AGENT, "Authorization": f"Bearer {token()}"}
        assert send("GET", f"{environment}/cards", headers=headers).status == 200
        getattr(sandbox, what)()

        assert send("GET", f"{environment}/cards", headers=headers).status == 401

    @pytest.mark.parametrize(
        ("method", "path", "role", "needed"),
        [
            ("POST", "action-flow/welcome/start", "workbench", "events"),
            ("POST", "action-flow/welcome/test", "workbench", "events"),
            ("GET", "cards", "workbench", "events"),
            ("PUT", "cards/cancel", "workbench", "events"),
            ("GET", "webhook", "events", "workbench"),
            ("POST", "webhook", "events", "workbench"),
            ("DELETE", "webhook/1", "events", "workbench"),
        ],
    )
    def test_a_role_that_is_not_enough_is_refused(self, method, path, role, needed, call):
        reply = call(method, path, role=role)

        assert refused(reply, 403, f"this needs the role {needed}; the token is for the role {role}")

    def test_another_environment_or_operation_is_not_found(self, token, environment, send):
        headers = {**AGENT, "Authorization": f"Bearer {token()}"}
        for target in ("/atomic/v1/elsewhere/cards", f"{environment}/cards/unknown", f"{environment}/action-flow/x"):
            method = "POST" if "action-flow" in target else "GET"
            assert send(method, target, headers=headers).status == 404
        assert send("GET", "/atomic/v1/elsewhere/cards", headers=AGENT).status == 401

    def test_a_parameter_that_nobody_knows_is_refused(self, call):
        assert refused(call("GET", "cards", userid="1"), 400, "there is no parameter userid here")
        assert refused(call("GET", "cards", userId=""), 400, "userId is empty")
        assert refused(call("GET", "cards?userId=1&userId=2"), 400, "userId is there more than once")

    def test_calls_are_counted_and_misbehave_by_operation(self, call, environment, sandbox):
        sandbox.misbehave(f"{environment}/action-flow", times=1, status=503)

        assert call("POST", "action-flow/welcome/start", {}).status == 503
        assert call("POST", "action-flow/welcome/test", {}).status == 400
        call("GET", "cards")
        call("PUT", "cards/cancel")
        call("DELETE", "webhook/1", role="workbench")

        assert sandbox.calls() == {
            "POST /atomic/oauth2/token": 5,
            f"POST {environment}/action-flow": 2,
            f"GET {environment}/cards": 1,
            f"PUT {environment}/cards/cancel": 1,
            f"DELETE {environment}/webhook": 1,
        }


class TestFlows:
    def test_starting_a_flow_creates_a_card_for_each_user(self, call, sandbox):
        payload = {"variables": {"name": "Ada"}, "metadata": {"lifecycleId": "order-1"}, "cardOptions": {"priority": 1}}
        target = {"usersById": ["1", "2"]}

        reply = call(
            "POST",
            "action-flow/reminder/start",
            {"flows": [{"target": target, "payload": payload, "flowInvocationId": "mine"}]},
        )

        (flow,) = reply.json()["data"]["flows"]
        assert flow["flowInvocationId"] == "mine"
        cards = sandbox.atomic()["cards"]
        assert [card["flowInstanceId"] for card in cards] == flow["flowInstanceIds"]
        assert len({card["cardInstanceId"] for card in cards}) == 2
        for card, user in zip(cards, ("1", "2"), strict=True):
            assert card["created"] == card["updated"]
            assert datetime.fromisoformat(card["created"]).tzinfo is UTC
            assert {
                "cardTemplateId": "reminder-card",
                "flowInvocationId": "mine",
                "lifecycleId": "order-1",
                "userId": user,
                "status": "active",
                "payload": {**payload, "target": target},
            }.items() <= card.items()

    def test_invocations_are_recorded_in_order_and_with_repeats(self, call, sandbox):
        one, other = ({"target": {"usersById": [user]}, "flowInvocationId": "same"} for user in "12")
        call("POST", "action-flow/welcome/start", {"flows": [one, other, one]})
        call("POST", "action-flow/draft/test", {"flows": [{"target": {"allTestUsers": True}}]})

        *started, tested = sandbox.atomic()["invocations"]

        assert started == [
            {"actionFlowId": "welcome", "flowInvocationId": "same", "target": entry["target"], "payload": {}}
            | {"test": False}
            for entry in (one, other, one)
        ]
        assert tested.pop("flowInvocationId")
        assert tested == {"actionFlowId": "draft", "target": {"allTestUsers": True}, "payload": {}, "test": True}

    def test_an_invocation_without_an_id_gets_one(self, call):
        entries = [{"target": {"attributes": {"city": "Perth"}}}] * 2

        flows = call("POST", "action-flow/welcome/start", {"flows": entries}).json()["data"]["flows"]

        assert len({flow["flowInvocationId"] for flow in flows}) == 2

    def test_a_test_answers_the_same_and_reaches_nobody(self, call, sandbox):
        reply = call("POST", "action-flow/draft/test", {"flows": [{"target": {"usersById": ["1"]}}]})

        assert len(reply.json()["data"]["flows"][0]["flowInstanceIds"]) == 1
        assert sandbox.atomic()["cards"] == []

    def test_a_draft_is_not_started_and_an_unknown_flow_is_not_found(self, call, sandbox):
        content = {"flows": [{"target": {"usersById": ["1"]}}]}

        assert refused(call("POST", "action-flow/draft/start", content), 409, "draft is a draft")
        assert refused(call("POST", "action-flow/nope/test", content), 404, "there is no Action Flow nope")
        assert sandbox.atomic()["invocations"] == []

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ("text", "flows[1]: an entry is an object"),
            ({}, "flows[1]: target is missing"),
            ({"target": {}}, "flows[1]: target is missing"),
            ({"target": "1"}, "flows[1]: target is missing"),
            ({"target": {"usersById": "1"}}, "flows[1]: target.usersById should be an array"),
            ({"target": {"usersById": []}}, "flows[1]: target.usersById should be an array"),
            ({"targets": {"usersById": ["1"]}}, "flows[1]: an entry has no targets"),
            ({"target": {"usersById": ["1"]}}, "flows[1]: this Action Flow requires a variable that is missing: name"),
            ({"payload": {"variables": {"Name": ""}}}, "flows[1]: this Action Flow requires a variable"),
            ({"payload": {"variables": {"name": ""}, "target": {}}}, "flows[1]: payload has no target; it has"),
            ({"payload": []}, "flows[1]: payload should be an object"),
            ({"payload": {"variables": ["name"]}}, "flows[1]: payload.variables should be an object"),
            ({"flowInvocationId": 7}, "flows[1]: flowInvocationId should be a text"),
            *(
                ({"payload": {"variables": {"name": ""}, "cardOptions": {"priority": priority}}}, "from 1 to 10")
                for priority in (0, 11, "1", True)
            ),
        ],
    )
    @pytest.mark.parametrize("action", ["start", "test"])
    def test_an_entry_that_is_wrong_starts_nothing(self, action, entry, reason, call, sandbox):
        right = {"target": {"usersById": ["1"]}, "payload": {"variables": {"name": ""}}}
        if isinstance(entry, dict) and entry.keys() & {"payload", "flowInvocationId"}:
            entry = right | entry

        reply = call("POST", f"action-flow/reminder/{action}", {"flows": [right, entry]})

        assert refused(reply, 400, reason)
        assert sandbox.atomic()["invocations"] == sandbox.atomic()["cards"] == []

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ({}, "with at least one entry"),
            ({"flows": []}, "with at least one entry"),
            ({"flows": {}}, "with at least one entry"),
            ({"flows": [{"target": {"allTestUsers": True}}], "payload": {}}, 'the body should be {"flows": [...]}'),
            ({"flows": [{"target": {"allTestUsers": True}}] * 1001}, "at most 1000 flows, not 1001"),
            ([], "the body is not a JSON object"),
        ],
    )
    def test_a_body_of_another_shape_is_refused(self, content, reason, call):
        assert refused(call("POST", "action-flow/welcome/start", content), 400, reason)

    def test_a_thousand_flows_are_started(self, call, sandbox):
        entries = [{"target": {"usersById": [str(user)]}} for user in range(1000)]

        assert call("POST", "action-flow/welcome/start", {"flows": entries}).status == 200
        assert len(sandbox.atomic()["cards"]) == 1000

    def test_other_flows_are_known_once_they_are_set(self, call, sandbox):
        sandbox.set_atomic(flows={"other": {"published": True, "required": ["city"]}, "draft": {"published": True}})
        content = {"flows": [{"target": {"usersById": ["1"]}}]}

        assert refused(call("POST", "action-flow/other/start", content), 400, "missing: city")
        assert call("POST", "action-flow/draft/start", content).status == 200
        assert call("POST", "action-flow/welcome/start", content).status == 200


class TestBulk:
    def start(self, call, *targets):
        return call("POST", "action-flow/welcome/start", {"flows": [{"target": target} for target in targets]})

    def test_more_than_five_in_a_request_start_nothing(self, call, sandbox):
        reply = self.start(call, *BULK, {"tags": ["c"]})

        assert refused(reply, 429, "0 bulk tasks run, 6 more were asked for, and 5 may run")
        assert reply.headers["Retry-After"] == "1"
        assert sandbox.atomic()["invocations"] == []

    def test_more_than_five_at_once_start_nothing_until_some_have_ended(self, call, sandbox):
        sandbox.set_atomic(bulk_seconds=3600)
        assert self.start(call, *BULK[:3]).status == 200

        assert refused(self.start(call, *BULK[:3], {"usersById": ["1"]}), 429, "3 bulk tasks run")
        assert len(sandbox.atomic()["invocations"]) == 3
        assert self.start(call, *BULK[:2]).status == 200
        assert self.start(call, {"tags": ["c"]}).status == 429

        sandbox.set_atomic(bulk_seconds=0)
        assert self.start(call, *BULK).status == 200

    def test_other_targets_are_exempt(self, call, sandbox):
        sandbox.set_atomic(bulk_seconds=3600)
        self.start(call, *BULK)

        others = [{"usersById": ["1"]}, {"attributes": {"a": "b"}}, {"allTestUsers": True}] * 3
        assert self.start(call, *others).status == 200

    def test_a_wrong_entry_starts_no_bulk_task(self, call, sandbox):
        sandbox.set_atomic(bulk_seconds=3600)
        assert self.start(call, *BULK, {}).status == 400

        assert self.start(call, *BULK).status == 200


class TestCards:
    @pytest.fixture
    def cards(self, call, sandbox):
        """Cards of two flows, three users and two lifecycles."""
        for flow, lifecycle in (("welcome", "one"), ("reminder", "two")):
            payload = {"variables": {"name": ""}, "metadata": {"lifecycleId": lifecycle}}
            entry = {"target": {"usersById": ["1", "2", "3"]}, "payload": payload, "flowInvocationId": f"{flow}-1"}
            call("POST", f"action-flow/{flow}/start", {"flows": [entry]})
        return sandbox.atomic()["cards"]

    def test_all_filters_must_match(self, cards, call):
        assert call("GET", "cards").json() == {"data": {"cards": cards}}
        for name in ("userId", "lifecycleId", "cardTemplateId", "flowInstanceId", "flowInvocationId", "status"):
            found = call("GET", "cards", **{name: cards[0][name]}).json()["data"]["cards"]
            assert found == [card for card in cards if card[name] == cards[0][name]]
        assert call("GET", "cards", userId="1", lifecycleId="two").json()["data"]["cards"] == [cards[3]]
        assert call("GET", "cards", userId="4").json() == {"data": {"cards": []}}

    def test_a_list_has_pages(self, cards, call):
        assert call("GET", "cards", limit=2, offset=3).json()["data"]["cards"] == cards[3:5]
        call("POST", "action-flow/welcome/start", {"flows": [{"target": {"usersById": [*map(str, range(100))]}}]})
        assert len(call("GET", "cards").json()["data"]["cards"]) == 100
        assert len(call("GET", "cards", limit=1000).json()["data"]["cards"]) == 106

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"limit": 0}, "limit should be a whole number from 1 to 1000"),
            ({"limit": 1001}, "limit should be a whole number from 1 to 1000"),
            ({"limit": "ten"}, "limit should be a whole number from 1 to 1000"),
            ({"offset": -1}, "offset should be a whole number from 0"),
        ],
    )
    def test_a_page_that_cannot_be_is_refused(self, change, reason, call):
        assert refused(call("GET", "cards", **change), 400, reason)

    def test_a_cancel_is_for_the_active_cards_that_match(self, cards, call, sandbox):
        assert call("PUT", "cards/cancel", userId="1", lifecycleId="one").json() == {"data": {"count": 1}}
        assert call("PUT", "cards/cancel", lifecycleId="one", multiple=1).json() == {"data": {"count": 2}}
        assert call("PUT", "cards/cancel", lifecycleId="one", multiple=1).json() == {"data": {"count": 0}}

        assert [card["status"] for card in sandbox.atomic()["cards"]] == ["cancelled"] * 3 + ["active"] * 3
        assert len(call("GET", "cards", status="active").json()["data"]["cards"]) == 3

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({}, "a cancel without a filter would be for every card"),
            ({"multiple": 1, "limit": 10}, "a cancel without a filter would be for every card"),
            ({"userId": "1"}, "2 cards match; to cancel more than one, say multiple=1"),
            ({"userId": "1", "limit": 1}, "2 cards match; to cancel more than one, say multiple=1"),
            ({"userId": "1", "multiple": "true"}, "multiple should be 1"),
            ({"userId": "1", "multiple": 1, "limit": 1001}, "limit should be a whole number from 1 to 1000"),
            ({"userId": "1", "status": "active"}, "there is no parameter status here"),
        ],
    )
    def test_a_cancel_that_is_refused_cancels_nothing(self, given, reason, cards, call, sandbox):
        assert refused(call("PUT", "cards/cancel", **given), 400, reason)
        assert sandbox.atomic()["cards"] == cards

    def test_a_cancel_ends_at_its_limit(self, call):
        users = [str(user) for user in range(600)]
        entry = {"target": {"usersById": users}, "flowInvocationId": "all"}
        call("POST", "action-flow/welcome/start", {"flows": [entry]})
        scope = {"flowInvocationId": "all", "multiple": 1}

        counts = [call("PUT", "cards/cancel", **scope, **limit).json() for limit in ({"limit": 50}, {}, {}, {})]

        assert [content["data"]["count"] for content in counts] == [50, 500, 50, 0]


class TestUsers:
    @pytest.mark.parametrize("role", ["events", "workbench"])
    def test_users_are_created_and_changed_by_id(self, role, call, sandbox):
        first = [{"id": "1", "profile": {"city": "Perth", "name": "Ada"}}, {"id": "2"}]
        assert call("POST", "users", first, role=role).json() == {"data": {"users": [{"id": "1"}, {"id": "2"}]}}
        second = [{"id": "1", "profile": {"city": "Hobart"}, "preferences": {"push": False}}]
        assert call("POST", "users", second, role=role).status == 200

        one, two = call("GET", "users", role=role).json()["data"]["users"]

        assert (one["profile"], one["preferences"]) == ({"city": "Hobart", "name": "Ada"}, {"push": False})
        assert one["preferencesUpdated"] >= one["created"]
        assert two.pop("created")
        assert two == {"id": "2", "preferences": {}, "preferencesUpdated": None, "profile": {}}
        assert sandbox.atomic()["users"][0] == one

    def test_fields_beside_the_id_are_of_the_profile_too(self, call):
        call("POST", "users", [{"id": "1", "city": "Perth"}])

        assert call("GET", "users").json()["data"]["users"][0]["profile"] == {"city": "Perth"}

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ({"id": "1"}, "the body is not a JSON array"),
            ([{"id": "1"}, {}], "[1]: a user is an object with an id"),
            ([{"id": "1"}, {"id": 2}], "[1]: a user is an object with an id"),
            ([{"id": "1"}, {"id": ""}], "[1]: a user is an object with an id"),
            ([{"id": "1"}, "2"], "[1]: a user is an object with an id"),
            ([{"id": "1", "profile": []}], "[0]: profile should be an object"),
            ([{"id": str(user)} for user in range(1001)], "at most 1000 users, not 1001"),
            (None, "the body is not JSON"),
        ],
    )
    def test_users_that_are_wrong_change_nothing(self, content, reason, call, sandbox):
        assert refused(call("POST", "users", content), 400, reason)
        assert sandbox.atomic()["users"] == []

    def test_a_list_has_pages_and_segments(self, call):
        call("POST", "users", [{"id": str(user), "profile": {"segmentId": str(user % 2)}} for user in range(6)])

        def ids(**query):
            return [user["id"] for user in call("GET", "users", **query).json()["data"]["users"]]

        assert ids(limit=2, offset=1) == ["1", "2"]
        assert ids(segmentId="1") == ["1", "3", "5"]
        assert ids(segmentId="1", limit=1, offset=2) == ["5"]


class TestWebhooks:
    def test_a_secret_is_told_once(self, call, sandbox):
        scope = {"cardTemplateId": "1", "actionFlowConfigId": "2"}
        created = call("POST", "webhook", WEBHOOK | scope, role="workbench")
        webhook = created.json()["data"]

        listed = call("GET", "webhook", role="workbench").json()["data"]["webhooks"]

        assert created.status == 201
        assert webhook.keys() == {"id", "secret", "created", "updated", *WEBHOOK, *scope}
        assert sandbox.atomic()["webhooks"] == [webhook]
        assert webhook.pop("secret")
        assert listed == [webhook]
        assert (WEBHOOK | scope).items() <= webhook.items()

    def test_a_webhook_is_removed_once(self, call, sandbox):
        webhook = call("POST", "webhook", WEBHOOK, role="workbench").json()["data"]

        assert call("DELETE", f"webhook/{webhook['id']}", role="workbench").status == 204
        assert sandbox.atomic()["webhooks"] == []
        reply = call("DELETE", f"webhook/{webhook['id']}", role="workbench")
        assert refused(reply, 404, "there is no webhook")
        assert call("DELETE", "webhook", role="workbench").status == 404
        assert call("GET", "webhook/1", role="workbench").status == 404

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"types": []}, "types should be an array"),
            ({"types": "card-completed"}, "types should be an array"),
            ({"url": "crm.example.com"}, "url should be an http or https URL"),
            ({"url": None}, "url should be an http or https URL"),
            ({"headers": {"X-Key": 1}}, "headers should be an object"),
            ({"cardTemplateId": 1}, "cardTemplateId should be a text"),
            ({"name": "crm"}, "a webhook has no name"),
        ],
    )
    def test_a_webhook_that_is_wrong_is_refused(self, change, reason, call, sandbox):
        assert refused(call("POST", "webhook", WEBHOOK | change, role="workbench"), 400, reason)
        assert sandbox.atomic()["webhooks"] == []

    def test_there_are_a_hundred_at_most(self, environment, token, send):
        headers = {**AGENT, "Authorization": f"Bearer {token('workbench')}"}
        body = json.dumps(WEBHOOK).encode()
        statuses = [send("POST", f"{environment}/webhook", headers=headers, body=body).status for _ in range(101)]

        assert statuses == [201] * 100 + [400]


class TestAnalytics:
    @pytest.fixture
    def hours(self, sandbox):
        sandbox.set_atomic(hours=HOURS)

    @pytest.fixture
    def batched(self, hours, call):
        def batched(start="2026-01-31T09:00:00Z", end="2026-01-31T13:00:00Z", **query):
            return call("GET", "analytics/batched", **{"from": start, "to": end, **query})

        return batched

    @pytest.fixture
    def read(self, send, sandbox):
        def read(url, **headers):
            assert url.startswith(f"{sandbox.accounts.atomic.base_url}/data/")
            return send("GET", url.removeprefix(sandbox.url), headers=headers)

        return read

    def test_an_hour_is_there_once_it_is_processed_and_may_be_empty(self, batched):
        data = batched().json()["data"]

        assert {hour: len(urls) for hour, urls in data.items()} == {
            "2026-01-31T10": 2,
            "2026-01-31T11": 0,
            "2026-01-31T13": 1,
        }

    @pytest.mark.parametrize("role", ["events", "workbench"])
    def test_either_role_may_ask(self, role, hours, call):
        query = {"from": "2026-01-31T08:00:00Z", "to": "2026-01-31T09:00:00Z", "format": "ndjson"}

        assert list(call("GET", "analytics/batched", role=role, **query).json()["data"]) == ["2026-01-31T09"]

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            ("2026-01-31T09:59:59.9Z", "2026-01-31T12:00:01Z", ["10", "11", "13"]),
            ("2026-01-31T08:00:00Z", "2026-01-31T09:00:00Z", ["09"]),
            ("2026-01-31T11:00:00Z", "2026-01-31T12:00:00Z", []),
            ("2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z", []),
            ("2026-01-31T18:30:00+10:30", "2026-01-31T20:30:00+10:30", ["09", "10"]),
        ],
    )
    def test_the_range_is_rounded_to_hours_of_utc(self, start, end, expected, batched):
        assert [hour.partition("T")[2] for hour in batched(start, end).json()["data"]] == expected

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"from": "yesterday"}, "from is not an instant in ISO 8601"),
            ({"from": "2026-01-31"}, "from should say its offset"),
            ({"to": "2026-01-31T13:00:00"}, "to should say its offset"),
            ({"from": "2026-01-31T13:00:01Z", "to": "2026-01-31T12:00:00Z"}, "from should not be after to"),
            ({"to": "2026-03-02T09:00:01Z"}, "at most 30 days apart"),
            ({"format": "parquet"}, "format should be one of ndjson, csv"),
        ],
    )
    def test_a_range_or_a_format_that_cannot_be_is_refused(self, change, reason, call):
        query = {"from": "2026-01-31T09:00:00Z", "to": "2026-01-31T13:00:00Z"} | change

        assert refused(call("GET", "analytics/batched", **query), 400, reason)

    def test_from_and_to_are_required_and_thirty_days_are_not_too_many(self, call, batched):
        assert refused(call("GET", "analytics/batched", to="2026-01-31T09:00:00Z"), 400, "from is missing")
        end = datetime(2026, 1, 31, 9, tzinfo=UTC) + timedelta(days=30)
        assert batched(end=end.isoformat()).status == 200

    def test_a_url_leads_to_lines_of_json_without_a_token(self, batched, read):
        first, second = batched().json()["data"]["2026-01-31T10"]

        reply = read(first)

        assert reply.headers["Content-Type"] == "application/x-ndjson"
        assert reply.headers["Content-Length"] is None
        assert [json.loads(line) for line in reply.body.splitlines()] == HOURS["2026-01-31T10"][0]
        assert read(second).body == b'{"id": "d"}\n'
        assert read(first).status == 200  # as often as one likes

    def test_a_large_file_is_whole(self, sandbox, call, read):
        events = [{"id": str(number)} for number in range(1234)]
        sandbox.set_atomic(hours={"2026-01-31T09": [events]})
        query = {"from": "2026-01-31T08:00:00Z", "to": "2026-01-31T09:00:00Z"}
        (url,) = call("GET", "analytics/batched", **query).json()["data"]["2026-01-31T09"]

        assert [json.loads(line) for line in read(url).body.splitlines()] == events

    def test_csv_has_a_column_for_each_field(self, batched, read):
        url, _ = batched(format="csv").json()["data"]["2026-01-31T10"]

        reply = read(url)

        assert reply.headers.get_content_type() == "text/csv"
        assert list(csv.reader(io.StringIO(reply.body.decode(), newline=""))) == [
            ["id", "properties"],
            ["b", ""],
            ["c", '{"values": {"x": "\\u00e9"}}'],
        ]

    def test_a_url_is_signed_and_says_for_how_long(self, batched, sandbox):
        one, other = (batched().json()["data"]["2026-01-31T13"][0] for _ in range(2))
        parts = urlsplit(one)
        query = dict(pair.split("=") for pair in parts.query.split("&"))

        assert parts.path.endswith(".ndjson")
        assert query.keys() == {"X-Amz-Expires", "X-Amz-Date", "X-Amz-Signature"}
        assert query["X-Amz-Expires"] == "900"
        assert one != other

    def test_a_url_expires(self, batched, read, sandbox):
        live = batched().json()["data"]["2026-01-31T13"][0]
        sandbox.set_atomic(url_seconds=0)
        ended = batched().json()["data"]["2026-01-31T13"][0]

        reply = read(ended)

        assert (reply.status, reply.headers["Content-Type"]) == (403, "application/xml")
        assert b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>" in reply.body
        assert read(live).status == 200

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda url: url + "0", "SignatureDoesNotMatch"),
            (lambda url: url.replace("X-Amz-Expires=900", "X-Amz-Expires=9000"), "SignatureDoesNotMatch"),
            (lambda url: url.replace("T13-0", "T10-0"), "SignatureDoesNotMatch"),
            (lambda url: url.partition("?")[0], "AccessDenied"),
        ],
    )
    def test_a_url_that_changed_is_refused(self, change, code, batched, read):
        reply = read(change(batched().json()["data"]["2026-01-31T13"][0]))

        assert reply.status == 403
        assert f"<Code>{code}</Code>" in reply.body.decode()

    def test_a_token_beside_the_signature_is_refused(self, batched, read, token):
        url = batched().json()["data"]["2026-01-31T13"][0]

        reply = read(url, Authorization=f"Bearer {token()}")

        assert reply.status == 400
        assert "Only one auth mechanism allowed" in reply.body.decode()

    def test_data_misbehave_by_their_fixed_path(self, batched, read, sandbox):
        url = batched().json()["data"]["2026-01-31T13"][0]
        sandbox.misbehave("/atomic/data", times=1, status=503)

        assert [read(url).status for _ in range(2)] == [503, 200]
        assert sandbox.calls()["GET /atomic/data"] == 2

    def test_hours_come_and_go(self, batched, sandbox):
        sandbox.set_atomic(hours={"2026-01-31T12": [[{"id": "late"}]], "2026-01-31T10": None})

        assert [hour[-2:] for hour in batched().json()["data"]] == ["11", "12", "13"]


class TestControl:
    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"hours": {"2026-01-31": []}}, "an hour looks like 2026-01-31T09, not '2026-01-31'"),
            ({"hours": {"2026-01-31T24": []}}, "an hour looks like"),
            ({"hours": {"2026-01-31T09": [{"id": "a"}]}}, "the hour 2026-01-31T09 should be an array of files"),
            ({"hours": {"2026-01-31T09": [["a"]]}}, "the hour 2026-01-31T09 should be an array of files"),
            ({"hours": [1]}, "hours should be an object"),
            ({"url_seconds": -1}, "url_seconds is a number of seconds"),
            ({"bulk_seconds": "1"}, "bulk_seconds is a number of seconds"),
            ({"flows": {"x": {"publish": True}}}, "the flow x should be like"),
            ({"flows": {"x": {"required": "name"}}}, "the flow x should be like"),
            ({"flows": {"x": {"required": [1]}}}, "the flow x should be like"),
        ],
    )
    def test_what_cannot_be_set_is_refused_and_nothing_is_set(self, settings, reason, sandbox, call):
        with pytest.raises(SandboxError, match=reason):
            sandbox.set_atomic(**({"flows": {"y": {}}} | settings))

        content = {"flows": [{"target": {"usersById": ["1"]}}]}
        assert call("POST", "action-flow/y/start", content).status == 404

    def test_a_setting_with_a_typo_is_refused(self, send):
        reply = send("PUT", "/_sandbox/atomic", body=b'{"hour": {}}')

        assert refused(reply, 400, "Atomic has no hour to set")

    def test_a_reset_forgets_everything(self, sandbox, call):
        sandbox.set_atomic(hours={"2026-01-31T09": []}, flows={"mine": {}}, bulk_seconds=3600)
        content = {"flows": [{"target": {"usersById": ["1"]}}, *({"target": {"tags": ["a"]}} for _ in range(5))]}
        call("POST", "action-flow/mine/start", content)
        call("POST", "users", [{"id": "1"}])
        call("POST", "webhook", WEBHOOK, role="workbench")
        assert all(sandbox.atomic().values())

        sandbox.reset()

        assert sandbox.atomic() == {"invocations": [], "users": [], "cards": [], "webhooks": []}
        assert call("POST", "action-flow/mine/start", content).status == 404
        assert call("POST", "action-flow/welcome/start", content).status == 200
        query = {"from": "2026-01-31T08:00:00Z", "to": "2026-01-31T09:00:00Z"}
        assert call("GET", "analytics/batched", **query).json() == {"data": {}}

    def test_accounts_are_of_one_environment_and_show_no_secret(self, sandbox):
        events, workbench = sandbox.accounts.atomic, sandbox.accounts.atomic_workbench

        assert events.base_url == workbench.base_url == f"{sandbox.url}/atomic"
        assert (events.organization_id, events.environment_id) == (workbench.organization_id, workbench.environment_id)
        assert events.client_id != workbench.client_id
        assert events.client_secret not in repr(events)

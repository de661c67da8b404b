"""Cards and users: listed page by page, cancelled and upserted, and nothing goes on for ever."""

import json

import pytest

from prefect_atomic import AtomicError, RequestError, ResponseError
from tests.e2e.servers.faulty import Answer
from tests.integrations.atomic.conftest import block_for, of_json


def start_cards(atomic, *users: str) -> None:
    atomic.start_action_flow("welcome", [{"target": {"usersById": [user]}} for user in users])


class TestCancel:
    def test_all_that_match_are_cancelled_round_by_round(self, sandbox, atomic, call):
        start_cards(atomic, *(["ada"] * 5), "bob")

        assert call(atomic.cancel_cards, user_id="ada", limit=2) == 5

        active = [card["userId"] for card in sandbox.atomic()["cards"] if card["status"] == "active"]
        assert active == ["bob"]
        assert sandbox.calls()[f"PUT /atomic/v1/{atomic.environment_id}/cards/cancel"] == 4

    def test_every_filter_counts(self, sandbox, atomic, call):
        start_cards(atomic, "ada", "bob")
        card = sandbox.atomic()["cards"][0]

        assert call(atomic.cancel_cards, user_id="bob", flow_instance_id=card["flowInstanceId"]) == 0
        assert call(atomic.cancel_cards, user_id="ada", flow_invocation_id=card["flowInvocationId"]) == 1

    def test_without_a_filter_nothing_is_cancelled(self, sandbox, atomic, call):
        with pytest.raises(RequestError, match="at least one filter"):
            call(atomic.cancel_cards)
        assert sandbox.calls() == {}

    @pytest.mark.parametrize("empty", ["", "  ", 7])
    def test_an_empty_filter_does_not_widen_a_cancel(self, sandbox, atomic, call, empty):
        with pytest.raises(RequestError, match=r"^user_id: is empty"):
            call(atomic.cancel_cards, user_id=empty, card_template_id="welcome-card")
        assert sandbox.calls() == {}

    @pytest.mark.parametrize("limit", [0, 1001, True, "5"])
    def test_the_limit_is_one_that_atomic_takes(self, atomic, limit):
        with pytest.raises(RequestError, match=r"^limit: is a whole number from 1 to 1000"):
            atomic.cancel_cards(user_id="ada", limit=limit)

    @pytest.mark.parametrize(
        "shape",
        [
            lambda n: {"data": {"count": n}},
            lambda n: {"data": {"cancelled": n}},
            lambda n: {"total": n},
            lambda n: {"data": [{}] * n},
            lambda n: {"data": {"cards": [{}] * n}},
        ],
    )
    def test_the_number_is_read_from_any_shape(self, raw, call, shape):
        raw.answers = [of_json(shape(3)), of_json(shape(0))]

        assert call(raw.block().cancel_cards, user_id="ada") == 3

    @pytest.mark.parametrize("answer", [of_json({"data": {}}), of_json({"count": True}), of_json("ok"), Answer(200)])
    def test_an_answer_without_a_number_is_an_error_and_no_endless_loop(self, raw, call, answer):
        raw.answers = [answer]

        with pytest.raises(ResponseError, match="the block's `operations` can set another"):
            call(raw.block().cancel_cards, user_id="ada")
        assert len(raw.asked) == 1

    def test_a_count_that_never_falls_is_an_error(self, raw):
        raw.answers = [of_json({"data": {"count": 1}})]

        with pytest.raises(ResponseError, match="1000 rounds, 1000 cards in all"):
            raw.block().cancel_cards(user_id="ada")


class TestListings:
    def test_all_pages_come(self, sandbox, atomic, call):
        start_cards(atomic, *map(str, range(7)))

        assert [card["userId"] for card in call(atomic.cards, page_size=3)] == list("0123456")
        assert [card["userId"] for card in call(atomic.cards, user_id="4", status="active")] == ["4"]
        assert call(atomic.cards, status="cancelled") == []

    def test_a_full_last_page_is_no_trouble(self, atomic, call):
        start_cards(atomic, *"abcd")

        assert len(call(atomic.cards, page_size=2)) == 4

    def test_pages_are_asked_for_as_they_are_needed(self, sandbox, atomic):
        start_cards(atomic, *"abcd")
        listing = atomic.cards(page_size=2)
        path = f"GET /atomic/v1/{atomic.environment_id}/cards"

        assert path not in sandbox.calls()
        next(listing)
        assert sandbox.calls()[path] == 1

    def test_a_page_that_is_cut_to_a_limit_of_atomics_is_not_the_last(self, raw, call):
        page = [{"id": str(number)} for number in range(250)]
        raw.server.handler = lambda sent: (
            raw._answer(sent)
            if sent.path == "/token"
            else of_json({"data": {"users": page[int(sent.query.partition("offset=")[2]) :][:100]}})
        )
        raw.answers = [of_json({})]

        assert call(raw.block().users, page_size=500) == page

    @pytest.mark.parametrize("answer", [[{"id": "1"}], {"data": [{"id": "1"}]}, {"users": [{"id": "1"}]}])
    def test_a_listing_is_read_from_any_shape(self, raw, call, answer):
        raw.answers = [of_json(answer)]

        assert call(raw.block().users) == [{"id": "1"}]

    def test_an_offset_that_is_ignored_is_an_error_and_no_endless_loop(self, raw, call):
        raw.answers = [of_json({"data": {"cards": [{"id": "1"}, {"id": "2"}]}})]

        with pytest.raises(ResponseError, match="the same page again at offset 2"):
            call(raw.block().cards, page_size=2)

    @pytest.mark.parametrize("answer", [{"data": {}}, {"data": {"cards": ["a"]}}, "cards"])
    def test_an_answer_that_lists_nothing_is_an_error(self, raw, call, answer):
        raw.answers = [of_json(answer)]

        with pytest.raises(ResponseError, match=r'not the expected \{"data": \{"cards"'):
            call(raw.block().cards)

    def test_what_is_wrong_is_told_before_the_first_is_asked_for(self, atomic):
        with pytest.raises(RequestError, match=r"^page_size: "):
            atomic.cards(page_size=0)
        with pytest.raises(RequestError, match=r"^status: is empty"):
            atomic.acards(status="")


class TestUpsert:
    def test_users_arrive_in_batches(self, sandbox, call):
        atomic = block_for(sandbox.accounts.atomic, batch_size=2)
        given = [{"id": str(number), "profile": {"name": "n"}} for number in range(5)]

        assert call(atomic.upsert_users, iter(given)) == 5

        assert [user["id"] for user in call(atomic.users)] == list("01234")
        assert sandbox.calls()[f"POST /atomic/v1/{atomic.environment_id}/users"] == 3

    def test_a_segment_is_asked_for(self, atomic, call):
        atomic.upsert_users([{"id": "a", "profile": {"segmentId": "vip"}}, {"id": "b"}])

        assert [user["id"] for user in call(atomic.users, segment_id="vip")] == ["a"]

    def test_the_body_is_a_json_array(self, raw, call):
        raw.answers = [of_json({})]

        call(raw.block().upsert_users, [{"id": "é", "name": "Ada"}])

        assert json.loads(raw.asked[0].body) == [{"id": "é", "name": "Ada"}]

    @pytest.mark.parametrize(
        ("user", "told"),
        [
            ({}, r"id: is the user's id, as text"),
            ({"id": 7}, r"id: is the user's id, as text"),
            ({"id": " "}, r"id: is the user's id, as text"),
            ("7", r"is a str, and a user is a mapping"),
            ({"id": "7", "born": {1}}, r"holds something that is no JSON"),
            ({"id": "7", "x": "\ud800"}, r"holds something that is no JSON"),
        ],
    )
    def test_all_are_checked_before_the_first_is_sent(self, sandbox, atomic, call, user, told):
        with pytest.raises(RequestError, match=rf"^users\[1\]: {told}"):
            call(atomic.upsert_users, [{"id": "1"}, user])
        assert sandbox.calls() == {}

    def test_a_single_user_is_no_list(self, atomic):
        with pytest.raises(RequestError, match=r"^users: takes a list"):
            atomic.upsert_users({"id": "1"})

    def test_a_refusal_says_how_many_were_sent_before(self, raw, call):
        raw.answers = [of_json({}), of_json({"error": "no"}, 403)]

        with pytest.raises(AtomicError, match="403") as error:
            call(raw.block(batch_size=2).upsert_users, [{"id": str(number)} for number in range(5)])
        assert error.value.__notes__ == ["2 of 5 users were sent before."]

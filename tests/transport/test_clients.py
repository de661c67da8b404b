"""The pools: one client per process and configuration, one per event loop, nothing left behind."""

import asyncio
import gc
import multiprocessing
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect_atomic import asend_request, send_request
from prefect_atomic.transport import clients
from prefect_atomic.transport.clients import pooled_async_client, pooled_client
from tests.e2e.servers.faulty import Answer


@pytest.fixture
def no_clients(monkeypatch):
    """As in a process that has sent nothing yet."""
    fresh = {}
    monkeypatch.setattr(clients, "_clients", fresh)
    yield
    for client in fresh.values():
        client.close()


def test_there_is_one_client_per_configuration():
    assert pooled_client() is pooled_client(allow_private_networks=True)
    assert pooled_client(allow_private_networks=False) is pooled_client(allow_private_networks=False)
    assert pooled_client() is not pooled_client(allow_private_networks=False)


def test_requests_share_a_connection(no_clients, server):
    for _ in range(5):
        send_request.fn("GET", f"{server.url}/p")

    assert server.connections == 1


def test_a_connection_is_used_again_after_an_error_answer(no_clients, server):
    server.script([Answer(503), Answer(404, body=b"no")])

    for _ in range(3):
        send_request.fn("GET", f"{server.url}/p", raise_for_status=False)

    assert server.connections == 1


def test_threads_that_start_together_make_one_client(no_clients, monkeypatch):
    made = []
    kind = clients._Client
    monkeypatch.setattr(clients, "_Client", lambda **options: made.append(kind(**options)) or made[-1])
    together = threading.Barrier(32)

    def take(_):
        together.wait()
        return pooled_client()

    with ThreadPoolExecutor(32) as pool:
        assert len(set(map(id, pool.map(take, range(32))))) == 1
    assert len(made) == 1


def test_threads_do_not_get_each_others_answers(server):
    server.handler = lambda request: Answer(200, body=request.target.encode())

    def ask(number: int) -> bool:
        path = f"/{number}"
        return send_request.fn("GET", server.url + path).text == path

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(320)))


def test_no_cookie_of_an_answer_is_sent_with_the_next_request(send, server):
    server.script([Answer(200, [("Set-Cookie", "session=1; Path=/")])])

    send("GET", f"{server.url}/p")
    send("GET", f"{server.url}/p")

    assert server.requests[1].header("Cookie") is None


def test_no_cookie_of_a_redirect_is_sent_to_where_it_leads(send, server):
    server.script([Answer(302, [("Location", "/new"), ("Set-Cookie", "session=1; Path=/")])])

    send("GET", f"{server.url}/p", follow_redirects=True)

    assert server.requests[1].header("Cookie") is None


def test_a_cookie_of_the_callers_own_is_sent(send, server):
    send("GET", f"{server.url}/p", headers={"Cookie": "mine=1"})

    assert server.requests[0].all("Cookie") == ["mine=1"]


def test_an_event_loop_has_one_client_and_another_loop_another():
    async def take():
        return await pooled_async_client(), await pooled_async_client()

    first, second = asyncio.run(take()), asyncio.run(take())

    assert first[0] is first[1]
    assert first[0] is not second[0]


def test_tasks_that_start_together_share_a_client():
    async def take():
        return await asyncio.gather(*(pooled_async_client() for _ in range(32)))

    assert len(set(map(id, asyncio.run(take())))) == 1


def test_the_client_of_a_loop_is_closed_with_it_and_leaves_nothing_behind(server):
    async def ask():
        await asend_request.fn("GET", f"{server.url}/p")
        return await pooled_async_client()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert asyncio.run(ask()).is_closed
        assert asyncio.run(ask()).is_closed
        gc.collect()

    assert [warning for warning in caught if issubclass(warning.category, ResourceWarning)] == []
    server.wait(lambda server: server.open_connections == 0)
    assert len(clients._async_clients) == 0


def _ask_in_child(url: str, answers) -> None:
    answers.put((send_request.fn("GET", url).status_code, id(pooled_client())))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_connects_by_itself(no_clients, server):
    send_request.fn("GET", f"{server.url}/parent")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    child = context.Process(target=_ask_in_child, args=(f"{server.url}/child", answers))
    child.start()
    status, _ = answers.get(timeout=30)
    child.join(30)
    send_request.fn("GET", f"{server.url}/parent")

    assert status == 200
    connections = {request.path: request.connection for request in server.requests}
    assert connections["/child"] != connections["/parent"]
    assert [request.connection for request in server.requests if request.path == "/parent"] == [0, 0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_a_client_was_made_is_not_locked_out(no_clients, server):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with clients._one_at_a_time:
        child = context.Process(target=_ask_in_child, args=(f"{server.url}/child", answers))
        child.start()

    assert answers.get(timeout=30)[0] == 200
    child.join(30)

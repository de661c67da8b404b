"""The handle: a sandbox starts, answers, and is gone afterwards, whatever happens to its parent."""

import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from prefect_atomic.sandbox import Sandbox, SandboxError
from prefect_atomic.sandbox.accounts import Accounts


def answers(url: str) -> bool:
    try:
        Sandbox.connect(url)
    except SandboxError:
        return False
    return True


def test_it_stops_although_a_caller_hangs():
    with Sandbox.start() as sandbox, socket.create_connection(sandbox.url.removeprefix("http://").split(":")) as caller:
        sandbox.misbehave("/echo", hang=True)
        caller.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        while not sandbox.calls():
            pass
        started = time.monotonic()
        sandbox.stop()

    assert time.monotonic() - started < 4


def test_it_stops_when_its_parent_is_killed():
    program = """if True:
        import os, sys
        from prefect_atomic.sandbox import Sandbox
        sys.stdout.write(Sandbox.start().url)
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
    """
    url = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False).stdout

    assert url.startswith("http://127.0.0.1:")
    deadline = time.monotonic() + 10
    while answers(url):
        assert time.monotonic() < deadline, "it outlived its parent"


def test_it_listens_on_the_chosen_port_until_it_is_left():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with Sandbox.start(port) as sandbox:
        assert sandbox.url == f"http://127.0.0.1:{port}"
        assert answers(sandbox.url)

    assert not answers(sandbox.url)
    sandbox.stop()  # once more does no harm


def test_a_port_that_is_taken_is_named(sandbox):
    port = int(sandbox.url.rpartition(":")[2])

    with pytest.raises(SandboxError, match=f"cannot listen on port {port}"):
        Sandbox.start(port)


def test_a_connected_handle_knows_the_accounts_and_leaves_the_sandbox_running(sandbox):
    with Sandbox.connect(sandbox.url) as connected:
        assert connected.accounts == sandbox.accounts

    assert answers(sandbox.url)


def test_accounts_are_made_up_anew_each_time():
    one, other = (asdict(Accounts.generate("http://127.0.0.1:1")) for _ in range(2))

    for name, account in one.items():
        assert account != other[name]


def test_what_is_printed_of_the_accounts_holds_no_secret(sandbox):
    accounts = sandbox.accounts

    printed = repr(accounts) + repr(sandbox)

    assert accounts.oauth.client_secret not in printed
    assert accounts.aws.secret_access_key not in printed
    assert "PRIVATE KEY" not in printed
    assert accounts.custom_headers["X-Api-Key"] not in printed


def test_nobody_there_is_a_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(SandboxError, match=f"no sandbox answers at http://127.0.0.1:{port}"):
        Sandbox.connect(f"http://127.0.0.1:{port}")


def test_importing_it_loads_neither_server_nor_verifiers():
    program = "import sys, prefect_atomic.sandbox; print(' '.join(sys.modules))"
    before = "import sys, prefect_atomic; print(' '.join(sys.modules))"

    def loaded(program):
        return set(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.split())

    heavy = {b"uvicorn", b"fastapi", b"starlette", b"botocore", b"jwt", b"cryptography", b"httpx"}
    assert not heavy & (loaded(program) - loaded(before))


def test_by_hand_it_prints_its_url_and_serves_until_it_is_told_to_stop():
    with subprocess.Popen(
        [sys.executable, "-m", "prefect_atomic.sandbox", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = json.loads(process.stdout.readline())["url"]
        sandbox = Sandbox.connect(url)
        sandbox.misbehave("/echo", body="{secret}")
        process.terminate()
        out, err = process.communicate(timeout=10)

    assert (out, err) == ("", "")
    assert not answers(url)

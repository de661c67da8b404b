"""Requests as task runs and flow runs of a real Prefect server, some of them started by a real worker."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import flow, unmapped
from prefect.blocks.system import Secret
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.filesystems import LocalFileSystem
from prefect.schedules import Interval
from prefect.serializers import JSONSerializer, PickleSerializer
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from prefect_atomic import (
    BasicAuth,
    Credential,
    CredentialError,
    CustomHeaders,
    Response,
    ResponseError,
    asend_request,
    is_transient,
    send_request,
)
from tests.e2e.flows_for_tests import call_with_credential
from tests.e2e.one_of_each import EACH_KIND, Provider, one_of_each
from tests.e2e.prefect_server import PROJECT, PrefectServer, Program, wait_until
from tests.e2e.servers.faulty import Answer, FaultServer

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(600),  # seconds each; more where the machine has other work
    # Prefect leaves the sockets of its own clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

BASIC = "Basic dXNlcjp0aGUtcGFzc3dvcmQ="


@pytest.fixture
def basic(prefect_api: PrefectServer) -> BasicAuth:
    credential = BasicAuth(username="user", password="the-password")
    credential.save("runs", overwrite=True)
    return credential


@pytest.fixture
def api() -> Iterator[FaultServer]:
    """An API that answers with who asked."""
    with FaultServer() as server:
        server.handler = lambda request: Answer(200, body=(request.header("X-Api-Key") or "").encode()[:4] + b"!")
        yield server


def authorizations(server: FaultServer) -> list[str | None]:
    return [request.header("Authorization") for request in server.requests]


def task_runs(server: PrefectServer, name: str) -> list[Any]:
    return server.all_of("task_runs/filter", {"task_runs": {"name": {"like_": name}}})


# -- as a task ----------------------------------------------------------------------------------------------------


def test_a_task_in_every_way_to_run_one(basic: BasicAuth, api: FaultServer) -> None:
    """Called, submitted, mapped; in threads and in other processes; with a block and with a slug."""

    url = api.url  # a process pool pickles the flow with what it holds, and a server cannot be pickled

    def runs(credential: Credential | str) -> list[int]:
        called = send_request("GET", f"{url}/called", credential=credential)
        submitted = send_request.submit("GET", f"{url}/submitted", credential=credential)
        urls = [f"{url}/mapped/{number}" for number in range(3)]
        mapped = send_request.map("GET", urls, credential=unmapped(credential))
        return [called.status_code, submitted.result().status_code, *(each.status_code for each in mapped.result())]

    threads = flow(task_runner=ThreadPoolTaskRunner(max_workers=4))(runs)
    processes = flow(task_runner=ProcessPoolTaskRunner(max_workers=2))(runs)  # type: ignore[arg-type]
    assert threads(basic) == [200] * 5
    assert threads("atomic-basic-auth/runs") == [200] * 5
    assert processes(basic) == [200] * 5
    assert authorizations(api) == [BASIC] * 15


async def _both(url: str, credential: Credential) -> list[int]:
    @flow
    async def both() -> list[int]:
        first = await asend_request("GET", url, credential=credential)
        second = await asend_request("GET", url, credential="atomic-basic-auth/runs")
        third = asend_request.submit("GET", url, credential=credential)
        return [first.status_code, second.status_code, third.result().status_code]

    return await both()


def test_an_asynchronous_flow(basic: BasicAuth, api: FaultServer) -> None:
    import asyncio

    assert asyncio.run(_both(api.url, basic)) == [200] * 3
    assert authorizations(api) == [BASIC] * 3


def test_a_run_is_named_after_method_and_host(basic: BasicAuth, api: FaultServer) -> None:
    """Never after the path or the query: names are shown to everybody."""

    @flow
    def named() -> list[str]:
        states = [
            send_request("get", f"{api.url}/secret-path?key=secret", credential=basic, return_state=True),
            send_request("POST", "not a url", return_state=True),
        ]
        return [str(state.state_details.task_run_id) for state in states]

    for identifier, name in zip(named(), ["GET 127.0.0.1", "POST nowhere"], strict=True):
        # A run is recorded first and named then.
        wait_until(
            lambda identifier=identifier, name=name: _name_or_none(identifier) == name,  # type: ignore[misc]
            f"the run is named {name}",
            timeout=60,
        )


def _name_or_none(identifier: str) -> str | None:
    with get_client(sync_client=True) as client:
        try:
            return client.read_task_run(identifier).name  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - runs are recorded a moment later
            return None


def test_a_failure_that_passes_is_retried_by_prefect(basic: BasicAuth, api: FaultServer) -> None:
    """`retry_condition_fn=is_transient` runs a task again after 503, and not after 400."""
    retrying = send_request.with_options(retries=2, retry_delay_seconds=0, retry_condition_fn=is_transient)

    @flow
    def patient() -> int:
        return retrying("GET", api.url, credential=basic, retry=None).status_code

    api.handler = None
    api.script([Answer(503), Answer(503), Answer(200)])
    assert patient() == 200
    assert len(api.requests) == 3
    api.reset()
    api.script([Answer(400), Answer(200)])
    with pytest.raises(ResponseError, match="400"):
        patient()
    assert len(api.requests) == 1


@pytest.mark.parametrize("name", one_of_each("http://127.0.0.1:1"))
def test_every_credential_can_be_pickled(name: str) -> None:
    """Process pools, Dask and Ray pickle what a task is given; also after it was used."""
    with FaultServer() as provider:
        provider.handler = Provider(provider)
        credential = one_of_each(provider.url)[name]
        credential.check()
        for copy in (cloudpickle.loads(cloudpickle.dumps(credential)), pickle.loads(pickle.dumps(credential))):  # noqa: S301
            assert type(copy) is type(credential)
            assert copy == credential
            assert copy.known_secrets() == credential.known_secrets()


@pytest.mark.parametrize("serializer", [JSONSerializer(), PickleSerializer()], ids=["json", "pickle"])
def test_a_kept_answer_is_the_answer(
    prefect_api: PrefectServer, api: FaultServer, tmp_path: Path, serializer: Any
) -> None:
    storage = LocalFileSystem(basepath=str(tmp_path / "kept"))
    storage.save(f"kept-{serializer.type}", overwrite=True)
    api.handler = lambda request: Answer(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"\x00\xff\xe9")

    @flow(persist_result=True, result_serializer=serializer, result_storage=storage)
    def keep() -> Response:
        return send_request("GET", f"{api.url}/?a=b")

    response = keep()
    (path,) = (path for path in (tmp_path / "kept").iterdir() if not path.name.endswith(".metadata"))
    stored = serializer.loads(path.read_bytes())
    assert stored == response
    assert stored.content == b"\x00\xff\xe9"
    assert stored.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_two_tenants_never_share_an_answer(prefect_api: PrefectServer, api: FaultServer) -> None:
    """Prefect's cache keys leave secrets out, so answers are not cached, whatever is persisted around them."""

    @flow(persist_result=True)
    def ask(key: str) -> str:
        keeping = send_request.with_options(persist_result=True)
        return keeping("GET", f"{api.url}/same", credential=CustomHeaders(headers={"X-Api-Key": key})).text

    assert [ask("aaaa-tenant"), ask("bbbb-tenant"), ask("aaaa-tenant")] == ["aaaa!", "bbbb!", "aaaa!"]
    assert len(api.requests) == 3


def test_a_cached_subflow_is_its_users_choice(prefect_api: PrefectServer) -> None:
    """The trap this is about: with Prefect's own policy the two tenants have one key."""
    one, two = (CustomHeaders(headers={"X-Api-Key": key}) for key in ("aaaa-tenant", "bbbb-tenant"))
    keys = {INPUTS.compute_key(None, {"credential": each}, {}) for each in (one, two)}  # type: ignore[arg-type]
    assert len(keys) == 1
    assert send_request.cache_policy is not None
    assert send_request.cache_policy.compute_key(None, {"credential": one}, {}) is None  # type: ignore[arg-type]
    assert asend_request.cache_policy == send_request.cache_policy


# -- what cannot be resolved ---------------------------------------------------------------------------------------


def test_a_slug_that_is_not_there(basic: BasicAuth, api: FaultServer) -> None:
    for call in (send_request.fn, _run(asend_request.fn)):
        with pytest.raises(CredentialError, match=r"no saved block 'atomic-basic-auth/no-such'.*prefect block ls"):
            call("GET", api.url, credential="atomic-basic-auth/no-such")
        with pytest.raises(CredentialError, match="no saved block 'no-such-type/crm'"):
            call("GET", api.url, credential="no-such-type/crm")
        with pytest.raises(CredentialError, match="not the slug of a saved block, which looks like"):
            call("GET", api.url, credential="crm")
    assert api.requests == []


def test_a_block_that_is_no_credential(prefect_api: PrefectServer, api: FaultServer) -> None:
    Secret(value="the-secret-value").save("runs-secret", overwrite=True)
    LocalFileSystem(basepath="/tmp").save("runs-files", overwrite=True)
    for call in (send_request.fn, _run(asend_request.fn)):
        for slug, name in (("secret/runs-secret", "Secret"), ("local-file-system/runs-files", "LocalFileSystem")):
            with pytest.raises(CredentialError, match=f"is a {name}, which is no credential") as refused:
                call("GET", api.url, credential=slug)
            assert "the-secret-value" not in str(refused.value)
    assert api.requests == []


def test_an_api_that_does_not_answer(api: FaultServer) -> None:
    """That may pass, so a task may be run again for it."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        for call in (send_request.fn, _run(asend_request.fn)):
            with pytest.raises(CredentialError, match="the Prefect API does not answer") as failed:
                call("GET", api.url, credential="atomic-basic-auth/runs")
            assert failed.value.transient


def _run(function: Any) -> Any:
    import asyncio

    return lambda *args, **kwargs: asyncio.run(function(*args, **kwargs))


# -- started by a worker -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker(prefect_server: PrefectServer) -> Iterator[Program]:
    pool = "runs-pool"
    made = prefect_server.run(sys.executable, "-m", "prefect", "work-pool", "create", pool, "--type", "process")
    assert made.returncode == 0, made.stdout
    with prefect_server.worker(pool) as worker:
        yield worker


def deployment(flow_: Any, name: str, parameters: dict[str, Any], file: str = "tests/e2e/flows_for_tests.py") -> Any:
    source = flow_.from_source(source=str(PROJECT), entrypoint=f"{file}:{flow_.fn.__name__}")
    return source.to_deployment(name, work_pool_name="runs-pool", parameters=parameters).apply()


def test_a_worker_runs_flows_with_a_credential_in_each_form(
    prefect_api: PrefectServer, worker: Program, basic: BasicAuth, api: FaultServer
) -> None:
    """A slug, a reference, and a saved block as a deployment's default; the API never holds the secret."""
    from flows.send_request import send_request_flow

    reference = {"$ref": {"block_document_slug": "atomic-basic-auth/runs"}}
    request = {"method": "POST", "url": f"{api.url}/slug", "body": {"a": 1}, "params": {"q": "1"}}
    deployments = {
        "slug": deployment(
            send_request_flow, "slug", {**request, "credential": "atomic-basic-auth/runs"}, "flows/send_request.py"
        ),
        "reference": deployment(call_with_credential, "reference", {"cred": reference, "url": f"{api.url}/reference"}),
        "default": deployment(call_with_credential, "default", {"cred": basic, "url": f"{api.url}/default"}),
        "override": deployment(call_with_credential, "override", {"url": f"{api.url}/override"}),
    }
    given = {"override": {"parameters": {"cred": reference}}}
    runs = [
        prefect_api.post(f"deployments/{identifier}/create_flow_run", given.get(name))
        for name, identifier in deployments.items()
    ]
    for run in runs:
        ended = prefect_api.wait_for_run(run["id"], explain=worker.said)
        assert ended["state_type"] == "COMPLETED", (ended["state"], worker.said())
        assert "the-password" not in json.dumps(ended)
    default = prefect_api.get(f"deployments/{deployments['default']}")
    assert list(default["parameters"]["cred"]) == ["$ref"]
    by_path = {request.path: request for request in api.requests}
    assert sorted(by_path) == ["/default", "/override", "/reference", "/slug"]
    assert authorizations(api) == [BASIC] * 4
    assert by_path["/slug"].body == b'{"a":1}'
    assert by_path["/slug"].query == "q=1"


def test_a_schedule_starts_the_flow(
    prefect_api: PrefectServer, worker: Program, basic: BasicAuth, api: FaultServer
) -> None:
    from flows.send_request import send_request_flow

    parameters = {"method": "GET", "url": f"{api.url}/scheduled", "credential": "atomic-basic-auth/runs"}
    source: Any = send_request_flow.from_source(str(PROJECT), "flows/send_request.py:send_request_flow")
    # Due once, in a moment: a schedule of every few seconds would keep the server busy for the tests after this one.
    soon = Interval(timedelta(hours=12), anchor_date=datetime.now(UTC) + timedelta(seconds=10))
    identifier = source.to_deployment(
        "scheduled", work_pool_name="runs-pool", parameters=parameters, schedule=soon
    ).apply()
    try:
        wait_until(lambda: api.requests, "the schedule starts the flow", timeout=240, explain=worker.said, every=0.5)
    finally:
        wait_until(
            lambda: prefect_api.client.delete(f"deployments/{identifier}").status_code in (204, 404),
            "the deployment is deleted",
            every=1,
        )
    request = api.requests[0]
    assert (request.path, request.header("Authorization")) == ("/scheduled", BASIC)


def test_prefect_yaml_deploys(prefect_api: PrefectServer, basic: BasicAuth) -> None:
    """`prefect deploy --all`, as the README says, with the schedule it declares and no secret."""
    made = prefect_api.run(sys.executable, "-m", "prefect", "work-pool", "create", "atomic", "--type", "process")
    assert made.returncode == 0, made.stdout
    ran = prefect_api.run(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all")
    assert ran.returncode == 0, ran.stdout
    found = prefect_api.get("deployments/name/send-request/send-request")
    assert found["parameters"]["credential"] == "atomic-basic-auth/crm"
    assert [schedule["active"] for schedule in found["schedules"]] == [False]
    assert {"method", "url"} <= set(found["parameter_openapi_schema"]["required"])


@pytest.mark.parametrize("name", EACH_KIND)
def test_a_masked_block_is_refused_in_words(prefect_api: PrefectServer, name: str) -> None:
    """`run_deployment(parameters={"cred": block})` stores asterisks; the flow says so instead of sending them."""
    credential = one_of_each("http://127.0.0.1:1")[name]
    credential.save("inline", overwrite=True)
    if not _exists(prefect_api, "deployments/name/call-with-credential/inline"):
        call_with_credential.to_deployment("inline").apply()
    if name in ("oauth", "headers"):  # a mask is no object: the API itself refuses the run
        with pytest.raises(PrefectHTTPStatusError, match="Validation failed for field 'cred'"):
            _run_later(credential)
        stored = {"cred": json.loads(credential.model_dump_json()), "url": "http://127.0.0.1:9"}
    else:
        stored = prefect_api.get(f"flow_runs/{_run_later(credential)}")["parameters"]
    assert "**********" in json.dumps(stored)
    with pytest.raises(ParameterTypeError) as refused:
        call_with_credential.validate_parameters(stored)
    assert "a secret consists of asterisks: Prefect masked it on the way here" in str(refused.value)
    assert str(refused.value).count("$ref") == 1, "said once, by the class it is about"


def _exists(server: PrefectServer, path: str) -> bool:
    return server.client.get(path).is_success


def _run_later(credential: Credential) -> Any:
    run: Any = run_deployment(
        "call-with-credential/inline", parameters={"cred": credential, "url": "http://127.0.0.1:9"}, timeout=0
    )
    return run.id


def test_every_saved_credential_is_a_parameter_by_reference(prefect_api: PrefectServer) -> None:
    """The flow gets exactly the class that was saved, with its secret."""
    for name, credential in one_of_each("http://127.0.0.1:1").items():
        credential.save(f"by-reference-{name}", overwrite=True)
        slug = f"{credential.get_block_type_slug()}/by-reference-{name}"
        parameters = {"cred": {"$ref": {"block_document_slug": slug}}, "url": "http://127.0.0.1:9"}
        given = call_with_credential.validate_parameters(parameters)["cred"]
        assert type(given) is type(credential)
        assert given.known_secrets() == credential.known_secrets()


# -- delayed -------------------------------------------------------------------------------------------------------


def test_a_delayed_task_is_run_by_a_task_worker(prefect_api: PrefectServer, basic: BasicAuth, api: FaultServer) -> None:
    """`.delay` writes the arguments to result storage: with a slug there is no secret among them."""
    with prefect_api.as_client():
        before = set(prefect_api.results.rglob("*"))
        program = "from prefect_atomic import send_request; send_request.serve()"
        log = prefect_api.folder / "task-worker.log"
        with Program([sys.executable, "-c", program], prefect_api.client_environment(), log) as task_worker:
            future = send_request.delay("GET", f"{api.url}/delayed", credential="atomic-basic-auth/runs")
            wait_until(lambda: api.requests, "the task worker sends it", timeout=180, explain=task_worker.said)
            wait_until(
                lambda: future.state.is_completed() or _refreshed(future), "the run ends", explain=task_worker.said
            )
    assert authorizations(api) == [BASIC]
    written = b"".join(path.read_bytes() for path in set(prefect_api.results.rglob("*")) - before if path.is_file())
    assert written
    assert b"the-password" not in written


def _refreshed(future: Any) -> bool:
    with get_client(sync_client=True) as client:
        return client.read_task_run(future.task_run_id).state.is_completed()  # type: ignore[union-attr]

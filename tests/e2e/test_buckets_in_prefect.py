"""A saved bucket within Prefect: as result storage, as outbox, in tasks; and no secret of it is anywhere."""

from __future__ import annotations

import json
import secrets
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pytest
from prefect import flow, task
from prefect.serializers import JSONSerializer

from prefect_atomic import (
    AtomicError,
    S3Bucket,
    S3Object,
    WebhookSubscription,
    redeliver,
    s3_copy,
    s3_delete,
    s3_download,
    s3_list,
    s3_move,
    s3_upload,
    webhook,
)
from prefect_atomic.cli import main
from prefect_atomic.integrations.s3 import access
from prefect_atomic.integrations.s3 import tasks as s3_tasks
from prefect_atomic.settings import settings
from tests.e2e.hunting import Hunter
from tests.e2e.left_behind import behind, everything_logged, flush, told_by_the_api
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.servers.faulty import Answer, FaultServer
from tests.e2e.servers.moto import MotoServer, allow

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLUG = "atomic-s3-bucket/work"


@pytest.fixture
def bucket(moto_server: MotoServer, prefect_api: PrefectServer) -> S3Bucket:
    """A saved bucket, with a folder of its own for each test."""
    client = moto_server.client("s3", moto_server.user)
    client.create_bucket(Bucket="prefect-work")
    client.close()
    bucket = S3Bucket(
        bucket="prefect-work",
        folder=secrets.token_hex(4),
        region=moto_server.region,
        endpoint_url=moto_server.url,
        access_key_id=moto_server.user.access_key_id,
        secret_access_key=moto_server.user.secret_access_key,
    )
    bucket.save("work", overwrite=True)
    return bucket


def test_a_bucket_is_the_result_storage_of_a_flow(bucket: S3Bucket, prefect_api: PrefectServer) -> None:
    """A result is stored in the bucket, found there by a later run, and read by another process."""
    made: list[int] = []

    @task(persist_result=True, cache_key_fn=lambda *_: "the-answer", log_prints=False)
    def answer() -> dict[str, int]:
        made.append(1)
        return {"answer": 42}

    @flow(result_storage=S3Bucket.load("work"), persist_result=True)
    def asks() -> dict[str, int]:
        return answer()

    state = asks(return_state=True)
    assert asks() == state.result() == {"answer": 42}
    assert len(made) == 1
    assert len(list(bucket.list_objects())) >= 2

    read = (
        "import sys; from prefect.client.orchestration import get_client\n"
        "import prefect_atomic\n"
        "with get_client(sync_client=True) as client:\n"
        "    print(client.read_flow_run(sys.argv[1]).state.result(_sync=True))\n"
    )
    said = prefect_api.run(sys.executable, "-c", read, str(state.state_details.flow_run_id))
    assert "{'answer': 42}" in said.stdout, said.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_ATOMIC_OUTBOX_PATH", str(tmp_path / "outbox"))
    settings.cache_clear()
    return tmp_path


def test_a_bucket_is_the_outbox_of_a_subscription(
    bucket: S3Bucket, home: Path, fault_server: FaultServer, prefect_api: PrefectServer
) -> None:
    """What the receiver did not take waits in the bucket, and is delivered later, by whatever process."""
    subscription = WebhookSubscription(url=f"{fault_server.url}/events", outbox=SLUG, retry_delays=[60.0] * 3)
    subscription.save("into-a-bucket", overwrite=True)
    fault_server.script([Answer(status=503)] * 2)
    events = [{"type": "card-completed", "data": {"card": number}} for number in (1, 2)]
    sent = [webhook(event, subscription, max_wait=0.0) for event in events]
    assert [each.state for each in sent] == ["waiting", "waiting"]
    waiting = [each for each in bucket.list_objects("atomic-outbox/") if each.size]
    assert len(waiting) == 2

    fault_server.script([Answer(status=204)] * 2)
    done = redeliver("atomic-webhook-subscription/into-a-bucket", retry_all=True)
    assert (done.found, done.delivered) == (2, 2)
    assert not [each for each in bucket.list_objects("atomic-outbox/") if each.size]
    assert redeliver("atomic-webhook-subscription/into-a-bucket").found == 0


def test_tasks_take_a_slug_and_show_their_progress(
    bucket: S3Bucket, tmp_path: Path, prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_tasks, "_LONG", 1000)
    (tmp_path / "tree").mkdir()
    for name in "ab":
        (tmp_path / "tree" / name).write_bytes(name.encode() * 2000)

    @flow
    def moves() -> tuple[list[S3Object], Path]:
        s3_upload(SLUG, tmp_path / "tree" / "a", "one")
        s3_upload.submit(SLUG, tmp_path / "tree", "many").result()
        s3_copy(SLUG, "one", "two")
        s3_move(SLUG, "two", "three")
        s3_delete(SLUG, "one")
        s3_download(SLUG, "three", tmp_path / "back")
        return s3_list(SLUG), s3_download(SLUG, "many/", tmp_path / "folder")

    found, folder = moves()
    assert [each.key for each in found] == ["many/a", "many/b", "three"]
    assert (tmp_path / "back").read_bytes() == b"a" * 2000
    assert sorted(file.name for file in folder.iterdir()) == ["a", "b"]

    runs = prefect_api.post("task_runs/filter", {"limit": 20, "sort": "EXPECTED_START_TIME_DESC"})
    assert f"s3_upload {SLUG}" in {run["name"] for run in runs}
    artifacts = prefect_api.post("artifacts/filter", {"limit": 200})
    shown = {(each["key"], each["data"]) for each in artifacts if each["type"] == "progress"}
    assert ("s3-upload", 100.0) in shown
    assert ("s3-download", 100.0) in shown


def test_the_command_line_checks_a_bucket(bucket: S3Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SLUG, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "s3-bucket"

    bucket.model_copy(update={"bucket": "no-such-bucket"}).save("gone", overwrite=True)
    assert main(["check", "atomic-s3-bucket/gone"]) == 1
    assert "bucket: there is none of this name" in capsys.readouterr().err


PLACES = ("log lines", "outcome", "traceback", "result storage", "bucket keys")


@pytest.fixture
def tenants(
    moto_server: MotoServer, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[str, S3Bucket], dict[str, str]]]:
    """A bucket for each way of access and of being refused, and all their secrets."""
    role = moto_server.assume_role("hunted", allow("s3:*"))
    reader = moto_server.create_user("reads-only", allow("s3:GetObject", "s3:ListBucket"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.user.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_server.user.secret_access_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.url)
    access.forget_clients()
    wrong = f"wrongSECRETofTHEbucket{secrets.token_hex(8)}"

    def with_(**fields: Any) -> S3Bucket:
        return S3Bucket(bucket="prefect-work", region=moto_server.region, **{"endpoint_url": moto_server.url, **fields})

    keys = {"access_key_id": reader.access_key_id}
    tenants = {
        "keys": bucket,
        "session": with_(
            access_key_id=role.access_key_id,
            secret_access_key=role.secret_access_key,
            session_token=role.session_token,
        ),
        "role": with_(role_arn=f"arn:aws:iam::{moto_server.account_id}:role/hunted", external_id="hunted"),
        "reader": with_(**keys, secret_access_key=reader.secret_access_key),
        "wrong": with_(**keys, secret_access_key=wrong),
        "nowhere": with_(**keys, secret_access_key=wrong, endpoint_url="http://127.0.0.1:1"),
    }
    for name, tenant in tenants.items():
        tenant.save(f"hunted-{name}", overwrite=True)
    assumed = access.credentials_of(tenants["role"].get_client())
    yield (
        tenants,
        {
            "secret of the user": moto_server.user.secret_access_key,
            "secret of the session": role.secret_access_key,
            "token of the session": str(role.session_token),
            "secret of the reader": reader.secret_access_key,
            "wrong secret": wrong,
            "secret of the role": assumed.secret_key,
            "token of the role": assumed.token,
        },
    )
    access.forget_clients()


def test_no_secret_of_a_bucket_is_anywhere(
    tenants: tuple[dict[str, S3Bucket], dict[str, str]],
    bucket: S3Bucket,
    prefect_api: PrefectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything is done with every tenant, at DEBUG, presigned URLs and forms included, and then searched."""
    blocks, known = tenants
    texts: dict[str, list[str | bytes]] = {place: [] for place in PLACES}
    (tmp_path / "file").write_bytes(b"x" * 9_000_000)
    signed: list[str] = []

    @task(persist_result=True)
    def uses(slug: str) -> list[S3Object]:
        held = S3Bucket.load(slug.partition("/")[2])
        held.upload_from_path(tmp_path / "file", "hunt/file")
        held.write_path("hunt/small", b"small")
        held.read_path("hunt/small")
        held.download_object_to_path("hunt/file", tmp_path / f"back-{secrets.token_hex(4)}")
        held.copy_object("hunt/small", "hunt/copy")
        held.new_objects(prefix="hunt/")
        url, form = held.presigned_url("hunt/small"), held.presigned_post("hunt/in/")
        signed.extend([url.partition("X-Amz-Signature=")[2].partition("&")[0], form.fields["x-amz-signature"]])
        texts["outcome"].append(repr(form))
        httpx.get(url)  # moto refuses it while it checks policies; what is logged of it counts
        return list(held.list_objects("hunt/"))

    @flow(result_storage=bucket, persist_result=True)
    def each() -> None:
        for name in blocks:
            slug = f"atomic-s3-bucket/hunted-{name}"
            block = S3Bucket.load(slug.partition("/")[2])
            for act in (partial(uses, slug), partial(s3_upload, slug, tmp_path / "file", "hunt/task"), block.check):
                try:
                    texts["outcome"].append(repr(outcome := act()))
                    texts["outcome"] += [cloudpickle.dumps(outcome), JSONSerializer().dumps(outcome)]
                except AtomicError as error:
                    texts["traceback"].append("".join(traceback.format_exception(error)))
                    texts["traceback"] += behind(error)
                    texts["outcome"] += [repr(error), cloudpickle.dumps(error)]

    with everything_logged() as log:
        each()
        flush(prefect_api)
    texts["log lines"] += list(log.seen)
    for stored in bucket.list_objects():
        texts["bucket keys"].append(stored.key)
        if stored.size < 100_000:
            texts["result storage"].append(bucket.read_path(stored))
    assert any("secret_access_key: is not the one" in str(text) for text in texts["traceback"])
    assert len(signed) == 2 * 3

    canaries = {place: f"bucketCANARY{number:02d}in{number:02d}" for number, place in enumerate(PLACES)}
    for place, canary in canaries.items():
        texts[place].append(f"…{canary}…")
    hunter = Hunter({**known, **{f"signature {n}": text for n, text in enumerate(set(signed))}, **canaries})
    searched = [(place, text) for place, contents in texts.items() for text in contents]
    searched += told_by_the_api(prefect_api)
    found = [finding for place, text in searched for finding in hunter.search(place, text)]
    assert {finding.secret for finding in found if finding.secret in canaries} == set(canaries)
    assert [str(finding) for finding in found if finding.secret not in canaries] == []

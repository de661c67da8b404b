"""What the documentation says is so: snippets and examples run; tables, links and commands agree with the code.

Snippets stand as a reader would write them, with hosts such as https://crm.example.com and placeholders such as
CLIENT_ID. Before they run, `Stage.staged` puts the sandbox and its accounts in their place. Nothing of ours is
replaced.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prefect import Flow
from prefect.blocks.notifications import SlackWebhook
from prefect.settings import PREFECT_API_URL, Settings
from prefect.testing.utilities import prefect_test_harness
from pydantic import SecretStr

import prefect_atomic
from flows.export_analytics import export_analytics_flow
from flows.export_marketo_leads import export_marketo_leads_flow
from flows.import_csv import import_csv_flow
from flows.ingest_data_360 import ingest_data_360_flow
from flows.sync_marketing_cloud import sync_marketing_cloud_flow
from flows.sync_marketo_activities import sync_marketo_activities_flow
from prefect_atomic import (
    AtomicEnvironment,
    BasicAuth,
    Credential,
    Delivery,
    Marketo,
    Response,
    Retry,
    S3Bucket,
    Salesforce,
    SalesforceData360,
    SalesforceMarketingCloud,
    StorageError,
    WebhookSubscription,
    errors,
    send_request,
    webhook,
)
from prefect_atomic.cli import main
from prefect_atomic.demo.play import acts
from prefect_atomic.integrations.atomic.operations import OPERATIONS
from prefect_atomic.sandbox import Sandbox
from prefect_atomic.sandbox.accounts import Accounts
from prefect_atomic.settings import AtomicSettings
from tests.docs_reading import PAGES, PROJECT, Snippet, anchors, code, commands, links, prose, snippets, table
from tests.e2e.saving import schemas_made_once
from tests.e2e.servers import missing
from tests.e2e.servers.moto import allow

if TYPE_CHECKING:
    from tests.e2e.servers.moto import MotoServer

README = PROJECT / "README.md"
EXAMPLES = sorted((PROJECT / "examples").glob("*.py"))
CLASSES: list[type[Credential]] = [getattr(prefect_atomic, code(row[0])) for row in table(README, "class")]
CREDENTIAL_PAGES = {
    cls: PROJECT / re.findall(rf"^\| `{cls.__name__}` .*\]\((\S+)\) \|$", README.read_text("utf-8"), re.MULTILINE)[0]
    for cls in CLASSES
}
VERIFIED_AT = {
    "atomic-oauth-client-credentials": "oauth",
    "atomic-aws-signed-request": "aws",
    "atomic-basic-auth": "basic",
    "atomic-key-pair": "key-pair",
    "atomic-custom-headers": "custom-headers",
    "atomic-google-service-account": "google",
    "atomic-salesforce-data-360": "data-360",
    "atomic-environment": "atomic",
    "atomic-salesforce": "salesforce",
    "atomic-marketing-cloud": "marketing-cloud",
    "atomic-marketo": "marketo",
}
S3_PAGE = PROJECT / "docs" / "s3.md"
ATOMIC_PAGE = PROJECT / "docs" / "atomic.md"
SALESFORCE_PAGE = PROJECT / "docs" / "salesforce.md"
MARKETING_CLOUD_PAGE = PROJECT / "docs" / "marketing_cloud.md"
MARKETO_PAGE = PROJECT / "docs" / "marketo.md"
DATA_360_PAGE = PROJECT / "docs" / "data_360.md"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
ALL = [snippet for page in PAGES for snippet in snippets(page)]
PYTHON = [snippet for snippet in ALL if snippet.language == "python"]
CURL = [snippet for snippet in ALL if snippet.language == "sh" and "curl" in snippet.text]
DOCSTRINGS = [
    Snippet(cls.__name__, number, "python", example)
    for cls in (*CLASSES, WebhookSubscription, S3Bucket)
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", cls.get_code_example() or "", re.DOTALL))
]


class Stage:
    """What the snippets run against: the sandbox, a Prefect API with a credential `crm` of each type, and key files."""

    def __init__(self, sandbox: Sandbox, moto: MotoServer, folder: Path) -> None:
        self.sandbox = sandbox
        self.moto = moto
        self.accounts = sandbox.accounts
        self.folder = folder
        sandbox.set_marketo(import_polls=0, export_polls=0)  # nobody looks at a job for a second time
        for act in acts(sandbox):
            act.credential.save("crm", overwrite=True)
        WebhookSubscription(
            url=f"{sandbox.url}/verify/basic",
            credential=BasicAuth.load("crm"),
            signing_secret=WEBHOOK_SECRET,  # type: ignore[arg-type]
        ).save("crm")
        client = moto.client("s3", moto.user)
        client.create_bucket(Bucket="docs")
        client.close()
        for name in ("crm", "exports", "outbox", "results"):
            self.bucket().save(name)
        AtomicEnvironment.load("crm").save("production")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of what Prefect imports for it
            SlackWebhook(url="https://hooks.slack.example.com/services").save("on-call")
        google = self.accounts.google
        key_file = {name: getattr(google, name) for name in ("client_email", "private_key", "private_key_id")}
        (folder / "service-account.json").write_text(json.dumps({"type": "service_account", **key_file}))

    def bucket(self) -> S3Bucket:
        keys = self.moto.user
        return S3Bucket(
            bucket="docs",
            region=self.moto.region,
            endpoint_url=self.moto.url,
            access_key_id=keys.access_key_id,
            secret_access_key=keys.secret_access_key,  # type: ignore[arg-type]
        )

    def atomic(self) -> str:
        """Where Atomic is, as arguments of its block."""
        return f'base_url="{self.sandbox.url}/atomic", token_url="{self.sandbox.url}/atomic/oauth2/token"'

    def environment(self) -> dict[str, str]:
        """The variables that the snippets read their secrets from."""
        known = self.accounts
        return {
            "CRM_PASSWORD": known.basic.password,
            "CRM_API_KEY": known.custom_headers["X-Api-Key"],
            "CRM_CLIENT_SECRET": known.oauth.client_secret,
            "AWS_SECRET_ACCESS_KEY": known.aws.secret_access_key,
            "SALESFORCE_CLIENT_SECRET": known.data_360.client_secret,
            "SALESFORCE_CORE_SECRET": known.salesforce.client_secret,
            "MARKETING_CLOUD_CLIENT_SECRET": known.marketing_cloud.client_secret,
            "MARKETO_CLIENT_SECRET": known.marketo.client_secret,
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
            "ATOMIC_CLIENT_SECRET": known.atomic.client_secret,
            "S3_SECRET_ACCESS_KEY": self.moto.user.secret_access_key,
        }

    def staged(self, snippet: Snippet) -> str:
        """The snippet with the sandbox in place of the hosts, and its accounts in place of the placeholders."""
        slug, known = self.slug(snippet), self.accounts.marketo
        verify = f"{self.sandbox.url}/verify/{VERIFIED_AT.get(slug, 'basic')}"
        text = re.sub(r"https://\{(\w+)\.host\(\)\}/api/v2/query", r"http://{\1.host()}/verify/data-360", snippet.text)
        for old, new in (
            ("https://crm.example.com/gone", f"{self.sandbox.url}/status/410"),
            ("https://crm.example.com", verify),
            ("https://api.example.com", verify),
            ("https://sts.us-east-1.amazonaws.com/", verify),
            ("https://storage.googleapis.com/storage/v1/b", verify),
            ("https://TENANT_HOST/api/v2/query", verify),
            ("https://identity.example.com", self.sandbox.url),
            (
                'region="us-east-1",\n    access_key_id',
                f'region="us-east-1",\n    endpoint_url="{self.moto.url}",\n    access_key_id',
            ),
            ('environment_id="ENVIRONMENT",', f'environment_id="ENVIRONMENT", {self.atomic()},'),
            ("https://COMPANY.my.salesforce.com", self.sandbox.url),
            ('"COMPANY.my"', f'"{self.sandbox.url}"'),
            ('subdomain="SUBDOMAIN",', f'subdomain="sandbox", auth_url="{self.accounts.marketing_cloud.auth_url}",'),
            (
                'munchkin_id="123-ABC-456",',
                f'rest_endpoint="{known.rest_url}", identity_endpoint="{known.identity_url}",',
            ),
            ('"crm.example.com"', '"127.0.0.1"'),
            ('"api.example.com"', '"127.0.0.1"'),
            ('"*.googleapis.com"', '"127.0.0.1"'),
        ):
            text = text.replace(old, new)
        placeholders = self._placeholders(slug)
        self._lay_out_the_key(slug)
        return re.sub(r"\b(" + "|".join(placeholders) + r")\b", lambda found: placeholders[found[0]], text)

    def slug(self, snippet: Snippet) -> str:
        """The type that a snippet is about: that of its page, else the first that it names."""
        for cls, page in CREDENTIAL_PAGES.items():
            if snippet.page in (cls.__name__, str(page.relative_to(PROJECT))):
                return cls.get_block_type_slug()
        if snippet.page == "docs/s3.md":
            return S3Bucket.get_block_type_slug()
        named = [cls for cls in CLASSES if cls.__name__ in snippet.text or cls.get_block_type_slug() in snippet.text]
        return named[0].get_block_type_slug() if named else "atomic-basic-auth"

    def _placeholders(self, slug: str) -> dict[str, str]:
        known = self.accounts
        google = slug == "atomic-google-service-account"
        clients: dict[str, Any] = {
            "atomic-salesforce-data-360": known.data_360,
            "atomic-environment": known.atomic,
            "atomic-salesforce": known.salesforce,
            "atomic-marketing-cloud": known.marketing_cloud,
            "atomic-marketo": known.marketo,
        }
        client = clients.get(slug, known.oauth)
        return {
            "BLOCK_NAME": "crm",
            "USERNAME": known.basic.username,
            "PASSWORD": known.basic.password,
            "API_KEY": known.custom_headers["X-Api-Key"],
            "TENANT": known.custom_headers["X-Tenant"],
            "CLIENT_ID": client.client_id,
            "CLIENT_SECRET": client.client_secret,
            "SCOPE": known.google.scopes[0] if google else known.oauth.scope,
            "ACCESS_KEY_ID": self.moto.user.access_key_id if slug == "atomic-s3-bucket" else known.aws.access_key_id,
            "BUCKET": "docs",
            "ACTION_FLOW": "welcome",
            "FLOW_ID": "welcome",
            "ORGANIZATION": known.atomic.organization_id,
            "ENVIRONMENT": known.atomic.environment_id,
            "SECRET_ACCESS_KEY": known.aws.secret_access_key,
            "SESSION_KEY_ID": known.aws_session.access_key_id,
            "SESSION_KEY_SECRET": known.aws_session.secret_access_key,
            "SESSION_TOKEN": known.aws_session.session_token or "",
            "REGION": known.aws.region,
            "KEY_ID": known.google.private_key_id if google else known.key_pair.key_id,
            "ISSUER": known.key_pair.issuer,
            "SUBJECT": known.key_pair.subject,
            "AUDIENCE": known.key_pair.audience,
            "CLIENT_EMAIL": known.google.client_email,
            "TOKEN_URI": known.google.token_uri,
        }

    def _lay_out_the_key(self, slug: str) -> None:
        google = slug == "atomic-google-service-account"
        key = self.accounts.google.private_key if google else self.accounts.key_pair.private_key
        (self.folder / "key.pem").write_text(key)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    from tests.e2e.servers.moto import MotoServer

    with (
        Sandbox.start() as sandbox,
        MotoServer() as moto,
        prefect_test_harness(server_startup_timeout=120),
        schemas_made_once(),
    ):
        yield Stage(sandbox, moto, tmp_path_factory.mktemp("docs"))


@pytest.fixture
def in_folder(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs a test where the key files are, with the variables that snippets read."""
    monkeypatch.chdir(stage.folder)
    for name, value in stage.environment().items():
        monkeypatch.setenv(name, value)
    return stage.folder


# Prefect leaves a socket to its own API open where an asynchronous flow is run with asyncio.run, ours or not.
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("snippet", [*PYTHON, *DOCSTRINGS], ids=str)
def test_python_runs(snippet: Snippet, stage: Stage, in_folder: Path) -> None:
    """Every Python snippet runs, and the flows and tests that it defines do."""
    program = in_folder / "test_snippet.py"
    program.write_text(stage.staged(snippet))
    defined = runpy.run_path(str(program), run_name="snippet")
    for thing in defined.values():
        if isinstance(thing, Flow):
            _run(thing, stage.slug(snippet))
        elif getattr(thing, "__name__", "").startswith("test_"):
            thing(sandbox=stage.sandbox)


def _run(flow: Flow[Any, Any], slug: str) -> None:
    given: dict[str, Any] = {}
    if "credential" in flow.parameters.required:
        typed = flow.parameters.properties["credential"].get("type") != "string"
        given["credential"] = {"$ref": {"block_document_slug": f"{slug}/crm"}} if typed else f"{slug}/crm"
    answer = flow(**given)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_outcome(answer))
        gc.collect()  # what Prefect left open is told of here, not in another test
    if isinstance(answer, dict):
        assert answer["verified"] is True


async def _outcome(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.parametrize("snippet", CURL, ids=str)
def test_curl_is_accepted(snippet: Snippet, stage: Stage, in_folder: Path) -> None:
    """Every request that is shown as curl is one that the sandbox accepts."""
    for tool in ("curl", "openssl", "jq"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed, and the curl snippets need it")
    (in_folder / ".curlrc").write_text('fail-with-body\nsilent\nshow-error\nnoproxy = "*"\n')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", stage.staged(snippet)],
        env={**os.environ, "CURL_HOME": str(in_folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r'"verified": true|"access_token"', done.stdout)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_runs(example: Path, stage: Stage, tmp_path: Path) -> None:
    assert len(example.read_text("utf-8").splitlines()) <= 40
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or "", "PYTHONPATH": str(PROJECT)}
    environment |= {
        "S3_BUCKET": "docs",
        "S3_ENDPOINT": stage.moto.url,
        "AWS_ACCESS_KEY_ID": stage.moto.user.access_key_id,
        "AWS_SECRET_ACCESS_KEY": stage.moto.user.secret_access_key,
    }
    done = subprocess.run(
        [sys.executable, example],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert f"examples/{example.name}" in README.read_text("utf-8")


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists(command: str, stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the documentation is one that its program knows, with these arguments."""
    program, *arguments = command.split()
    match program:
        case "prefect":
            from prefect.cli._app import _app

            _app.parse_args(arguments, exit_on_error=False, print_error=False)
        case "prefect-atomic":
            if arguments[0] == "check":
                slug = "atomic-basic-auth/crm" if arguments[1:2] in ([], ["SLUG"]) else arguments[1]
                assert main(["check", slug]) == 0
            else:
                with pytest.raises(SystemExit, match="0"):
                    main([*arguments, "--help"])
                said = capsys.readouterr().out
                assert all(argument in said for argument in arguments if argument.startswith("--"))
        case "make":
            if shutil.which("make") is None:
                missing("make is not installed")
            subprocess.run([program, "-n", *arguments], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        case "python":
            assert (PROJECT / arguments[0]).is_file()
        case "pip":
            assert arguments[:2] == ["install", "."]
            assert all((PROJECT / file).is_file() for file in arguments[3::2])
        case "export":
            assert arguments[0].partition("=")[0] in _settings_of_prefect()
        case _:
            pytest.fail(f"what is {program}?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_are_settings(page: Path) -> None:
    """Every PREFECT_ variable that is named is a setting of Prefect or of ours."""
    ours = {f"PREFECT_ATOMIC_{name.upper()}" for name in AtomicSettings.model_fields}
    # Read by Prefect's server with os.getenv.
    others = {"PREFECT_SERVER_ENCRYPTION_KEY"}
    for name in re.findall(r"\bPREFECT_[A-Z_]*[A-Z]\b", page.read_text("utf-8")):
        assert name in ours | others | _settings_of_prefect() or name == "PREFECT_ATOMIC", name


@pytest.mark.parametrize(
    ("page", "about"), [("README.md", ""), ("docs/tokens.md", "token_"), ("docs/webhooks.md", "outbox_")]
)
def test_settings_table(page: str, about: str) -> None:
    shown = {code(name): code(default) for name, default, _ in table(PROJECT / page, "setting")}
    assert shown == {
        f"PREFECT_ATOMIC_{name.upper()}": _shown(field.default)
        for name, field in AtomicSettings.model_fields.items()
        if name.startswith(about)
    }


def test_credentials_table() -> None:
    rows = table(README, "class")
    assert [code(row[0]) for row in rows] == [cls.__name__ for cls in CLASSES]
    assert set(CLASSES) == set(_subclasses(Credential))
    for cls, (_, slug, _, cached, page) in zip(CLASSES, rows, strict=True):
        assert code(slug) == cls.get_block_type_slug()
        assert (README.parent / links_in(page)[0]) == CREDENTIAL_PAGES[cls]
        assert cached == _lifetime(cls)


def test_blocks_table() -> None:
    rows = table(README, "block")
    assert [code(name) for name, *_ in rows] == ["S3Bucket", "WebhookSubscription"]
    for name, slug, _, page in rows:
        assert code(slug) == getattr(prefect_atomic, code(name)).get_block_type_slug()
        assert code(slug) in (PROJECT / links_in(page)[0]).read_text("utf-8")


def test_lifetimes_table() -> None:
    for names, served in table(PROJECT / "docs" / "tokens.md", "credential"):
        for name in re.findall(r"`(\w+)`", names):
            seconds = re.search(r"(\d+) s", _lifetime(getattr(prefect_atomic, name)))
            assert (seconds[0] in served) if seconds else (served == "no token, no cache")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_fields_table(cls: type[Credential]) -> None:
    """A credential's page has its fields in their order, with their defaults and their bounds."""
    rows = table(CREDENTIAL_PAGES[cls], "field")
    assert [code(row[0]) for row in rows] == list(cls.model_fields)
    for name, default, what in rows:
        field = cls.model_fields[code(name)]
        assert code(default) == ("required" if field.is_required() else _shown(field.get_default())), name
        if described := re.search(r"in seconds, (\d+) to (\d+)", what):
            low, high = int(described[1]), int(described[2])
            bounds = {type(bound).__name__.lower(): bound for bound in field.metadata}
            assert bounds["ge"].ge == low
            assert bounds["le"].le == high or (cls.__name__, high) == ("GoogleServiceAccount", 3599)


def test_bucket_table() -> None:
    rows = table(S3_PAGE, "field")
    assert [code(row[0]) for row in rows] == list(S3Bucket.model_fields)
    for name, default, _ in rows:
        field = S3Bucket.model_fields[code(name)]
        assert code(default) == ("required" if field.is_required() else _shown(field.get_default())), name


def test_bucket_methods_table() -> None:
    named = re.findall(r"`(\w+)`", " ".join(row[0] for row in table(S3_PAGE, "method")))
    assert set(named) == _methods(S3Bucket) - {"check"}
    assert {f"a{name}" for name in named} - {"aget_client"} <= set(vars(S3Bucket))


def test_bucket_tasks_table() -> None:
    for call, *_ in table(S3_PAGE, "task"):
        name, _, arguments = code(call).rstrip(")").partition("(")
        shown = arguments.split(", ")
        assert list(inspect.signature(getattr(prefect_atomic, name).fn).parameters)[: len(shown)] == shown


def _methods(cls: type[Any]) -> set[str]:
    """Its own, without their asynchronous twins."""
    own = {name for name, each in vars(cls).items() if inspect.isfunction(each) and not name.startswith("_")}
    return own - {f"a{name}" for name in own} - {"model_post_init", "known_secrets"}


def test_policies_are_json_with_actions_that_there_are() -> None:
    """Each is JSON, and each action of S3 is that of an operation that boto3 knows, or one of the few others."""
    import boto3

    page = S3_PAGE.read_text("utf-8")
    for snippet in snippets(S3_PAGE):
        if snippet.language == "json":
            json.loads(snippet.text)
    operations = set(boto3.session.Session().client("s3", region_name="us-east-1").meta.service_model.operation_names)
    others = {"ListBucket", "ListBucketMultipartUploads"}
    for action in re.findall(r"s3:([A-Z]\w+)", page):
        assert action in operations | others, action


def _everything(bucket: S3Bucket, folder: Path) -> dict[str, Callable[[], object]]:
    """What the policies are for, by the first words of their rows."""

    def writes() -> None:
        bucket.write_path("small", b"1")
        bucket.upload_from_path(folder / "large", "large")
        bucket.write_stream("stream", [b"1" * (9 << 20)])

    return {
        "`read_path`": lambda: (bucket.read_path("there"), bucket.head("there"), list(bucket.read_stream("there"))),
        "`list_objects`": lambda: (list(bucket.list_objects()), bucket.exists("there"), bucket.check()),
        "`new_objects`": bucket.new_objects,
        "`write_path`": writes,
        "`upload_from_folder`": lambda: bucket.upload_from_folder(folder, "sent"),
        "`download_folder_to_path`": lambda: bucket.download_folder_to_path("there-too", folder / "got"),
        "`copy_object`": lambda: bucket.copy_object("there", "copied"),
        "`move_object`": lambda: bucket.move_object("there", "moved"),
        "`delete_object`": lambda: bucket.delete_object("there"),
    }


def _as_user(stage: Stage, name: str, policy: Mapping[str, Any]) -> S3Bucket:
    keys = stage.moto.create_user(name, policy)
    given = {"access_key_id": keys.access_key_id, "secret_access_key": SecretStr(keys.secret_access_key)}
    return stage.bucket().model_copy(update={"folder": "policies", **given})


@pytest.fixture
def laid_out(stage: Stage, tmp_path: Path) -> Path:
    """A folder to upload; and objects, by somebody who may do everything."""
    (tmp_path / "large").write_bytes(b"1" * (9 << 20))
    (tmp_path / "small").write_bytes(b"1")
    everybody = stage.bucket().model_copy(update={"folder": "policies"})
    everybody.write_path("there", b"1")
    everybody.write_path("there-too/file", b"1")
    return tmp_path


NOT_REFUSED = {"s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"}
"""Without them, parts stay behind, and there is a warning."""
POLICIES = {use: re.findall(r"s3:\w+", " ".join(actions)) for use, *actions in table(S3_PAGE, "use")}
WRITES, READS, LISTS, LOOKS = (
    set(actions)
    for start in ("`write_path`", "`read_path`", "`list_objects`", "`new_objects`")
    for use, actions in POLICIES.items()
    if use.startswith(start)
)


@pytest.mark.parametrize("use", POLICIES)
def test_least_policies_are_enough_and_the_least(use: str, stage: Stage, laid_out: Path) -> None:
    """What each use is said to need lets it through; without one of the actions it is refused."""
    start, actions = use.partition(",")[0], POLICIES[use]
    others = {
        "presigned PUT and form": WRITES - NOT_REFUSED,
        "result storage": READS | WRITES | LISTS,
        "`flows/export_analytics.py`": WRITES,
        "`flows/import_csv.py`": READS | WRITES | LOOKS,
    }
    if start in others:  # signed and not sent; or made of the others
        assert set(actions) == others[start]
        return
    who = re.sub(r"\W", "", start)
    _everything(_as_user(stage, who, allow(*actions)), laid_out)[start]()
    for number, left_out in enumerate(actions):
        if left_out in NOT_REFUSED or (start, left_out) == ("`upload_from_folder`", "s3:ListBucket"):
            continue  # moto says that an object is not there to whoever asks
        stage.bucket().model_copy(update={"folder": "policies"}).write_path("there", b"1")
        rest = [each for each in actions if each != left_out] or ["s3:ListAllMyBuckets"]
        poor = _as_user(stage, f"{who}-{number}", allow(*rest))
        with pytest.raises(StorageError, match="not allowed"):
            _everything(poor, laid_out)[start]()


def test_whole_policies_allow_what_they_say(stage: Stage, laid_out: Path) -> None:
    """The two policies that are written out, for this bucket and folder; outside of it they allow nothing."""
    texts = [each.text for each in snippets(S3_PAGE) if each.language == "json" and "BUCKET/FOLDER" in each.text]
    reads, everything = (
        json.loads(text.replace("BUCKET/", "docs/").replace(':BUCKET"', ':docs"').replace("FOLDER", "policies"))
        for text in texts
    )
    reader = _everything(_as_user(stage, "reader", reads), laid_out)
    for start, act in reader.items():
        if start in ("`read_path`", "`list_objects`", "`download_folder_to_path`", "`new_objects`"):
            act()
        else:
            with pytest.raises(StorageError, match="not allowed"):
                act()
    whole = _as_user(stage, "whole", everything)
    for act in _everything(whole, laid_out).values():
        stage.bucket().model_copy(update={"folder": "policies"}).write_path("there", b"1")
        act()
    for write in (whole.write_path, lambda key, _: whole.read_path(key)):
        whole.folder = "elsewhere"
        with pytest.raises(StorageError, match="not allowed"):
            write("there", b"1")


def test_rules_of_the_bucket_are_taken(stage: Stage) -> None:
    """CORS and lifecycle, as they are written out."""
    cors, lifecycle = (
        json.loads(each.text)
        for each in snippets(S3_PAGE)
        if each.language == "json" and ("AllowedOrigins" in each.text or "Rules" in each.text)
    )
    client = stage.moto.client("s3", stage.moto.user)
    client.put_bucket_cors(Bucket="docs", CORSConfiguration={"CORSRules": cors})
    client.put_bucket_lifecycle_configuration(Bucket="docs", LifecycleConfiguration=lifecycle)
    client.close()


def test_atomic_methods_table() -> None:
    rows = table(ATOMIC_PAGE, "method")
    assert {code(row[0]) for row in rows} == _methods(AtomicEnvironment)
    shown = {
        request: (tuple(re.findall(r"`(\w+)`", roles)), code(name))
        for name, requests, roles, _ in rows
        for request in re.findall(r"`([^`]+)`", requests)
    }
    assert shown == {
        f"{each.method} {each.path}": (each.roles, name.replace("test_action", "start_action"))
        for name, each in OPERATIONS.items()
    }
    assert all(f"a{code(row[0])}" in vars(AtomicEnvironment) for row in rows)


@pytest.mark.parametrize(
    ("page", "cls"),
    [
        ("salesforce", Salesforce),
        ("marketing_cloud", SalesforceMarketingCloud),
        ("marketo", Marketo),
        ("data_360", SalesforceData360),
    ],
)
def test_methods_tables(page: str, cls: type[Credential]) -> None:
    rows = table(PROJECT / "docs" / f"{page}.md", "method")
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} >= _methods(cls)
    tasks = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert tasks == {name for name in prefect_atomic.__all__ if name.startswith(f"{page}_")}


def test_flows_tables() -> None:
    _agrees(table(ATOMIC_PAGE, "export"), inspect.signature(export_analytics_flow.fn))
    _agrees(table(ATOMIC_PAGE, "import"), inspect.signature(import_csv_flow.fn))
    _agrees(table(MARKETING_CLOUD_PAGE, "parameter"), inspect.signature(sync_marketing_cloud_flow.fn))
    _agrees(table(MARKETO_PAGE, "parameter"), inspect.signature(sync_marketo_activities_flow.fn))
    _agrees(table(MARKETO_PAGE, "export"), inspect.signature(export_marketo_leads_flow.fn))
    _agrees(table(DATA_360_PAGE, "parameter"), inspect.signature(ingest_data_360_flow.fn))


def test_deployments_are_those_of_prefect_yaml() -> None:
    """A deployment that a command names is there, and its flow has the parameters."""
    known = {each["name"]: each for each in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}
    assert [code(row[0]) for row in table(PROJECT / "docs" / "deploying.md", "deployment")] == list(known)
    for command in COMMANDS:
        if name := re.search(r"prefect deploy --name (\S+)|prefect deployment run (\S+)/", command):
            deployment = known[name[1] or name[2]]
            file, _, flow = deployment["entrypoint"].partition(":")
            parameters = runpy.run_path(str(PROJECT / file))[flow].parameters.properties
            assert set(re.findall(r"--param (\w+)=", command)) <= set(parameters), command


def test_send_request_table() -> None:
    _agrees(table(PROJECT / "docs" / "send_request.md", "argument"), inspect.signature(send_request.fn))


def test_misbehave_table() -> None:
    _agrees(table(PROJECT / "docs" / "sandbox.md", "argument"), inspect.signature(Sandbox.misbehave), skip=("self",))


def test_retry_table() -> None:
    _agrees(table(PROJECT / "docs" / "send_request.md", "Retry(...)"), inspect.signature(Retry))


def test_response_table() -> None:
    shown = [code(row[0]) for row in table(PROJECT / "docs" / "send_request.md", "attribute")]
    assert shown == list(Response.model_fields)


def test_errors_tables() -> None:
    every = {cls.__name__ for cls in errors.AtomicError.__subclasses__()}
    shown = {
        page: {code(row[0]) for row in table(PROJECT / page, "error")}
        for page in (
            "README.md",
            "docs/atomic.md",
            "docs/data_360.md",
            "docs/marketing_cloud.md",
            "docs/marketo.md",
            "docs/s3.md",
            "docs/salesforce.md",
            "docs/send_request.md",
            "docs/webhooks.md",
        )
    }
    assert shown["README.md"] == every
    others = {
        "BulkIngestError",
        "InvocationError",
        "MarketoError",
        "OutboxError",
        "QuotaError",
        "RecordsError",
        "SignatureError",
        "StorageError",
    }
    assert shown["docs/send_request.md"] == every - others
    assert shown["docs/webhooks.md"] == {"OutboxError", "RequestError", "SignatureError"}
    usual = {"CredentialError", "RequestError", "TransportError"}
    assert shown["docs/s3.md"] == usual | {"StorageError"}
    assert shown["docs/salesforce.md"] == usual | {"QuotaError", "RecordsError", "ResponseError"}
    assert shown["docs/marketing_cloud.md"] == usual | {"RecordsError", "ResponseError"}
    assert shown["docs/marketo.md"] == usual | {"MarketoError", "RecordsError", "ResponseError"}
    more = {"BulkIngestError", "DestinationError", "RecordsError", "ResponseError"}
    assert shown["docs/data_360.md"] == usual | more
    assert shown["docs/atomic.md"] == usual | {"InvocationError", "ResponseError"}


def test_webhooks_tables() -> None:
    page = PROJECT / "docs" / "webhooks.md"
    _agrees(table(page, "argument"), inspect.signature(webhook.fn))
    assert [code(row[0]) for row in table(page, "delivery")] == list(Delivery.model_fields)
    rows = table(page, "field")
    assert [code(row[0]) for row in rows] == list(WebhookSubscription.model_fields)
    for name, default, _ in rows:
        field = WebhookSubscription.model_fields[code(name)]
        assert code(default) == ("required" if field.is_required() else _shown(field.get_default())), name


def test_accounts_table() -> None:
    page = PROJECT / "docs" / "sandbox.md"
    assert [code(row[0]) for row in table(page, "account")] == [field.name for field in fields(Accounts)]


@pytest.mark.parametrize("page", [*CREDENTIAL_PAGES.values(), S3_PAGE, DATA_360_PAGE], ids=lambda page: page.name)
def test_messages_are_ours(page: Path) -> None:
    """Every message that is explained is one that the code can say; what a provider says in it is not checked."""
    files = [*(PROJECT / "prefect_atomic").rglob("*.py"), *(PROJECT / "flows").glob("*.py")]
    source = "".join(file.read_text("utf-8") for file in files)
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    for messages, _ in table(page, "message"):
        for message in re.findall(r"`([^`]+)`", messages):
            for part in (part.strip().removesuffix(" at") for part in message.split("…")):
                if status := re.match(r"answered (\d{3})(?: ([A-Z][a-z]+))?", part):
                    assert not status[2] or status[2] in HTTPStatus(int(status[1])).phrase
                elif " answered " in part:
                    assert part.partition(" answered ")[0].removesuffix(" at") in source, part
                elif re.search(r"[a-z] [a-z]", part) and "=" not in part:
                    assert part in source, part


def links_in(cell: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", cell)


def _lifetime(cls: type[Credential]) -> str:
    if "cache_seconds" in cls.model_fields:
        return f"{cls.model_fields['cache_seconds'].default} s"
    if cls.__name__ == "KeyPair":
        from prefect_atomic.credentials.key_pair import CACHED_SHARE

        return f"90 % of its life: {CACHED_SHARE * cls.model_fields['expires_in'].default:.0f} s"
    return "not cached"


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if default is None:
        return "none"
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    return json.dumps(default).strip('"')


def _agrees(rows: list[list[str]], signature: inspect.Signature, *, skip: tuple[str, ...] = ()) -> None:
    parameters = {name: each for name, each in signature.parameters.items() if name not in skip}
    assert [code(row[0]) for row in rows] == list(parameters)
    for name, default, *_ in rows:
        expected = parameters[code(name)].default
        if expected is inspect.Parameter.empty:
            assert default == "required", name
        else:
            assert eval(code(default), {"Retry": Retry}) == expected, name  # noqa: S307 - our own documentation


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for each in cls.__subclasses__():
        if inspect.isabstract(each):
            yield from _subclasses(each)
        elif each.__module__.startswith("prefect_atomic."):
            yield each


def _settings_of_prefect() -> set[str]:
    from prefect.settings.legacy import _get_settings_fields

    return set(_get_settings_fields(Settings))


def test_nothing_of_this_machine_is_told() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:home|root|work|tmp)/", prose(page)), page

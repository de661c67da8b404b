"""Credentials as blocks on a real Prefect server: registered, saved, loaded, masked."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from prefect.blocks.core import Block

from prefect_atomic import AnyCredential, BasicAuth, Credential, CustomHeaders
from tests.e2e import one_of_each as samples
from tests.e2e.flows_for_tests import HoldsACredential
from tests.e2e.hunting import Hunter
from tests.e2e.one_of_each import EACH_KIND, one_of_each
from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.prefect_server

CLASSES: tuple[type[Credential], ...] = get_args(AnyCredential)
SLUGS = {kind.get_block_type_slug() for kind in CLASSES}
REGISTERED = {*SLUGS, "atomic-s3-bucket", "atomic-webhook-subscription"}


@pytest.fixture
def credentials() -> dict[str, Credential]:
    made = one_of_each("http://127.0.0.1:1")
    return {name: made[name] for name in EACH_KIND}


@pytest.fixture
def hunter() -> Iterator[Hunter]:
    return Hunter({**samples.PLAIN_SECRETS, **samples.key_secrets()})


def plain(block: Block) -> Any:
    """All fields, secrets included."""
    return block.model_dump(mode="json", context={"include_secrets": True}, include=set(type(block).model_fields))


def test_registering_the_package_registers_its_blocks(prefect_server: PrefectServer) -> None:
    """Neither more nor fewer: a base class in the catalogue would be a form nobody can fill in."""
    before = {kind["slug"] for kind in prefect_server.all_of("block_types/filter")} - REGISTERED
    ran = prefect_server.run(sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_atomic")
    assert ran.returncode == 0, ran.stdout
    assert "registered 13 blocks" in ran.stdout
    after = {kind["slug"] for kind in prefect_server.all_of("block_types/filter")}
    assert after - before == REGISTERED


def test_registering_twice_changes_nothing(prefect_server: PrefectServer) -> None:
    """A description that is made at random, or in the order of a set, would be a new schema with every deployment."""
    command = (sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_atomic")
    assert prefect_server.run(*command, PYTHONHASHSEED="1").returncode == 0
    before = {schema["checksum"] for schema in prefect_server.all_of("block_schemas/filter")}
    assert prefect_server.run(*command, PYTHONHASHSEED="2").returncode == 0
    assert {schema["checksum"] for schema in prefect_server.all_of("block_schemas/filter")} == before


def test_a_type_says_what_it_is(prefect_api: PrefectServer, credentials: dict[str, Credential]) -> None:
    for credential in credentials.values():
        credential.register_type_and_schema()
        kind = prefect_api.get(f"block_types/slug/{credential.get_block_type_slug()}")
        assert kind["name"].startswith("Atomic ")
        assert kind["description"]
        assert kind["code_example"]
        assert kind["documentation_url"].startswith("https://")


def test_a_form_shows_own_fields_then_hosts_then_kind(
    prefect_api: PrefectServer, credentials: dict[str, Credential]
) -> None:
    """Prefect's form sorts by `position`."""
    for credential in credentials.values():
        credential.save("form", overwrite=True)
        kind = prefect_api.get(f"block_types/slug/{credential.get_block_type_slug()}")
        filter_ = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        (schema,) = prefect_api.post("block_schemas/filter", filter_)
        fields = schema["fields"]["properties"]
        shown = sorted(fields, key=lambda name: fields[name]["position"])
        assert shown == list(type(credential).model_fields)
        assert shown[-2:] == ["allowed_hosts", "kind"]
        assert all(fields[name]["description"].endswith(".") for name in shown)
        assert "kind" not in schema["fields"].get("required", [])


def test_a_fresh_process_loads_each_by_its_slug(prefect_api: PrefectServer, credentials: dict[str, Credential]) -> None:
    """`Block.load` finds the class through the entry point: nobody imported prefect_atomic before."""
    for name, credential in credentials.items():
        credential.allowed_hosts = ["*.example.com"]
        credential.save(f"fresh-{name}", overwrite=True)
    slugs = {name: f"{kind.get_block_type_slug()}/fresh-{name}" for name, kind in credentials.items()}
    program = (
        "import json, sys\n"
        "from prefect.blocks.core import Block\n"
        "assert 'prefect_atomic' not in sys.modules\n"
        "loaded = {name: Block.load(slug) for name, slug in json.loads(sys.argv[1]).items()}\n"
        "fields = lambda block: block.model_dump(mode='json', context={'include_secrets': True})\n"
        "print(json.dumps({name: [type(block).__name__, fields(block)] for name, block in loaded.items()}))\n"
    )
    ran = prefect_api.run(sys.executable, "-c", program, json.dumps(slugs))
    assert ran.returncode == 0, ran.stdout
    loaded = json.loads(ran.stdout.splitlines()[-1])
    for name, credential in credentials.items():
        kind, fields = loaded[name]
        assert kind == type(credential).__name__
        assert {key: fields[key] for key in type(credential).model_fields} == plain(credential)


def test_a_loaded_credential_is_the_one_that_was_saved(
    prefect_api: PrefectServer, credentials: dict[str, Credential]
) -> None:
    """The token's identity too: a loaded credential shares the token of the one it was saved from."""
    for name, credential in credentials.items():
        credential.save(f"same-{name}", overwrite=True)
        loaded = type(credential).load(f"same-{name}")
        assert plain(loaded) == plain(credential)
        assert loaded.known_secrets() == credential.known_secrets()
        assert loaded.title() == f"{type(credential).__name__} 'same-{name}'"


def test_the_api_shows_no_secret_unless_asked(
    prefect_api: PrefectServer, credentials: dict[str, Credential], hunter: Hunter
) -> None:
    for name, credential in credentials.items():
        credential.save(f"masked-{name}", overwrite=True)
    for path in ("block_documents/filter", "block_types/filter", "block_schemas/filter"):
        assert hunter.search(path, json.dumps(prefect_api.all_of(path), ensure_ascii=False)) == []
    for name, credential in credentials.items():
        path = f"block_types/slug/{credential.get_block_type_slug()}/block_documents/name/masked-{name}"
        masked = prefect_api.get(path)
        assert hunter.search(path, json.dumps(masked)) == []
        assert "********" in json.dumps(masked["data"])
        assert hunter.search(path, json.dumps(prefect_api.get(path, include_secrets=True)))  # the hunter does find them


def test_saving_again_needs_overwrite_and_replaces_the_secret(prefect_api: PrefectServer) -> None:
    BasicAuth(username="user", password="the-first-password").save("again", overwrite=True)
    second = BasicAuth(username="user", password="the-second-password")
    with pytest.raises(ValueError, match="already in use"):
        second.save("again")
    second.save("again", overwrite=True)
    assert BasicAuth.load("again").password.get_secret_value() == "the-second-password"


def test_headers_that_were_removed_are_gone(prefect_api: PrefectServer) -> None:
    """Prefect merges what is saved with what was there before; a withdrawn key must not live on."""
    CustomHeaders(headers={"X-Old": "old-secret-value", "X-Key": "key-one"}).save("rotated", overwrite=True)
    CustomHeaders(headers={"X-Key": "key-two"}).save("rotated", overwrite=True)
    assert CustomHeaders.load("rotated").headers.get_secret_value() == {"X-Key": "key-two"}


def test_a_secret_edited_in_the_form_keeps_the_others(prefect_api: PrefectServer) -> None:
    """The form sends asterisks for what was not touched; the server keeps the secret then."""
    aws = one_of_each("http://127.0.0.1:1")["aws"]
    aws.save("edited", overwrite=True)
    document = prefect_api.get("block_types/slug/atomic-aws-signed-request/block_documents/name/edited")
    data = {**document["data"], "secret_access_key": "a-new-secret-access-key", "region": "eu-central-1"}
    prefect_api.client.patch(f"block_documents/{document['id']}", json={"data": data}).raise_for_status()
    loaded = type(aws).load("edited")
    changed = {"secret_access_key": "a-new-secret-access-key", "region": "eu-central-1"}
    assert plain(loaded) == {**plain(aws), **changed}


@pytest.mark.parametrize("name", EACH_KIND)
def test_a_field_for_any_credential_reloads_the_class_it_was_saved_with(
    prefect_api: PrefectServer, credentials: dict[str, Credential], hunter: Hunter, name: str
) -> None:
    """By reference to a saved credential, and inline; in both, nothing is shown."""
    inline, saved = credentials[name], credentials[name].model_copy()
    saved.save(f"held-{name}", overwrite=True)
    for how, credential in (("reference", saved), ("inline", inline)):
        HoldsACredential(credential=credential).save(f"{how}-{name}", overwrite=True)
        loaded = HoldsACredential.load(f"{how}-{name}").credential
        assert type(loaded) is type(credential), how
        assert plain(loaded) == plain(credential), how
        shown = prefect_api.get(f"block_types/slug/test-holds-a-credential/block_documents/name/{how}-{name}")
        assert hunter.search(how, json.dumps(shown)) == []


def test_the_form_of_a_field_for_any_credential_has_a_tab_for_each(prefect_api: PrefectServer) -> None:
    HoldsACredential.register_type_and_schema()
    kind = prefect_api.get("block_types/slug/test-holds-a-credential")
    (schema,) = prefect_api.post("block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})
    tabs = schema["fields"]["properties"]["credential"]["anyOf"]
    names = [re.sub(".*/", "", tab["$ref"]) for tab in tabs]
    assert names == [kind.__name__ for kind in CLASSES]
    definitions = schema["fields"]["definitions"]
    assert {definitions[name]["block_type_slug"] for name in names} == SLUGS

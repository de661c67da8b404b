"""What rests in the store is readable only to who holds the credential it came from."""

import base64
import json
import stat
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import OAuthClientCredentials
from prefect_atomic.errors import CredentialError
from prefect_atomic.tokens import Token, TokenCache, seal_for
from prefect_atomic.tokens.stores import FileStore
from tests.e2e.servers.faulty import Answer, FaultServer

SECRET = "s3cret+/&=% ä horse-battery-staple"
TOKEN = "tok3n/+~unmistakable.of-the-provider"


@pytest.fixture
def provider():
    content = {"access_token": TOKEN, "scope": "leads.read"}
    with FaultServer() as server:
        server.ok_body = json.dumps(content).encode()
        server.mode = "ok"
        yield server


def oauth(url, **fields):
    return OAuthClientCredentials(**{"identity_url": url, "client_id": "who-asks", "client_secret": SECRET, **fields})


def entry_of(folder):
    [entry] = [path for path in folder.iterdir() if len(path.name) == 64]
    return entry


def disguises(secret):
    """A secret as it is, and in whatever three bytes base64 may have met it; and percent-encoded."""
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    yield json.dumps(secret).strip('"').encode()
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"." * offset + plain)[4:-4]


def test_files_and_their_names_show_nothing(provider, token_folder):
    provider.script([Answer(status=400, body=f"{SECRET} {TOKEN} is wrong".encode())])
    credential = oauth(provider.url)
    with pytest.raises(CredentialError):
        credential.check()
    credential.invalidate()
    credential.check()

    files = list(token_folder.iterdir())

    assert len(files) == 3  # a token, a failure, a lock
    shown = b"\n".join(path.read_bytes() + path.name.encode() for path in files)
    for secret in (SECRET, TOKEN, "who-asks", provider.url, "leads.read"):
        for disguise in disguises(secret):
            assert disguise not in shown


def test_files_are_0600_in_a_folder_0700(provider, token_folder):
    oauth(provider.url).check()

    assert stat.S_IMODE(token_folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in token_folder.iterdir()} == {0o600}


def test_a_folder_that_others_could_read_is_closed(provider, token_folder):
    token_folder.mkdir(mode=0o755)
    token_folder.chmod(0o755)

    oauth(provider.url).check()

    assert stat.S_IMODE(token_folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "change",
    [
        {"client_secret": "another"},
        {"client_id": "somebody-else"},
        {"scope": "leads.write"},
        {"request_scheme": "post_query"},
        {"client_authentication": "basic"},
        {"extra_parameters": {"audience": "x"}},
        {"cache_seconds": 44},
    ],
)
def test_whatever_changes_the_token_has_a_name_and_a_token_of_its_own(provider, token_folder, change):
    oauth(provider.url).check()
    oauth(provider.url, **change).check()

    assert len(provider.requests) == 2
    assert len({path.name for path in token_folder.iterdir() if len(path.name) == 64}) == 2


def test_where_a_credential_may_go_does_not_change_its_token(provider):
    oauth(provider.url).check()
    oauth(provider.url, allowed_hosts=["api.example.com"]).check()

    assert len(provider.requests) == 1


def test_a_rotated_secret_is_asked_for_at_once(provider):
    credential = oauth(provider.url)
    credential.check()

    credential.client_secret = type(credential.client_secret)("rotated")
    credential.check()

    assert b"client_secret=rotated" in provider.requests[1].body


def test_two_homes_share_nothing(tmp_path, seal, new_cache):
    calls = []

    def mint():
        calls.append(None)
        return Token(value=f"token-{len(calls)}", issued_at=0, expires_at=4e9)

    here, there = (new_cache(tmp_path / home / "atomic" / "tokens") for home in ("here", "there"))

    assert here.get(seal, mint).token.value == "token-1"
    assert there.get(seal, mint).token.value == "token-2"


def test_another_credential_cannot_open_an_entry(provider, token_folder):
    oauth(provider.url).check()
    mine = entry_of(token_folder)
    theirs = oauth(provider.url, client_secret="another")
    theirs.check()
    other = next(path for path in token_folder.iterdir() if len(path.name) == 64 and path != mine)

    other.write_bytes(mine.read_bytes())
    theirs.check()

    assert len(provider.requests) == 3


LENGTH = len(Token(value=TOKEN, issued_at=1.0, expires_at=4e9).to_json()) + 28
damages = st.one_of(
    st.integers(0, LENGTH - 1).map(lambda end: lambda sealed: sealed[:end]),
    st.integers(0, LENGTH * 8 - 1).map(
        lambda bit: lambda sealed: (int.from_bytes(sealed) ^ 1 << bit).to_bytes(len(sealed))
    ),
    st.binary(max_size=200).map(lambda garbage: lambda sealed: garbage),
    st.binary(min_size=1, max_size=20).map(lambda more: lambda sealed: sealed + more),
)


@given(damage=damages)
def test_a_damaged_entry_is_a_miss(tmp_path_factory, damage):
    folder = tmp_path_factory.mktemp("damaged")
    seal = seal_for(("a credential", "its secret"))
    TokenCache(FileStore(folder), lease=60).get(seal, lambda: Token(value=TOKEN, issued_at=1.0, expires_at=4e9))
    entry = entry_of(folder)
    entry.write_bytes(damage(entry.read_bytes()))

    fresh = Token(value="fresh", issued_at=1.0, expires_at=4e9)

    assert TokenCache(FileStore(folder), lease=60).get(seal, lambda: fresh).token == fresh


def test_an_entry_under_another_name_does_not_open(seal):
    sealed = seal.close(b"token", seal.name)

    assert seal.open(sealed, seal.name) == b"token"
    assert seal.open(sealed, f"{seal.name}-failure") is None


def test_no_repr_shows_a_key_or_a_token(seal):
    assert "_key" not in repr(seal)
    assert TOKEN not in repr(Token(value=TOKEN, issued_at=0, expires_at=1))

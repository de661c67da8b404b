"""PREFECT_ATOMIC_* settings are read as Prefect reads its own, and refused with a sentence that helps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_atomic.settings import settings, token_folder

SHOW = """
import json, sys
from prefect_atomic.settings import settings, token_folder
found = settings()
print(json.dumps([found.token_store.get_secret_value(), str(token_folder()), found.token_lease]))
"""


@pytest.fixture
def process(tmp_path):
    """What a new process in a folder and a Prefect home of its own reads."""

    def process(*, profiles=None, prefect_toml=None, **environment):
        home, folder = tmp_path / "home", tmp_path / "folder"
        home.mkdir()
        folder.mkdir()
        if profiles:
            (home / "profiles.toml").write_text(profiles)
        if prefect_toml:
            (folder / "prefect.toml").write_text(prefect_toml)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_ATOMIC_")}
        shown = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SHOW],
            cwd=folder,
            env={**inherited, "PREFECT_HOME": str(home), **environment},
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(shown.stdout)

    return process


def test_tokens_are_kept_in_files_under_the_prefect_home(process, tmp_path):
    assert process() == ["file", str(tmp_path / "home" / "atomic" / "tokens"), 60.0]


def test_the_environment_is_read(process, tmp_path):
    here = str(tmp_path / "here")

    assert process(
        PREFECT_ATOMIC_TOKEN_STORE="memory", PREFECT_ATOMIC_TOKEN_STORE_PATH=here, PREFECT_ATOMIC_TOKEN_LEASE="7"
    ) == ["memory", here, 7.0]


def test_the_active_profile_is_read(process):
    profiles = 'active = "ours"\n[profiles.ours]\nPREFECT_ATOMIC_TOKEN_STORE = "memory"\n'

    assert process(profiles=profiles)[0] == "memory"


def test_prefect_toml_is_read_and_the_environment_goes_before_it(process):
    store, _, lease = process(
        prefect_toml='[atomic]\ntoken_store = "memory"\ntoken_lease = 7\n', PREFECT_ATOMIC_TOKEN_LEASE="8"
    )

    assert (store, lease) == ("memory", 8.0)


def test_a_home_in_the_path_is_the_users(monkeypatch):
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_STORE_PATH", "~/tokens")
    settings.cache_clear()

    assert token_folder() == Path.home() / "tokens"


def test_a_relative_path_does_not_move_with_the_process(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_STORE_PATH", "tokens")
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    folder = token_folder()
    monkeypatch.chdir("/")

    assert token_folder() == folder == tmp_path / "tokens"


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("TOKEN_STORE", "redis://:hunter2@cache.example.com/0", "must be `file` or `memory`"),
        ("TOKEN_STORE", "hunter2", "must be `file` or `memory`"),
        ("TOKEN_LEASE", "hunter2", "should be a valid number"),
        ("TOKEN_LEASE", "0", "should be greater than 0"),
        ("TOKEN_LEASE", "inf", "should be less than or equal to 3600"),
        ("TOKEN_LEASE", "nan", "should be"),
        ("TOKEN_REQUEST_TIMEOUT", "-1", "should be greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name_and_a_hint_and_without_the_value(monkeypatch, name, value, hint):
    monkeypatch.setenv(f"PREFECT_ATOMIC_{name}", value)
    settings.cache_clear()

    with pytest.raises(ValueError, match=f"^PREFECT_ATOMIC_{name}: .*{hint}") as refusal:
        settings()

    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__suppress_context__

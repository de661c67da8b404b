"""Every test gets a Prefect home, a token store and caches of its own; nothing of this machine's is read or written."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

# A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_HOME = tempfile.TemporaryDirectory(prefix="prefect-atomic-tests-")
os.environ.update(
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_HOME=_HOME.name,
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
    # The server that a task starts for itself where there is none; 20 seconds are too few on a busy machine.
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="180",
)
for _name in (
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "PREFECT_PROFILE",
    *(name for name in os.environ if name.startswith("PREFECT_ATOMIC_") and name != "PREFECT_ATOMIC_SHARED"),
):
    os.environ.pop(_name, None)

import pytest  # noqa: E402 - Prefect reads its settings when it is imported
from hypothesis import HealthCheck  # noqa: E402
from hypothesis import settings as hypothesis_settings  # noqa: E402

from prefect_atomic.settings import settings  # noqa: E402
from prefect_atomic.tokens import shared_cache  # noqa: E402

# The machine is shared and slow at times: a test is judged by what it finds, never by how long it takes.
hypothesis_settings.register_profile(
    "prefect-atomic", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis_settings.load_profile("prefect-atomic")


@pytest.fixture(autouse=True)
def token_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's file store; processes that the test starts inherit it."""
    folder = tmp_path / "tokens"
    monkeypatch.setenv("PREFECT_ATOMIC_TOKEN_STORE_PATH", str(folder))
    settings.cache_clear()
    shared_cache.cache_clear()
    yield folder
    settings.cache_clear()
    shared_cache.cache_clear()

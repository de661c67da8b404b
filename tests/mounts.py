"""File systems that are full, read-only or out of inodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.servers import missing


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs at the folder, which must not exist, for as long as the `with` block lasts."""
    if os.geteuid() != 0:
        missing("only root may mount a file system that is full or read-only")
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)
    if mount.returncode:
        missing(f"cannot mount a tmpfs here: {mount.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)

"""Servers that were written by others, started and stopped by the tests on loopback.

Each of them judges one thing that our own code must get right, and shares no line with it:

* :mod:`.swift`: OpenStack Swift verifies AWS Signature Version 4 (headers, presigned URLs, body, expiry).
* :mod:`.moto`: moto verifies signed calls to other AWS services, IAM policies and session tokens.
* :mod:`.oidc`: oidc-provider, an OpenID certified authorization server, issues and revokes OAuth 2 tokens.
* :mod:`.prism`: Prism checks calls against the description of an API; :mod:`.judged_marketo` has it judge ours to
  Marketo, with Adobe's description.
* :mod:`.faulty`: the exception, our own: a socket that misbehaves as no framework lets a server misbehave.

They come from PyPI and npm only. What is not installed is reported by :func:`missing`.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["missing"]


def missing(reason: str) -> NoReturn:
    """Skip the test because something it needs is not installed, except in CI, where that is a failure.

    On somebody's laptop a missing server should not stand in the way. In CI (the variable ``CI`` is set and not
    empty) a skip would hide that nothing was proved, so it fails there.
    """
    if os.environ.get("CI"):
        pytest.fail(f"CI must run every test, but: {reason}", pytrace=False)
    pytest.skip(reason)  # never in CI: see above

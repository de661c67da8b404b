"""oidc-provider as the judge of OAuth 2 client credentials.

oidc-provider (npm, MIT) is an OpenID certified authorization server. What it proves: that a token request follows
RFC 6749 to the letter (a Basic header whose id and secret are not form-encoded first is refused, and so are
credentials in the query), that the token we hold is one it would accept, and how many it was asked for.

It runs on the Node.js of PyPI, as :mod:`.node` says.
"""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from .node import node_program
from .process import ServerProcess


@dataclass(frozen=True)
class OidcClient:
    """A client that the provider knows."""

    id: str
    secret: str = field(repr=False)
    method: str
    """``client_secret_post`` or ``client_secret_basic``."""


class OidcServer:
    """oidc-provider on loopback, for as long as the ``with`` block lasts.

    ``post_client`` sends its secret in the body. ``basic_client`` sends it in a Basic header, and both its id and
    its secret hold ``:``, ``%``, ``+`` and a space. Secrets are new in every run. Tokens live ``token_lifetime``
    seconds; the clients may ask for the scopes ``api:read`` and
    ``api:write``; there is ``api:admin`` too, which they are refused.

    It lets either client send its secret in either way: that ``client_secret_post`` goes into the body must be seen
    in the request, not in the answer.
    """

    def __init__(self, *, token_lifetime: int = 600) -> None:
        self.token_lifetime = token_lifetime
        self.scopes = ("api:read", "api:write")
        self.post_client = OidcClient("post-client", secrets.token_urlsafe(24), "client_secret_post")
        # "%z" makes the raw form an encoding error, not just another secret
        self.basic_client = OidcClient(
            "basic:client%z+one two", f"a:b%z+c d&e=f/{secrets.token_urlsafe(24)}", "client_secret_basic"
        )
        self.port = 0
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, the issuer, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.url}/token"

    @property
    def api_url(self) -> str:
        """An API that answers 200 with the client's id for a live bearer token, else 401."""
        return f"{self.url}/api"

    def __enter__(self) -> Self:
        clients = [vars(self.post_client), vars(self.basic_client)]
        settings = {"clients": clients, "scopes": list(self.scopes), "token_lifetime": self.token_lifetime}
        self._process = ServerProcess("oidc-provider", node_program("oidc-server.mjs"), settings)
        self.port = self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()

    def token_requests(self) -> int:
        """How many requests the token endpoint got so far, good or bad."""
        return int(self._call("/_count")["token_requests"])

    def introspect(self, token: str) -> dict[str, Any]:
        """What the provider says about a token (RFC 7662): ``{"active": false}`` or its client, scope and expiry."""
        said: dict[str, Any] = self._call("/token/introspection", {"token": token})
        return said

    def revoke(self, token: str, client: OidcClient) -> None:
        """Take back a token (RFC 7009) in the name of the client that got it."""
        self._call("/token/revocation", {"token": token}, client)

    def _call(self, path: str, form: Mapping[str, str] | None = None, client: OidcClient | None = None) -> Any:
        request = urllib.request.Request(self.url + path)  # noqa: S310
        if form is not None:
            sender = client or self.post_client
            if sender.method == "client_secret_post":
                form = {**form, "client_id": sender.id, "client_secret": sender.secret}
            else:
                pair = f"{urllib.parse.quote_plus(sender.id)}:{urllib.parse.quote_plus(sender.secret)}"
                request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
            request.data = urllib.parse.urlencode(form).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else {}

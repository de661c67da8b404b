"""BasicAuth: RFC 7617, whatever the username and password are made of."""

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import BasicAuth

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(username=text.filter(lambda name: ":" not in name), password=text)
def test_a_server_decodes_what_was_entered(sent_with: Any, username: str, password: str) -> None:
    request = sent_with(BasicAuth(username=username, password=password))

    scheme, _, proof = request.headers["authorization"].partition(" ")

    assert scheme == "Basic"
    assert base64.b64decode(proof).decode() == f"{username}:{password}"


def test_the_encoded_pair_is_a_secret_too() -> None:
    """It is what an answer echoes, and as good as the password."""
    assert base64.b64encode(b"me:hunter2").decode() in BasicAuth(username="me", password="hunter2").known_secrets()

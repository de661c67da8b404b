"""The registry: which tokens are still accepted."""

import pytest
import time_machine

from prefect_atomic.sandbox.tokens import TokenRefused, Tokens


def test_a_token_is_refused_once_its_lifetime_is_over():
    tokens = Tokens()
    with time_machine.travel(1_000_000, tick=False) as clock:
        token = tokens.issue("oauth", lifetime=60)
        clock.shift(59)
        tokens.accept("oauth", token)
        clock.shift(1)

        with pytest.raises(TokenRefused, match="expired"):
            tokens.accept("oauth", token)


def test_a_token_lives_as_long_as_answers_were_told_to_state():
    tokens = Tokens()
    tokens.state_lifetime("20")
    with time_machine.travel(1_000_000, tick=False) as clock:
        token = tokens.issue("oauth", lifetime=3600)
        clock.shift(20)

        with pytest.raises(TokenRefused, match="expired"):
            tokens.accept("oauth", token)


def test_a_token_of_another_kind_is_refused():
    tokens = Tokens()
    token = tokens.issue("salesforce-core", lifetime=60)

    with pytest.raises(TokenRefused, match="this is a salesforce-core token; a data-360 token was expected"):
        tokens.accept("data-360", token)

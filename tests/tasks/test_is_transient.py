"""is_transient tells Prefect which failed tasks may be run again."""

import asyncio

import pytest
from prefect.states import Completed, Crashed, Failed, exception_to_failed_state

from prefect_atomic import CredentialError, ResponseError, TransportError, is_transient
from prefect_atomic.errors import AtomicError


def judged(state) -> bool:
    return asyncio.run(is_transient(None, None, state))


def failed_with(error: BaseException):
    return asyncio.run(exception_to_failed_state(error))


@pytest.mark.parametrize("kind", [AtomicError, CredentialError, TransportError])
@pytest.mark.parametrize("transient", [True, False])
def test_our_errors_say_it_themselves(kind, transient):
    assert judged(failed_with(kind("why", transient=transient))) is transient


def test_an_answer_that_may_change_is_transient():
    assert judged(failed_with(ResponseError("why", response=None, transient=True)))


@pytest.mark.parametrize("error", [ValueError("theirs"), KeyError("theirs"), TimeoutError()])
def test_errors_of_others_are_not_ours_to_judge(error):
    assert judged(failed_with(error)) is False


@pytest.mark.parametrize("state", [Completed(data=1), Failed(message="no result was kept"), Crashed(message="gone")])
def test_a_state_without_an_error_of_ours_is_not_transient(state):
    assert judged(state) is False

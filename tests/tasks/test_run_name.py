"""A task run is named `METHOD host`: enough to find it, and nothing that may be secret."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import prefect_atomic.tasks  # noqa: F401 - its attribute `send_request` is the task, not the module

module = sys.modules["prefect_atomic.tasks.send_request"]


def name_of(**parameters: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "task_run", SimpleNamespace(parameters=parameters))
        return module._run_name()


@pytest.mark.parametrize(
    ("method", "url", "name"),
    [
        ("GET", "https://crm.example.com/contacts?key=hunter2", "GET crm.example.com"),
        ("post", "https://me:hunter2@crm.example.com:8443/", "POST crm.example.com"),
        ("GET", "no url", "GET nowhere"),
        ("GET", "https://xn--/", "GET nowhere"),
        ("GET", "https://xn--a/", "GET nowhere"),
        ("GET", None, "GET nowhere"),
    ],
)
def test_a_run_is_named_after_method_and_host(method, url, name):
    assert name_of(method=method, url=url) == name


def test_a_run_without_parameters_has_a_name_too():
    assert name_of() == " nowhere"


anything = st.none() | st.integers() | st.text() | st.binary() | st.from_regex(r"https?://[^/]*/?.*")


@given(method=anything, url=anything)
def test_no_parameters_keep_a_run_from_having_a_short_name(method, url):
    assert isinstance(name_of(method=method, url=url), str)


@pytest.mark.parametrize("task", [module.send_request, module.asend_request])
def test_both_tasks_are_named_so_and_keep_no_cache(task):
    assert task.task_run_name is module._run_name
    assert task.cache_policy.compute_key(None, {"url": "https://example.com"}, {}) is None

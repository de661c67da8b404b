"""Users: created, and changed where they are there already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prefect_atomic.errors import AtomicError, RequestError
from prefect_atomic.integrations.atomic.api import Api
from prefect_atomic.tasks.course import Course


def checked(users: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Users that can be sent.

    Raises:
        RequestError: One cannot be; says which, and why.
    """
    if isinstance(users, str | bytes | Mapping):
        raise RequestError('users: takes a list of users, such as [{"id": "1", "name": "Ada"}].')
    result = []
    for position, user in enumerate(users):
        problem = _problem(user)
        if problem:
            raise RequestError(f"users[{position}]: {problem}.")
        result.append(dict(user))
    return result


def upsert(api: Api, users: list[dict[str, Any]]) -> Course[int]:
    """Sends users in batches; returns how many there were."""
    for start in range(0, len(users), api.batch_size):
        try:
            yield api.ask(json=users[start : start + api.batch_size])
        except AtomicError as error:
            if start:
                error.add_note(f"{start} of {len(users)} users were sent before.")
            raise
    return len(users)


def _problem(user: object) -> str | None:
    if not isinstance(user, Mapping):
        return f'is a {type(user).__name__}, and a user is a mapping such as {{"id": "1"}}'
    user_id = user.get("id")
    if not isinstance(user_id, str) or not user_id.strip():
        return 'id: is the user\'s id, as text, such as "1"'
    try:
        json.dumps(dict(user), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"holds something that is no JSON ({type(error).__name__}); write dates and numbers as JSON has them"
    return None

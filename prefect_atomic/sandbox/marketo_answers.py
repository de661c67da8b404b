"""How Marketo answers: nearly always with a 200, which says inside whether it did anything.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/error-codes
"""

import secrets
from collections.abc import Sequence
from itertools import count
from typing import Any, NoReturn

from prefect_atomic.sandbox.wire import Answer, Refused

_numbers = count(0x14272D07D78)


class Reason(Exception):  # noqa: N818 - what the answer says of a record, not an error
    """Why a record was not taken, while the others of its call may have been."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(message)
        self.code = str(code)
        self.message = message

    def as_json(self) -> dict[str, str]:
        """As answers have it."""
        return {"code": self.code, "message": self.message}


class Failed(Refused):
    """Marketo says no to all of a call; the code is for those who count."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(_answer(False, {"errors": [{"code": str(code), "message": message}]}))
        self.code = str(code)


def ok(result: Sequence[Any] | None = None, **more: object) -> Answer:
    """An answer that says yes; None has no result at all, and so have more of its properties that are None."""
    content = {"result": result, **more}
    return _answer(True, {name: value for name, value in content.items() if value is not None})


def fail(code: int | str, message: str) -> NoReturn:
    """Says no to all of a call."""
    raise Failed(code, message)


def _answer(success: bool, content: dict[str, Any]) -> Answer:
    request_id = f"{secrets.token_hex(2)}#{next(_numbers):x}"
    return Answer.of_json({"requestId": request_id, "success": success, **content})

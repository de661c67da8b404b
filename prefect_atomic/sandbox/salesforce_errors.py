"""How Salesforce's core refuses: an array of errors for a request, a code with a sentence for one record."""

from collections.abc import Iterable
from typing import NoReturn

from prefect_atomic.sandbox.wire import Answer, Refused

MISSING = frozenset({"NOT_FOUND", "ENTITY_IS_DELETED"})


class RecordRefused(Exception):  # noqa: N818 - an answer, not an error
    """One record is refused; with many in a request the others may go on."""

    def __init__(self, code: str, message: str, fields: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = list(fields)

    def in_list(self) -> dict[str, object]:
        """As results of many records have it."""
        return {"statusCode": self.code, "message": self.message, "fields": self.fields}

    def in_csv(self) -> str:
        """As the column sf__Error of Bulk API 2.0 has it."""
        return f"{self.code}:{self.message}:{','.join(self.fields)}{' ' if self.fields else ''}--"

    def refusal(self) -> Refused:
        """As the refusal of the whole request."""
        status = 404 if self.code in MISSING else 400
        return Refused(Answer.of_json([error(self.code, self.message, self.fields)], status=status))


def error(code: str, message: str, fields: Iterable[str] | None = None) -> dict[str, object]:
    """An entry of the array of errors; `fields` is left out where Salesforce has none."""
    content: dict[str, object] = {"message": message, "errorCode": code}
    if fields is not None:
        content["fields"] = list(fields)
    return content


def refuse(status: int, code: str, message: str) -> NoReturn:
    """Refuses a request."""
    raise Refused(Answer.of_json([error(code, message)], status=status))


def not_found() -> NoReturn:
    """Refuses a path that leads nowhere."""
    refuse(404, "NOT_FOUND", "The requested resource does not exist")


def wrong_method(method: str) -> NoReturn:
    """Refuses a method that a path does not take."""
    refuse(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{method}' not allowed")

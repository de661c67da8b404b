"""Values of query results as Python has them, and values of parameters as queries take them.

The names are those of versions 2 and 3; source: https://developer.salesforce.com/docs/platform/apex-ref/references/apex-ref/
apex-connectapi-input-query-sql-parameter-item-representatio.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from prefect_atomic.errors import RequestError
from prefect_atomic.integrations.records.values import cell

Convert = Callable[[Any], Any]


def _as_bool(value: Any) -> bool:
    return {"true": True, "false": False}[value.lower()] if isinstance(value, str) else bool(value)


def _as_moment(value: str) -> datetime:
    return datetime.fromisoformat(value.removesuffix(" UTC") + ("Z" if value.endswith(" UTC") else ""))


def _as_int(value: Any) -> Any:
    whole = int(value)
    return whole if isinstance(value, str) or whole == value else value


def _as_date(value: str) -> date:
    return date.fromisoformat(value) if len(value) <= len("2026-01-31") else datetime.fromisoformat(value).date()


def _as_decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


_CONVERT: Mapping[str, Convert] = {
    **dict.fromkeys(("BOOL", "BOOLEAN"), _as_bool),
    **dict.fromkeys(("SMALLINT", "INTEGER", "INT", "BIGINT", "OID"), _as_int),
    **dict.fromkeys(("DOUBLE", "DOUBLE PRECISION", "FLOAT", "REAL"), float),
    **dict.fromkeys(("DECIMAL", "NUMERIC"), _as_decimal),
    "DATE": _as_date,
    "TIME": time.fromisoformat,
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_TZ", "DATETIME"), _as_moment),
}


def converter(type_name: object) -> Convert | None:
    """What makes a value of this type one of Python's; None for texts, and for types that nobody knows."""
    name = str(type_name).upper().partition("(")[0].strip()
    convert = _CONVERT.get(name)
    if convert is None:
        return None

    def converted(value: Any) -> Any:
        if value is None:
            return None
        try:
            return convert(value)
        except (ArithmeticError, KeyError, TypeError, ValueError):
            return value  # such as the date 12026-01-01, which Python has not

    return converted


def parameters_of(parameters: Sequence[Any] | Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters as version 3 takes them: those of a list for `?`, those of a mapping for `:name`.

    Raises:
        RequestError: One of them is of a kind that cannot be sent.
    """
    if parameters is None:
        return {}
    if isinstance(parameters, Mapping):
        named = [{"name": str(name), **_parameter(f":{name}", value)} for name, value in parameters.items()]
        return {"paramStyle": "NAMED", "parameters": named}
    # A set has no order, and so no first `?`.
    if isinstance(parameters, str | bytes | Set) or not isinstance(parameters, Iterable):
        raise RequestError("parameters: takes a list of values for `?`, or a mapping of names to values for `:name`.")
    return {
        "paramStyle": "QUESTION_MARK",
        "parameters": [_parameter(f"number {number}", value) for number, value in enumerate(parameters, 1)],
    }


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "Bool"),
    (int, "BigInt"),
    (float, "Double"),
    (Decimal, "Numeric"),
    (datetime, "TimestampTZ"),
    (date, "Date"),
    (str, "Varchar"),
)


def _parameter(which: str, value: object) -> dict[str, str]:
    for kind, name in _TYPES:
        if isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value)):
            try:
                return {"type": name, "value": cell(value)}
            except TypeError as error:
                raise RequestError(f"parameters: {which} is {error}.") from None
    raise RequestError(
        f"parameters: {which} is a {type(value).__name__}; there are texts, numbers, booleans, dates and moments. "
        "Nothing equals NULL: write IS NULL instead."
    )

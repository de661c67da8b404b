"""Parameters of a query: typed texts, in one of three styles.

Known is that each has a `type` and a `value`, both texts. The name of a NAMED one is taken to be its `name`.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from prefect_atomic.sandbox.data_360_sql import Bind, SQLError, Value

STYLES = {"QUESTION_MARK": "mark", "NAMED": "named", "DOLLARED": "dollared"}
NUMBERS = ("smallint", "integer", "int", "bigint", "decimal", "numeric", "double", "double precision", "real")
TEXTS = ("varchar", "char", "text", "date", "timestamp", "timestamp with time zone", "timestamptz")


def binder(style: object, parameters: object) -> Bind:
    """What gives each placeholder its value; raises `SQLError` for parameters that cannot be."""
    if style not in STYLES:
        raise SQLError(f"paramStyle should be one of {', '.join(STYLES)}")
    if not isinstance(parameters, list):
        raise SQLError("parameters should be an array")
    fields = {"type", "value", "name"} if style == "NAMED" else {"type", "value"}
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, dict) or parameter.keys() != fields:
            raise SQLError(f"parameter {position + 1} should have {', '.join(sorted(fields))}, and nothing else")
        if not all(isinstance(part, str) for part in parameter.values()):
            raise SQLError(f"parameter {position + 1} should consist of texts")
    values = [_value(parameter) for parameter in parameters]
    names = {parameter["name"]: at for at, parameter in enumerate(parameters)} if style == "NAMED" else {}
    marks = iter(range(len(values)))

    def bind(kind: str, placeholder: str) -> Value:
        if kind != STYLES[str(style)]:
            raise SQLError(f"syntax error near {placeholder}: paramStyle is {style}")
        if kind == "mark":
            at = next(marks, None)
        else:
            at = names.get(placeholder[1:]) if kind == "named" else int(placeholder[1:]) - 1
        if at is None or not 0 <= at < len(values):
            raise SQLError(f"there is no parameter for {placeholder}")
        return values[at]

    return bind


def _value(parameter: dict[str, Any]) -> Value:
    kind, text = parameter["type"].lower().partition("(")[0], parameter["value"]
    if kind in TEXTS:
        return str(text)
    if kind in ("boolean", "bool") and text in ("true", "false"):
        return bool(text == "true")
    if kind in NUMBERS:
        try:
            return Decimal(text)
        except InvalidOperation:
            pass
    raise SQLError(f"{parameter['type']} is not a type that the sandbox knows, or the value is none of that type")

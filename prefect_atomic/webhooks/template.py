"""The body of a webhook, shaped by a Jinja2 template: the role that Atomic's JavaScript mapping plays.

A template sees `event` and nothing else. It runs in Jinja2's sandbox, which keeps it from the Python behind the event.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from prefect_atomic.errors import RequestError
from prefect_atomic.webhooks.event import Event, refuse_if_too_long

if TYPE_CHECKING:
    from jinja2 import Template, TemplateError
    from jinja2.runtime import Context
    from jinja2.sandbox import SandboxedEnvironment


_NAMED = re.compile(
    r"(?:'[\w. ]+' has no attribute |access to attribute |)'(\w+)'(?: is undefined| of '\w+' object is unsafe|)"
)


def check(template: str) -> None:
    """Refuses a template that can never make a body.

    Raises:
        ValueError: It does not parse, or asks for what it cannot get; says where.
    """
    from jinja2 import TemplateSyntaxError, meta, nodes

    environment = _environment()
    try:
        environment.compile(template)
        tree = environment.parse(template)
    except TemplateSyntaxError as error:
        raise ValueError(f"does not parse: line {error.lineno}: {error.message}") from None
    except (SyntaxError, RecursionError):  # Python's own, of what Jinja2 makes of the template
        raise ValueError("does not parse: it is nested too deeply") from None
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise ValueError(f"line {node.lineno}: a template stands alone; it cannot include or import another")
    for attribute in tree.find_all(nodes.Getattr):
        if attribute.attr.startswith("_"):
            raise ValueError(
                f"line {attribute.lineno}: {attribute.attr!r} reaches outside of the sandbox; a field of the event by "
                f'that name is event["{attribute.attr}"]'
            )
    if unknown := meta.find_undeclared_variables(tree) - environment.globals.keys() - {"event"}:
        raise ValueError(
            f"{', '.join(sorted(unknown))}: is not known; a template sees `event`, as in {{{{ event.type | tojson }}}}"
        )


def render(template: str, event: Event) -> bytes:
    """The body that a template makes of an event, as it is sent.

    Raises:
        RequestError: It makes none, or no JSON; says where, and quotes nothing of the event.
    """
    body = _made(template, event)
    if isinstance(body, str):  # raised out here, so that it has no context: that may quote the event
        raise RequestError(f"body_template: {body}.")
    refuse_if_too_long(body, "body_template")
    return body


def _made(template: str, event: Event) -> bytes | str:
    """The body, or what is wrong with it."""
    from jinja2 import TemplateError

    try:
        text = _compiled(template).render(event=event).strip()
    except TemplateError as error:  # an undefined name, or the sandbox
        return f"{_said(error, template)}{_line(error)}"
    except Exception as error:  # noqa: BLE001 - a filter may raise anything, and its text may quote the event
        return f"fails with a {type(error).__name__}{_line(error)}"
    try:
        json.loads(text, parse_constant=_refuse_constant)
        return text.encode()
    except RecursionError:
        return "yields JSON that is nested too deeply"
    except ValueError as error:
        why = (
            f"{error.msg}, line {error.lineno} of what it yields" if isinstance(error, json.JSONDecodeError) else error
        )
        return (
            f"does not yield JSON ({why}); write values with the filter tojson, such as {{{{ event.type | tojson }}}}"
        )


def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, _context: Context, operator: str, left: Any, right: Any) -> Any:
            # What takes a line to write may take all the memory there is.
            if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
                raise SecurityError(f"{operator} multiplies numbers, and nothing else")
            return left * right

    # A name that is not there is an error: an empty text in its place would be sent as if it were the truth.
    environment = Environment(undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "default": _refuse_value}
    return environment


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


def _line(error: BaseException) -> str:
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""


def _said(error: TemplateError, template: str) -> str:
    """What Jinja2 says, unless it names something that the template took from the event, as in `event[event.key]`."""
    message = (error.message or type(error).__name__).removesuffix(".")
    named = _NAMED.fullmatch(message)
    if named and re.search(rf"\b{named[1]}\b", template):
        return message
    return "asks for a field that is not there, or for what it may not have"


def _refuse_value(value: object) -> NoReturn:
    """Told of what tojson cannot write; a name that is not there says so itself, and which it is."""
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        str(value)
    raise TypeError


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is none of its values")

"""The body that a template makes: rendered in a sandbox, refused where it is not JSON, and never quoted."""

import json

import pytest
from hypothesis import given

from prefect_atomic import RequestError, WebhookSubscription
from prefect_atomic.webhooks.template import check, render
from tests.webhooks.conftest import CONTENT, JSON, event


def body_of(template, given_=None):
    check(template)
    return render(template, given_ or event(pin=4711, key=CONTENT, items=[1, 2], user=None))


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ("{{ event | tojson }}", event()),
        ('{"text": {{ event.type | tojson }}}', {"text": "card-completed"}),
        ('  {"n": {{ event["data"]["note"] | length }} }\n', {"n": len(CONTENT)}),
        ("[{% for name in event %}{{ name | tojson }}{{ ', ' if not loop.last }}{% endfor %}]", ["type", "id", "data"]),
        ('{% if event.type == "card-completed" %}{"done": true}{% else %}{}{% endif %}', {"done": True}),
        ("{{ event.nothing | default('none') | tojson }}", "none"),
        ("{% set of = event.data %}{{ of.note | upper | tojson }}", CONTENT.upper()),
        ("{% macro as(value) %}{{ value | tojson }}{% endmacro %}{{ as(event.id) }}", "evt_1"),
        ("{{ {'a': range(3) | list} | tojson }}", {"a": [0, 1, 2]}),
        ("null", None),
    ],
)
def test_a_template_shapes_the_body(template, body):
    assert json.loads(body_of(template, event())) == body


@given(value=JSON)
def test_tojson_writes_what_the_event_has(value):
    assert json.loads(render("{{ event.data | tojson }}", {"data": value})) == value


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ event.type", "does not parse: line 1: unexpected end of template"),
        ("{}\n{% if %}{% endif %}", "does not parse: line 2"),
        ("{{ event | nope }}", "No filter named 'nope'"),
        ("{{ event is nope }}", "No test named 'nope'"),
        ("{{ nope }} {{ also }}", "also, nope: is not known; a template sees `event`"),
        ("{{ caller() }}", "caller: is not known"),
        ("{% include 'x' %}", "line 1: a template stands alone"),
        ("\n{% import 'x' as x %}", "line 2: a template stands alone"),
        ("{% from 'x' import y %}", "a template stands alone"),
        ("{% extends event.type %}", "a template stands alone"),
        ("{{ event.__class__ }}", r"'__class__' reaches outside of the sandbox.*event\[\"__class__\"\]"),
        ("{{ event.x.__init__.__globals__ }}", "reaches outside of the sandbox"),
        ("{{ lipsum.__globals__ }}", "reaches outside of the sandbox"),
        ("{{ self._TemplateReference__context }}", "reaches outside of the sandbox"),
        ("{% for a in event %}" * 25 + "{% endfor %}" * 25, "does not parse: it is nested too deeply"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "does not parse: it is nested too deeply"),
    ],
)
def test_a_template_that_can_never_make_a_body_is_refused_with_its_subscription(template, why):
    with pytest.raises(ValueError, match=rf"(?s)body_template.*{why}"):
        WebhookSubscription(url="https://a.example", body_template=template)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ('{{ event | attr("__class__") }}', "access to attribute '__class__' of 'dict' object is unsafe"),
        ('{{ event["__class__"] }}', "access to attribute '__class__' of 'dict' object is unsafe"),
        ('{{ event["__class__"]["__mro__"] | tojson }}', "access to attribute '__class__'"),
        ('{{ event["data"]["__init__"]["__globals__"] }}', "access to attribute '__init__'"),
        ('{{ lipsum["__globals__"] }}', "access to attribute '__globals__'"),
        ('{{ cycler | attr("__init__") }}', "access to attribute '__init__'"),
        ('{{ self | attr("_TemplateReference__context") }}', "access to attribute '_TemplateReference__context'"),
        ("{{ '{0.__class__}'.format(event) | tojson }}", "access to attribute '__class__'"),
        ("{{ ('{0.__class__}' | attr('format'))(event) | tojson }}", "access to attribute '__class__'"),
        ("{{ ['{0.__class__}'] | map('attr', 'format') | first }}", "does not yield JSON"),
        ("{{ '{x.__class__}'.format_map({'x': event}) | tojson }}", "access to attribute '__class__'"),
        ("{{ [event] | map(attribute='__class__') | list | tojson }}", "access to attribute '__class__'"),
        ("{{ event.pop('type') | tojson }}", "access to attribute 'pop'"),
        ("{{ event.update({'a': 1}) | tojson }}", "access to attribute 'update'"),
        ("{{ range(1000000) | list | tojson }}", "fails with a OverflowError"),
        ("{{ self }}", "does not yield JSON"),
        ("{{ event.pop | tojson }}", r"body_template: .*line 1"),
    ],
)
def test_nothing_outside_of_the_event_is_reached(template, why):
    with pytest.raises(RequestError, match=why) as refusal:
        body_of(template)

    assert "class 'dict'" not in str(refusal.value)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ event.data.note }}", "does not yield JSON .*tojson"),
        ('{"a": "{{ event.data.note }}" "}', "does not yield JSON"),
        ("{{ event }}", "does not yield JSON"),
        ("", "does not yield JSON"),
        ('{"a": NaN}', "NaN is none of its values"),
        ("[{{ 1e308 * 10 }}]", "does not yield JSON"),
        ("[-Infinity]", "-Infinity is none of its values"),
        ('"\\ud800{{ "\\ud800" }}"', "does not yield JSON"),
        ("{{ event.nothing }}", "'dict object' has no attribute 'nothing' .line 1."),
        ("\n\n{{ event.nothing | tojson }}", "'dict object' has no attribute 'nothing' .line 3."),
        ("{{ event.nothing.deeper }}", "has no attribute 'nothing'"),
        ("{{ event.user.name }}", "has no attribute 'name'"),
        ("{% if 1 > 2 %}{% set x = 1 %}{% endif %}{{ x }}", "x: is not known"),
        ("{{ event[event.key] }}", "asks for a field that is not there"),
        ("{{ event[event.key] | tojson }}", "asks for a field that is not there"),
        ("{{ event['items'][event.pin] }}", "asks for a field that is not there"),
        ("{{ event | attr(event.key) }}", "asks for a field that is not there"),
        ("{{ event.data.note + 1 }}", "fails with a TypeError .line 1."),
        ("{{ event.data.note | from_json }}", "No filter named"),
        ("{{ event.pin / 0 }}", "fails with a ZeroDivisionError"),
        ("{{ (1,) | map(**{event.key: 1}) | list }}", "asks for a field"),
        ("[" * 100_000, "nested too deeply|does not yield JSON"),
        ("{{ 9 ** 9 ** 9 }}", "asks for .* what it may not have"),
        ("{{ ('x' * 9999999999) | tojson }}", "asks for .* what it may not have"),
        ("{{ (event['items'] * 9999999999) | tojson }}", "asks for .* what it may not have"),
        (
            "{{ event.data.note | center(1048576) | tojson }}",
            "body_template: has 1048578 bytes as JSON, and 1048576 are the most",
        ),
    ],
)
def test_what_makes_no_body_is_refused_and_quotes_nothing_of_the_event(template, why):
    with pytest.raises(ValueError, match=why) as refusal:
        body_of(template)

    assert CONTENT not in str(refusal.value)
    assert "4711" not in str(refusal.value)
    assert not isinstance(refusal.value, RequestError) or refusal.value.__context__ is None


def test_what_makes_no_body_is_neither_stored_nor_sent(tell, subscribe, server, outbox_path):
    with pytest.raises(RequestError, match="body_template"):
        tell(event(), subscribe(body_template="{{ event.nothing | tojson }}"))

    assert not server.requests
    assert not outbox_path.exists()

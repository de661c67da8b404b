"""The paths of Marketo's bulk API, and the parameters that each of them takes."""

from collections.abc import Callable
from functools import partial

from prefect_atomic.sandbox import marketo_exports, marketo_imports
from prefect_atomic.sandbox.marketo_answers import fail
from prefect_atomic.sandbox.marketo_state import MarketoState
from prefect_atomic.sandbox.wire import Answer, Received

Operation = Callable[[MarketoState, Received], Answer]
Served = tuple[str, Operation, frozenset[str], str]  # path, operation, methods, about
REPEATED = ("status",)


def routes() -> list[Served]:
    """All that it serves, under `/bulk/v1`."""
    objects, members = "customobjects/{apiName}/import", "program/members/import/{batchId}"
    leads, of_object = "leads/batch/{batchId}", "customobjects/{apiName}/import/{batchId}"
    lead_parameters = ("format", "lookupField", "partitionName", "listId")
    return [
        _post("leads", marketo_imports.create_leads, "imports leads", *lead_parameters),
        _get(leads, marketo_imports.leads_status, "how an import of leads is"),
        *_returned(leads, marketo_imports.leads_returned),
        _post(objects, marketo_imports.create_objects, "imports custom objects", "format"),
        _get(f"{of_object}/status", marketo_imports.objects_status, "how an import of custom objects is"),
        *_returned(of_object, marketo_imports.objects_returned),
        _post(
            "program/{programId}/members/import",
            marketo_imports.create_members,
            "imports program members",
            "format",
            "programMemberStatus",
        ),
        _get(f"{members}/status", marketo_imports.members_status, "how an import of program members is"),
        *_returned(members, marketo_imports.members_returned),
        *_exports("leads", marketo_exports.create_leads),
        *_exports("activities", marketo_exports.create_activities),
    ]


def _returned(of: str, operation: Operation) -> list[Served]:
    return [
        _get(f"{of}/failures", operation, "the rows that failed"),
        _get(f"{of}/warnings", operation, "the rows that Marketo warns of"),
    ]


def _exports(kind: str, create: Operation) -> list[Served]:
    one = f"{kind}/export/{{exportId}}"
    listed = partial(marketo_exports.listed, kind)
    return [
        _get(f"{kind}/export", listed, f"exports of {kind}", "status", "batchSize", "nextPageToken"),
        _post(f"{kind}/export/create", create, f"makes an export of {kind}"),
        _post(f"{one}/enqueue", partial(marketo_exports.enqueue, kind), "starts an export"),
        _post(f"{one}/cancel", partial(marketo_exports.cancel, kind), "ends an export"),
        _get(f"{one}/status", partial(marketo_exports.status, kind), "how an export is"),
        _get(f"{one}/file", partial(marketo_exports.file, kind), "the file of an export"),
    ]


def _get(path: str, operation: Operation, about: str, *parameters: str) -> Served:
    return _served(path, operation, "GET", about, parameters)


def _post(path: str, operation: Operation, about: str, *parameters: str) -> Served:
    return _served(path, operation, "POST", about, parameters)


def _served(path: str, operation: Operation, method: str, about: str, parameters: tuple[str, ...]) -> Served:
    return f"/bulk/v1/{path}.json", partial(_checked, operation, parameters), frozenset({method}), about


def _checked(operation: Operation, parameters: tuple[str, ...], state: MarketoState, received: Received) -> Answer:
    names = [name for name, _ in received.query_pairs]
    for name in names:
        if name not in parameters or (names.count(name) > 1 and name not in REPEATED):
            fail(1003, f"Invalid parameter '{name}': it is {'repeated' if name in parameters else 'not known'}")
    return operation(state, received)

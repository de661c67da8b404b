"""Marketo's REST API as Adobe describes it (a Swagger 2.0 file), to judge answers with, and requests with Prism.

The description is not part of this project: :func:`load` finds it beside the project, or says why it is missing.

It is at odds with Adobe's own pages, whose examples it would refuse. Those places are put right here and nowhere
else, each with the reason; whatever a request is judged by becomes stricter, unless one of these pages shows the
contrary: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/rest-api
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from jsonschema import Draft4Validator  # type: ignore[import-untyped]

from tests.e2e.servers import missing

_SHARED = Path(os.environ.get("PREFECT_ATOMIC_SHARED") or Path(__file__).parents[2].parent / "shared")
FILE = _SHARED / "specs" / "marketo-rest.json"

# What an answer surely has. The description wants more of these: what only some calls, or only successes, tell.
_SURE = {
    "Campaign": ("id",),  # scheduled or requested, it is but its id
    "CustomActivity": (),  # an added one is its ids and status, a skipped one its status and errors
    "CustomObject": ("seq",),  # a skipped one has no marketoGUID
    "ImportCustomObjectResponse": ("batchId", "objectApiName", "status"),  # the rest comes with the status
    "ImportLeadResponse": ("batchId", "status"),
    "ProgramMemberDataResponse": ("seq", "status"),  # a skipped one has no leadId
    "ProgramMemberDeleteResponse": ("seq", "status"),
    "ProgramMemberStatusResponse": ("seq", "status"),
    "LeadField": ("displayName", "name", "dataType"),
    # `status`, which it wants, is no property of it; `apiName`, `pluralName` and `version` are those of its schema
    "ObjectMetaData": ("createdAt", "dedupeFields", "displayName", "idField", "searchableFields", "updatedAt"),
}

# Records that are sent share a definition with those that come back, which have more: what is sent has these.
_SENT = {
    "Attribute": ("value",),
    "CustomActivity": ("leadId", "activityDate", "activityTypeId", "primaryAttributeValue", "attributes"),
    "CustomObject": (),
}
_SENT_IN = (
    "CustomActivityRequest",
    "DeleteCustomObjectRequest",
    "LookupCustomObjectRequest",
    "SyncCustomObjectRequest",
)

# A job takes one filter; the description wants them all at once.
_ONE_OF = ("ExportCustomObjectFilter", "ExportLeadFilter")

# What has no names of the caller's own in it, apart from the requests themselves.
_CLOSED = (
    "DateRange",
    "ExportActivityFilter",
    "ExportCustomObjectFilter",
    "ExportLeadFilter",
    "ExportProgramMemberFilter",
    "InputLead",
    "LeadInputData",
    "LeadLookupInputData",
    "ProgramMemberDelete",
    "ProgramMemberStatus",
    "ScheduleCampaignData",
    "Token",
    "TriggerCampaignData",
    "UpdateLeadPartition",
)

_IS_FILE = ("/file.json", "/failures.json", "/warnings.json")


@dataclass(frozen=True)
class Description:
    """The description, put right. ``document`` is Swagger 2.0."""

    document: Mapping[str, Any]

    @classmethod
    def load(cls) -> Self:
        """Adobe's description; skips the test (or fails it in CI) where it is not."""
        if not FILE.is_file():
            missing(
                f"Adobe's description of Marketo is not at {FILE} (PREFECT_ATOMIC_SHARED names its folder), so nobody "
                "but us judges these calls"
            )
        document = json.loads(FILE.read_text())
        _put_right(document)
        return cls(document)

    def template_of(self, method: str, path: str) -> str:
        """The path as it is described, such as ``/rest/v1/lead/{leadId}.json``; LookupError if it is not."""
        found = [
            template
            for template, pattern in self._patterns
            if method.lower() in self.document["paths"][template] and pattern.fullmatch(path)
        ]
        if not found:
            raise LookupError(f"{method} {path} is not described")
        return min(found, key=lambda template: template.count("{"))

    def query_names(self, method: str, template: str) -> frozenset[str]:
        """The names that the query of a call may have."""
        parameters = self.document["paths"][template][method.lower()].get("parameters", [])
        return frozenset(each["name"] for each in parameters if each["in"] == "query")

    def faults(self, method: str, template: str, answer: Any) -> Iterator[str]:
        """What is wrong with an answer of JSON, each in a line. Formats (of dates) are not looked at.

        Adobe's pages show dates of three formats, and an offset without a colon, which is no `date-time`.
        """
        if isinstance(answer, dict) and "success" in answer and answer["success"] is not (not answer.get("errors")):
            yield f"success: is {answer['success']}, and errors are {answer.get('errors')}"
        response = self.document["paths"][template][method.lower()]["responses"]["200"]
        if isinstance(answer, dict) and answer.get("success") is False and "schema" not in response:
            response = {"schema": {"$ref": "#/definitions/ResponseWithoutResult"}}
        if "schema" not in response:
            yield "the answer is JSON, and a file is described"
            return
        validator = Draft4Validator({**response["schema"], "definitions": self.document["definitions"]})
        for error in validator.iter_errors(answer):
            yield f"{'.'.join(map(str, error.absolute_path)) or 'the answer'}: {error.message}"

    def assert_valid(self, method: str, template: str, answer: Any) -> None:
        """Assert that an answer of JSON is as it is described."""
        faults = list(self.faults(method, template, answer))
        assert not faults, f"{method} {template} is not answered as Adobe describes it:\n" + "\n".join(faults)

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [
            (template, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))))
            for template in self.document["paths"]
        ]


def _put_right(document: dict[str, Any]) -> None:
    definitions = document["definitions"]
    # Attributes have values of any type; `object` is what the description's generator made of Java's.
    del definitions["Attribute"]["properties"]["value"]["type"]
    _put_right_what_is_sent(definitions)
    _put_right_answers(definitions)
    for path, methods in document["paths"].items():
        for parameter in methods.get("post", {}).get("parameters", []):
            if parameter.get("type") == "file":  # Prism knows no such type, and would take any form
                parameter["type"] = "string"
        if path.endswith(_IS_FILE):  # they are described as streams in JSON
            methods["get"]["produces"] = ["text/csv"]
            methods["get"]["responses"] = {
                status: {"description": "a file"} for status in ("200", *(["206"] if "/export/" in path else []))
            }


def _put_right_what_is_sent(definitions: dict[str, Any]) -> None:
    for name, required in _SENT.items():
        definitions[f"Sent{name}"] = _requiring(copy.deepcopy(definitions[name]), *required)
    definitions["SentAttribute"]["anyOf"] = [{"required": ["name"]}, {"required": ["apiName"]}]
    definitions["SentCustomActivity"]["properties"]["attributes"]["items"] = _reference("SentAttribute")
    for name in _SENT_IN:
        items = definitions[name]["properties"]["input"]["items"]
        items["$ref"] = _reference(f"Sent{items['$ref'].rpartition('/')[2]}")["$ref"]
    for name in _ONE_OF:
        _requiring(definitions[name]).update(minProperties=1, maxProperties=1)
    # One of `programId` and `programIds`, not both.
    program = definitions["ExportProgramMemberFilter"]
    _requiring(program)["oneOf"] = [{"required": ["programId"]}, {"required": ["programIds"]}]
    # Of activities it is the filter alone that is wanted.
    _requiring(definitions["ExportActivityRequest"], "filter")
    # A mapping from the names of fields to those of columns, not one pair that is called `name` and `value`.
    definitions["ColumnHeaderNames"] = {"type": "object", "additionalProperties": {"type": "string"}}
    # The names of its fields stand for any names.
    member = _requiring(definitions["ProgramMemberData"], "leadId")
    member["properties"] = {"leadId": member["properties"]["leadId"]}
    for name, definition in definitions.items():
        if name in _CLOSED or (name.endswith("Request") and "properties" in definition):
            definition["additionalProperties"] = False


def _put_right_answers(definitions: dict[str, Any]) -> None:
    for name, definition in definitions.items():
        if name.startswith("ResponseOf"):  # no `errors` with a success, no `result` without, mostly no `warnings`
            _requiring(definition, "requestId", "success")
    for name, required in _SURE.items():
        _requiring(definitions[name], *required)
    # A lead that was skipped has `reasons`, as all other records have.
    definitions["Lead"]["properties"]["reasons"] = {"type": "array", "items": _reference("Reason")}
    definitions["ProgramMemberStatusResponse"]["properties"]["status"]["enum"].append("created")
    for name in ("ErrorsData", "UsageData"):
        definitions[name]["properties"]["date"]["format"] = "date"


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


def _requiring(definition: dict[str, Any], *names: str) -> dict[str, Any]:
    definition.pop("required", None)
    if names:
        definition["required"] = list(names)
    return definition

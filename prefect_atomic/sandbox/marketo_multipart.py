"""A form of `multipart/form-data` (RFC 7578), as far as an upload of files has one."""

from dataclasses import dataclass
from email.message import Message


class Malformed(ValueError):  # noqa: N818 - an answer, not an error
    """It is no such form; the text says why."""


@dataclass(frozen=True)
class Part:
    """A field of the form; `filename` is None unless it is a file."""

    name: str
    filename: str | None
    content: bytes


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The parts of a body; raises `Malformed`. What precedes the first and follows the last one is not allowed."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise Malformed("the Content-Type has no boundary")
    mark = b"--" + boundary.encode("latin-1", "replace")
    # with the line break that belongs to each mark but the first
    first, *sections = (b"\r\n" + body).split(b"\r\n" + mark)
    if first or len(sections) < 2 or sections.pop() not in (b"--", b"--\r\n"):
        raise Malformed("the body does not start and end with the boundary")
    return [_part(section) for section in sections]


def _part(section: bytes) -> Part:
    head, blank, content = section.partition(b"\r\n\r\n")
    if not head.startswith(b"\r\n") or not blank:
        raise Malformed("a part has no headers")
    headers = Message()
    for line in head[2:].split(b"\r\n"):
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon:
            raise Malformed("a header of a part has no colon")
        headers[name.strip()] = value.strip()
    field = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or not isinstance(field, str):
        raise Malformed("a part does not say its name")
    return Part(field, headers.get_filename(), content)

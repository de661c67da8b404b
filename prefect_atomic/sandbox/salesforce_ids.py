"""Record ids: 15 characters whose case matters, and 3 more that say it again."""

import re
import string

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
CAPITALS = str.maketrans({letter: str(int(letter.isupper())) for letter in DIGITS})
CHECKSUM = string.ascii_uppercase + "012345"
SHAPE = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")


def make_id(prefix: str, number: int) -> str:
    """The 18 characters of the id of the record with this number."""
    text = ""
    while number:
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
    return _complete(prefix + text.rjust(12, "0"))


def full_id(text: str) -> str | None:
    """The 18 characters of an id that may have 15; None if it cannot be one."""
    if not SHAPE.fullmatch(text):
        return None
    complete = _complete(text[:15])
    return complete if text in (complete, complete[:15]) else None


def _complete(text: str) -> str:
    # bits that say where the capitals are, the first character last
    capitals = text[::-1].translate(CAPITALS)
    return text + "".join(CHECKSUM[int(capitals[start : start + 5], 2)] for start in (10, 5, 0))

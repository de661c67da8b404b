"""What the sandbox shows of a request that carries secrets."""

import hashlib
import re

_SENSITIVE = re.compile(r"authorization|cookie|api-?key|token|secret|signature|password|x-tenant", re.IGNORECASE)
_QUERY_TOKEN = re.compile(r"(X-Amz-(?:Security-Token|Signature)=)[^&\s]*")


def is_sensitive(header: str) -> bool:
    """Whether a header of this name may hold a secret."""
    return _SENSITIVE.search(header) is not None


def fingerprint(value: str) -> str:
    """Stands for a secret: the same for the same value, and of no use to anyone."""
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:16]}"


def masked_canonical_request(canonical_request: str) -> str:
    """A SigV4 canonical request that may be shown: values that hold secrets are replaced by `***`."""
    lines = []
    for line in canonical_request.split("\n"):
        name, colon, _ = line.partition(":")
        lines.append(f"{name}:***" if colon and is_sensitive(name) else _QUERY_TOKEN.sub(r"\1***", line))
    return "\n".join(lines)

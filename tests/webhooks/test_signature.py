"""Signatures after Standard Webhooks 1.0, judged by the `standardwebhooks` package and, for Ed25519, by libsodium."""

import base64
import json
from datetime import UTC, datetime

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from pydantic import SecretStr
from standardwebhooks import Webhook

from prefect_atomic import WebhookSubscription, verify_webhook
from prefect_atomic.errors import SignatureError
from prefect_atomic.webhooks.event import encoded
from prefect_atomic.webhooks.signature import read_secrets, sign
from tests.webhooks.conftest import EVENTS, JSON, NOW


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


SECRET, OTHER = f"whsec_{b64(bytes(range(32)))}", f"whsec_{b64(bytes(range(100, 132)))}"
SEED = bytes(range(200, 232))
SODIUM = SigningKey(SEED)
PRIVATE, PUBLIC = f"whsk_{b64(SEED)}", f"whpk_{b64(bytes(SODIUM.verify_key))}"
OTHER_PRIVATE = f"whsk_{b64(bytes(range(1, 33)))}"
ED25519 = read_secrets(PRIVATE).private[0]
RSA, P256 = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())

IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
MANY = settings(max_examples=200)


@pytest.fixture(autouse=True)
def _frozen():
    with time_machine.travel(NOW, tick=False):
        yield


def signed(secret=SECRET, body=b'{"a":1}', identifier="evt_1", timestamp=NOW):
    headers = {"webhook-id": identifier, "webhook-timestamp": str(timestamp)}
    return {**headers, "webhook-signature": sign(identifier, timestamp, body, secret)}


def content(identifier, body):
    return f"{identifier}.{NOW}.".encode() + body


@MANY
@given(event=EVENTS, identifier=IDS)
def test_the_standardwebhooks_package_accepts_what_is_signed_with_hmac(event, identifier):
    body = encoded(event)

    assert Webhook(SECRET).verify(body, signed(body=body, identifier=identifier)) == event


@MANY
@given(payload=JSON, identifier=IDS)
def test_what_the_standardwebhooks_package_signs_is_accepted(payload, identifier):
    body = json.dumps(payload)
    signature = Webhook(SECRET).sign(identifier, datetime.fromtimestamp(NOW, UTC), body)
    headers = {"webhook-id": identifier, "webhook-timestamp": str(NOW), "webhook-signature": signature}

    assert verify_webhook(headers, body, SECRET) == payload


@MANY
@given(event=EVENTS, identifier=IDS)
def test_libsodium_accepts_what_is_signed_with_ed25519(event, identifier):
    body = encoded(event)
    version, _, signature = signed(PRIVATE, body, identifier)["webhook-signature"].partition(",")

    assert version == "v1a"
    SODIUM.verify_key.verify(content(identifier, body), base64.b64decode(signature))


@MANY
@given(payload=JSON, identifier=IDS)
def test_what_libsodium_signs_is_accepted(payload, identifier):
    body = json.dumps(payload).encode()
    signature = f"v1a,{b64(SODIUM.sign(content(identifier, body)).signature)}"
    headers = {"webhook-id": identifier, "webhook-timestamp": str(NOW), "webhook-signature": signature}

    assert verify_webhook(headers, body, PUBLIC) == payload


@MANY
@given(
    secret=st.sampled_from([SECRET, PRIVATE]),
    part=st.sampled_from(["body", "webhook-id", "webhook-timestamp", "webhook-signature"]),
    event=EVENTS,
    at=st.integers(min_value=0),
)
def test_one_flipped_bit_is_refused(secret, part, event, at):
    body = encoded(event)
    headers = signed(secret, body)
    version, _, signature = headers["webhook-signature"].partition(",")
    parts = {"body": body, "webhook-signature": base64.b64decode(signature)}
    raw = bytearray(parts.get(part) or headers[part].encode())
    bits = 8 if part in parts else 7  # a header is ASCII
    raw[at // bits % len(raw)] ^= 1 << at % bits
    if part == "body":
        body = bytes(raw)
    else:
        headers[part] = f"{version},{b64(raw)}" if part == "webhook-signature" else raw.decode()

    with pytest.raises(SignatureError):
        verify_webhook(headers, body, secret)


@pytest.mark.parametrize(("secret", "other"), [(SECRET, OTHER), (PRIVATE, OTHER_PRIVATE), (SECRET, PUBLIC)])
def test_another_secret_is_refused(secret, other):
    with pytest.raises(SignatureError, match="No signature of the webhook fits"):
        verify_webhook(signed(secret), b'{"a":1}', other)


@pytest.mark.parametrize("version", ["v0", "v2", "v1a", "V1", ""])
def test_a_signature_counts_only_as_the_version_it_is(version):
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", f"{version},")

    with pytest.raises(SignatureError, match="No signature"):
        verify_webhook(headers, b'{"a":1}', f"{SECRET} {PUBLIC}")


@pytest.mark.parametrize("apart", [-300, 0, 300])
def test_a_timestamp_within_five_minutes_is_accepted(apart):
    assert verify_webhook(signed(timestamp=NOW + apart), b'{"a":1}', SECRET) == {"a": 1}


@pytest.mark.parametrize(("apart", "which"), [(-301, "301 s old"), (301, "301 s in the future; are both clocks right")])
def test_a_timestamp_further_away_is_refused(apart, which):
    with pytest.raises(SignatureError, match=which):
        verify_webhook(signed(timestamp=NOW + apart), b'{"a":1}', SECRET)


def test_the_tolerance_is_the_callers_choice():
    assert verify_webhook(signed(timestamp=NOW - 900), b'{"a":1}', SECRET, tolerance=900) == {"a": 1}


@pytest.mark.parametrize("timestamp", ["", "now", "-5", "1e9", f"{NOW}.0", "١٧٦٧٣٢٣٠٤٥", "9" * 16, f" {NOW}"])
def test_a_timestamp_that_is_no_number_is_refused(timestamp):
    with pytest.raises(SignatureError, match="timestamp"):
        verify_webhook({**signed(), "webhook-timestamp": timestamp}, b'{"a":1}', SECRET)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_webhook_without_one_of_the_headers_was_not_signed(missing):
    headers = signed()
    del headers[missing]

    with pytest.raises(SignatureError, match=f"was not signed: it has no {missing}"):
        verify_webhook(headers, b'{"a":1}', SECRET)


@pytest.mark.parametrize("signature", ["v1", "v1,", ",", "v1,!!!", "v1,YQ", "v1,é", "v1a,YWJj", "v1," + "A" * 100_000])
def test_garbage_for_a_signature_is_refused(signature):
    with pytest.raises(SignatureError, match="No signature"):
        verify_webhook({**signed(), "webhook-signature": signature}, b'{"a":1}', f"{SECRET} {PUBLIC}")


@pytest.mark.parametrize("case", [str.upper, str.title, str.lower])
def test_header_names_are_read_in_any_case(case):
    headers = {case(name): value for name, value in signed().items()}

    assert verify_webhook(headers, b'{"a":1}', SECRET) == {"a": 1}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode])
def test_a_body_is_read_as_bytes_or_text(kind):
    body = '{"a":"é☃😀"}'.encode()

    assert verify_webhook(signed(body=body), kind(body), SECRET) == {"a": "é☃😀"}


@pytest.mark.parametrize("body", ["\ud800", b"\xff", b"", b"{", b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_refused(body):
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body

    with pytest.raises(SignatureError, match="body is not JSON"):
        verify_webhook(signed(body=raw), body, SECRET)


def test_a_secret_may_be_a_secretstr():
    assert verify_webhook(signed(), b'{"a":1}', SecretStr(SECRET)) == {"a": 1}


@pytest.mark.parametrize("receiver", [SECRET, OTHER, f"{OTHER} {SECRET}", PUBLIC, f"{PUBLIC} {OTHER}", PRIVATE])
def test_while_a_secret_is_rotated_every_receiver_accepts(receiver):
    assert verify_webhook(signed(f"{SECRET} {OTHER}\n{PRIVATE}"), b'{"a":1}', receiver) == {"a": 1}


def test_the_standardwebhooks_package_accepts_one_of_several_signatures():
    headers = signed(f"{OTHER} {PRIVATE} {SECRET}")

    assert Webhook(SECRET).verify(b'{"a":1}', headers) == {"a": 1}


PEM = pem(ED25519)


@pytest.mark.parametrize(
    "entered",
    [
        PRIVATE,
        PRIVATE.rstrip("="),
        f"whsk_{b64(SEED + bytes(SODIUM.verify_key))}",
        PEM,
        PEM.replace("\n", " "),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", "\\r\\n"),
        f"  {PEM}  ",
    ],
)
def test_a_private_key_is_read_in_whatever_form_it_was_pasted(entered):
    assert verify_webhook(signed(entered), b'{"a":1}', PUBLIC) == {"a": 1}


@pytest.mark.parametrize("fold", [str, lambda text: text.replace("\n", " "), lambda text: text.replace("\n", "\\n")])
def test_a_public_key_is_read_in_whatever_form_it_was_pasted(fold):
    assert verify_webhook(signed(PRIVATE), b'{"a":1}', fold(public_pem(ED25519))) == {"a": 1}


def test_pems_and_others_stand_side_by_side_in_one_line():
    entered = " ".join([PEM.replace("\n", " "), SECRET, pem(read_secrets(OTHER_PRIVATE).private[0]).replace("\n", " ")])

    keys = read_secrets(entered)

    assert (len(keys.symmetric), len(keys.private), len(keys.public)) == (1, 2, 2)


@pytest.mark.parametrize("length", [24, 64])
def test_the_shortest_and_the_longest_secret_are_accepted(length):
    assert read_secrets(f"whsec_{b64(bytes(length))}").symmetric == (bytes(length),)


HUNTER = b64(b"hunter2-" * 8)
BAD = {
    "spaces": (" \n ", "is empty"),
    "no prefix": (HUNTER, "is no signing secret"),
    "23 bytes": (f"whsec_{b64(b'hunter2-hunter2-hunter2')}", "a secret of 23 bytes"),
    "65 bytes": (f"whsec_{b64(b'hunter2-' * 8 + b'!')}", "a secret of 65 bytes"),
    "no base64": (f"whsec_{HUNTER[:-4]}!!", "other than base64 after whsec_"),
    "url-safe base64": (f"whsec_{HUNTER[:-4]}-_-_", "other than base64 after whsec_"),
    "not ASCII": (f"whsec_{HUNTER}é", "other than base64 after whsec_"),
    "cut base64": (f"whsec_{HUNTER[:41]}", "other than base64 after whsec_"),
    "RSA": (pem(RSA), "a private key of another kind"),
    "EC": (pem(P256).replace("\n", " "), "a private key of another kind"),
    "RSA public": (public_pem(RSA), "a public key of another kind"),
    "cut PEM": (PEM[:60] + PEM[-26:], "does not parse; was it pasted whole"),
    "PEM without end": (PEM[:70], "is no signing secret"),
    "cut public PEM": (public_pem(ED25519)[:50] + public_pem(ED25519)[-25:], "public key that does not parse"),
    "31 bytes": (f"whsk_{b64(b'hunter2-hunter2-hunter2-hunter2')}", "a key of 31 bytes after whsk_"),
    "wrong halves": (f"whsk_{HUNTER}", "halves do not belong together"),
    "public of 33 bytes": (f"whpk_{b64(b'hunter2-' * 4 + b'!')}", "a key of 33 bytes after whpk_"),
    "one of two": (f"{SECRET} {HUNTER}", "is no signing secret"),
}


def subscribe(secret):
    WebhookSubscription(url="https://a.example", signing_secret=secret)


def verify(secret):
    verify_webhook(signed(), b'{"a":1}', secret)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("use", [subscribe, verify])
def test_a_bad_secret_is_refused_and_not_quoted(bad, use):
    secret, why = BAD[bad]

    with pytest.raises(ValueError, match=why) as refusal:
        use(secret)

    told = str(refusal.value) + repr(refusal.value.__cause__)
    assert not any(part[8:24] in told for part in secret.split() if len(part) > 24)


def test_an_empty_secret_verifies_nothing():
    with pytest.raises(ValueError, match="is empty"):
        verify("")


@pytest.mark.parametrize("secret", [PUBLIC, public_pem(ED25519), f"{SECRET} {PUBLIC}"])
def test_a_public_key_cannot_sign(secret):
    with pytest.raises(ValueError, match=r"(?s)signing_secret.*has a public key, which verifies and cannot sign"):
        WebhookSubscription(url="https://a.example", signing_secret=secret)

"""SOAP login: a session for a user's name, and the password with the security token after it."""

from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from prefect_atomic.sandbox.accounts import SalesforceAccount
from prefect_atomic.sandbox.salesforce_sign_in import LIFETIME, ORGANISATION, USER, SignIn
from prefect_atomic.sandbox.wire import Answer, Received

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
PARTNER = "urn:partner.soap.sforce.com"
FAULT = "urn:fault.partner.soap.sforce.com"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
WRONG = "Invalid username, password, security token; or user locked out."
DEEPEST = 20
BETWEEN = " "  # what expat puts between a namespace and a name


def login(account: SalesforceAccount, sign_in: SignIn, received: Received) -> Answer:
    """Answers a session, or the fault that says why not."""
    if received.header("soapaction") is None:
        return _fault("soapenv", "Client", "SOAPAction HTTP header missing")
    try:
        asked = _Login.read(received.body)
    except (expat.ExpatError, ValueError) as error:
        return _fault("soapenv", "Client", f"the request cannot be read: {error}")
    if sign_in.lacks_token(asked.username, asked.password):
        reason = "a security token is required from this address; append it to the password"
        return _fault("sf", "LOGIN_MUST_USE_SECURITY_TOKEN", reason)
    if not sign_in.knows(asked.username, asked.password):
        return _fault("sf", "INVALID_LOGIN", WRONG)
    version = received.path.rpartition("/")[2]
    places = {
        "metadataServerUrl": f"{account.instance_url}/services/Soap/m/{version}/{ORGANISATION[:15]}",
        "passwordExpired": "false",
        "sandbox": "false",
        "serverUrl": f"{account.instance_url}/services/Soap/u/{version}/{ORGANISATION[:15]}",
        "sessionId": sign_in.session(),
        "userId": USER,
    }
    result = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in places.items())
    user = f"<organizationId>{ORGANISATION}</organizationId><sessionSecondsValid>{LIFETIME}</sessionSecondsValid>"
    result = f"<result>{result}<userInfo>{user}</userInfo></result>"
    return _answer(200, f'xmlns="{PARTNER}"', f"<loginResponse>{result}</loginResponse>")


@dataclass
class _Login:
    """The two texts of a login request."""

    texts: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: bytes) -> "_Login":
        found = cls()
        parser = expat.ParserCreate(namespace_separator=BETWEEN)
        parser.StartElementHandler = found.start
        parser.EndElementHandler = found.end
        parser.CharacterDataHandler = found.text
        parser.StartDoctypeDeclHandler = _no_doctype
        parser.Parse(body, True)
        if "username" not in found.texts or "password" not in found.texts:
            raise ValueError("a login has a username and a password")
        return found

    @property
    def username(self) -> str:
        return self.texts["username"]

    @property
    def password(self) -> str:
        return self.texts["password"]

    def start(self, name: str, _: object) -> None:
        if len(self.path) >= DEEPEST:
            raise ValueError("the elements are nested too deeply")
        self.path.append(name)
        if self._inside():
            self.texts.setdefault(name.rpartition(BETWEEN)[2], "")

    def end(self, _: str) -> None:
        self.path.pop()

    def text(self, text: str) -> None:
        if self._inside():
            self.texts[self.path[-1].rpartition(BETWEEN)[2]] += text

    def _inside(self) -> bool:
        head = [f"{ENVELOPE}{BETWEEN}Envelope", f"{ENVELOPE}{BETWEEN}Body", f"{PARTNER}{BETWEEN}login"]
        return len(self.path) == 4 and self.path[:3] == head


def _no_doctype(*_: object) -> None:
    # entities are declared there, and with them a request reads files or becomes gigabytes
    raise ValueError("a request has no document type")


def _fault(prefix: str, code: str, reason: str) -> Answer:
    detail = ""
    if prefix == "sf":
        inner = f"<sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>{reason}</sf:exceptionMessage>"
        detail = f'<detail><sf:LoginFault xsi:type="sf:LoginFault">{inner}</sf:LoginFault></detail>'
    text = escape(f"{code}: {reason}" if detail else reason)
    content = f"<faultcode>{prefix}:{code}</faultcode><faultstring>{text}</faultstring>{detail}"
    return _answer(500, f'xmlns:sf="{FAULT}"', f"<soapenv:Fault>{content}</soapenv:Fault>")


def _answer(status: int, namespace: str, body: str) -> Answer:
    head = f'<soapenv:Envelope xmlns:soapenv="{ENVELOPE}" {namespace} xmlns:xsi="{INSTANCE}">'
    text = f'<?xml version="1.0" encoding="UTF-8"?>{head}<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>'
    return Answer.of_text(text, status=status, content_type="text/xml; charset=utf-8")

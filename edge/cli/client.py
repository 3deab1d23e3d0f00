"""A client of a gateway's API for the command line: pins the CA of the label, keeps the sign-in, explains refusals."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from edge.core.errors import GatewayError

HOME = Path("~/.config/smartstore").expanduser()
FIRST_API = "http://127.0.0.1:8443"
TIMEOUT_S = 20


class ApiFault(GatewayError):
    """The gateway answered with a problem, or not at all."""

    def __init__(
        self,
        detail: str,
        hint: str = "Check the address (--api) and that the gateway runs.",
        document: dict[str, Any] | None = None,
    ) -> None:
        self.hint = hint  # type: ignore[misc]  # each problem brings its own next action
        self.document = document
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Client:
    """One gateway. ca: its CA certificate (PEM), for HTTPS; trust: whether to check the server's certificate at all."""

    api: str
    token: str = ""
    ca: str = ""
    trust: ssl.SSLContext | None = field(default=None, repr=False)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The answer, parsed where it is JSON. Raises ApiFault with the gateway's own words."""
        content, kind, _ = self.fetch(method, path, body, content_type)
        return json.loads(content) if "json" in kind else content.decode("utf-8")

    def fetch(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[bytes, str, str]:
        """(content, content type, header Link) of an answer. Raises ApiFault."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self.api.rstrip("/") + path, data, method=method)
        except ValueError:
            raise ApiFault(f"--api {self.api!r}: expected an address such as https://192.168.1.20:8443") from None
        request.add_header("Content-Type", content_type)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context()) as answer:
                return answer.read(), answer.headers.get("Content-Type", ""), answer.headers.get("Link", "")
        except urllib.error.HTTPError as error:
            raise self._refused(error.read(), error.code) from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise self._unreachable(error) from None

    def health(self) -> dict[str, Any]:
        """How the gateway is, also when it says so with 503. Raises ApiFault."""
        try:
            document: dict[str, Any] = self.call("GET", "/health")
        except ApiFault as fault:
            if fault.document is None or "status" not in fault.document:
                raise
            return fault.document
        return document

    def pages(self, path: str) -> list[Any]:
        """Every row of a list that is given out in pages."""
        rows: list[Any] = []
        while path:
            content, _, link = self.fetch("GET", path)
            rows += json.loads(content)
            path = link.partition("<")[2].partition(">")[0] if 'rel="next"' in link else ""
        return rows

    def _context(self) -> ssl.SSLContext | None:
        if self.trust is not None or not self.api.startswith("https:"):
            return self.trust
        if not self.ca:
            return ssl.create_default_context()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # this CA and no other
        context.load_verify_locations(cadata=self.ca)
        return context

    def _refused(self, content: bytes, status: int) -> ApiFault:
        try:
            problem = json.loads(content)
            cause, detail, hint = problem["cause"], problem["detail"], problem.get("hint") or "See the detail."
        except (ValueError, KeyError, TypeError):
            return ApiFault(f"{self.api}: HTTP {status}: {content[:200]!r}", document=_document(content))
        if status == 401 and cause == "not_signed_in":
            why = "the token is not valid any more" if self.token else "no token"
            steps = "Sign in with `smartstore sign-in NAME`, or send an API token with --token or SMARTSTORE_TOKEN."
            return ApiFault(f"{self.api}: {why} ({cause})", steps)
        return ApiFault(f"{detail} ({cause})", hint)

    def _unreachable(self, error: Exception) -> ApiFault:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            hint = "Claim it with the link of its label, which names its CA, or give the CA with --ca ca.pem."
            return ApiFault(f"{self.api}: its certificate is not trusted: {reason.verify_message}", hint)
        if isinstance(reason, ConnectionRefusedError):
            return ApiFault(f"{self.api}: no gateway answers there: {reason.strerror}")
        return ApiFault(f"{self.api}: {reason}")


def _document(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Kept:
    """What the last claim or sign-in left for the commands that follow."""

    api: str = ""
    token: str = ""
    ca: str = ""


def read_kept(home: Path) -> Kept:
    """What is kept, nothing where nothing (usable) is."""
    try:
        row = json.loads((home / "gateway.json").read_text(encoding="utf-8"))
        return Kept(str(row["api"]), str(row["token"]), str(row["ca"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Kept()


def keep(home: Path, kept: Kept) -> None:
    """Keep address, token and CA, for this user only (0600)."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = home / "gateway.json"
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"api": kept.api, "token": kept.token, "ca": kept.ca}, file)


def client_of(api: str, token: str, ca: Path | None, home: Path = HOME) -> Client:
    """A client by the options, else the environment, else what the last claim or sign-in left. Raises ApiFault."""
    kept = read_kept(home)
    place = api or os.environ.get("SMARTSTORE_API", "") or kept.api or FIRST_API
    known = kept if place.rstrip("/") == kept.api.rstrip("/") else Kept()
    try:
        pem = ca.read_text(encoding="ascii") if ca is not None else known.ca
    except (OSError, ValueError) as error:
        raise ApiFault(f"--ca {ca}: {error}: expected the gateway's ca.pem", "Name a file that can be read.") from None
    return Client(place, token or os.environ.get("SMARTSTORE_TOKEN", "") or known.token, pem)


def nobody(client: Client) -> Client:
    """The same without a token: for who signs in."""
    return replace(client, token="")


def claim(label: str, name: str, pin: str, client: Client, home: Path = HOME) -> dict[str, Any]:
    """Claim the gateway by its label (the code, or the whole link of the QR code) and keep the sign-in."""
    code = label
    if "://" in label:
        parts = urlsplit(label)
        said = parse_qs(parts.fragment)
        code, fingerprint = said.get("code", [""])[0], said.get("ca", [""])[0]
        client = pinned(f"{parts.scheme}://{parts.netloc}", fingerprint)
    answer: dict[str, Any] = client.call("POST", "/v1/claim", {"code": code, "name": name, "pin": pin})
    keep(home, Kept(client.api, answer["token"], client.ca))
    return {"claimed": True, "name": name, "role": answer["role"], "api": client.api}


def sign_in(name: str, pin: str, client: Client, home: Path = HOME) -> dict[str, Any]:
    """Sign in and keep the token."""
    answer: dict[str, Any] = client.call("POST", "/v1/session", {"name": name, "pin": pin})
    keep(home, Kept(client.api, answer["token"], client.ca))
    return {"name": name, "role": answer["role"], "api": client.api}


def pinned(api: str, fingerprint: str) -> Client:
    """A client that trusts the CA with this SHA-256 and no other. Raises ApiFault where the gateway has another."""
    if not api.startswith("https:") or not fingerprint:
        return Client(api)
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE  # nothing is sent; what comes is compared below
    pem = str(Client(api, trust=blind).call("GET", "/v1/ca.pem"))
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError:
        found = "no certificate"
    if found != fingerprint.lower().replace(":", ""):
        detail = f"{api}: its CA has the fingerprint {found}: expected {fingerprint}, as the label says"
        raise ApiFault(detail, "Somebody may stand between: do not type the code, check the cable and the label.")
    return Client(api, ca=pem)


def path_of(*parts: str, **query: object) -> str:
    """A path of the API with its parts and query encoded."""
    asked = urlencode({name: value for name, value in query.items() if value not in ("", None)})
    return "/" + "/".join(quote(part, safe="") for part in parts) + (f"?{asked}" if asked else "")

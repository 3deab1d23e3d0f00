"""Enrolment: with a signed bundle this gateway becomes a store of a platform, and stays one by itself.

The bundle's signature shows that nobody changed it; that it comes from the right platform shows the fingerprint of its
key, which a person compares, unless this gateway trusts the key already. Certificates are renewed, with a new key, when
two thirds of their life are over.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge.access.audit import Audit, Keyed
from edge.access.bundle import Bundle, fingerprint, read_bundle, read_document
from edge.access.errors import AccessDenied
from edge.access.store_certificate import Checked, check_certificate, new_request, sign_request
from edge.core.fact import JsonValue
from edge.core.instant import TimeQuality
from edge.core.ports import Clock
from edge.files import PRIVATE, write_whole

KEY = "enrolment"
RENEW_AFTER = 2 / 3
LOOK_S = 600.0


class PlatformDoor(Protocol):
    """How the platform is reached; the composition root knows signatures and HTTPS."""

    def genuine(self, document: Mapping[str, JsonValue], keys: Mapping[str, str]) -> bool:
        """Whether the bundle was signed by the key that it names, out of these (name → base64)."""
        ...

    async def call(self, url: str, body: Mapping[str, str], ca: str) -> dict[str, Any]:
        """POST over HTTPS, with this CA only. Raises AccessDenied: platform_unreachable, platform_refused."""
        ...


@dataclass(frozen=True, slots=True)
class EnrolmentPorts:
    """What the composition root wires in. `trusted`: keys (name → base64) that need no comparison; `adopt` makes this
    gateway the named store, or raises; `changed` is told when the link must be made anew."""

    keyed: Keyed
    clock: Clock
    audit: Audit
    folder: Path
    door: PlatformDoor
    trusted: Callable[[], Mapping[str, str]]
    adopt: Callable[[str, str], Awaitable[None]]
    changed: Callable[[], None]


class Enrolment:
    """Lives on the loop. Keeps key and certificate in `folder`, everything else in the journal."""

    def __init__(self, ports: EnrolmentPorts) -> None:
        self.cause = ""
        """Why the last renewal failed; "" when it did not."""
        self._ports = ports
        self._busy = asyncio.Lock()

    @property
    def row(self) -> dict[str, Any] | None:
        """What is kept: tenant, store, hosts, enrol_url, keys, serial, validity (µs); None before enrolment."""
        row = self._ports.keyed.get(KEY)
        return dict(row) if isinstance(row, dict) else None

    def file(self, kind: str) -> Path:
        """The file of the present ``ca``, ``certificate`` or ``key`` (PEM)."""
        row = self.row or {}
        names = {"ca": "ca.pem", "certificate": f"{row.get('serial')}.pem", "key": f"{row.get('serial')}.key"}
        return self._ports.folder / names[kind]

    def state(self) -> dict[str, Any]:
        """For people: whether and where, until when the certificate lasts, when it is renewed, what is wrong."""
        row = self.row
        if row is None:
            return {"enrolled": False, "cause": self.cause}
        return {
            "enrolled": True,
            **{name: row[name] for name in ("tenant", "store", "hosts", "enrol_url", "by", "at_us")},
            "keys": {name: fingerprint(text) for name, text in row["keys"].items()},
            "serial": row["serial"],
            "not_before_us": row["not_before_us"],
            "not_after_us": row["not_after_us"],
            "renew_at_us": _renew_at_us(row),
            "expired": self._ports.clock.now().wall_us > row["not_after_us"],
            "cause": self.cause,
        }

    # --- enrolling ----------------------------------------------------------------------------------------------------

    def check(self, text: str) -> dict[str, Any]:
        """What a bundle says, for a person to compare before it is used. Raises PlainError, AccessDenied."""
        document = read_document(text)
        bundle = read_bundle(document)
        if not self._ports.door.genuine(document, bundle.keys):
            raise AccessDenied("signature", f"key {bundle.key!r} did not sign this bundle", "Ask for a new bundle.")
        self._refuse_other(bundle)
        now = self._ports.clock.now()
        if now.quality is not TimeQuality.UNSET and now.wall_us > bundle.expires_us:
            raise AccessDenied("bundle_expired", f"the bundle expired {bundle.expires}", "Ask for a new bundle.")
        return {
            "tenant": bundle.tenant,
            "store": bundle.store,
            "hosts": list(bundle.hosts),
            "enrol_url": bundle.enrol_url,
            "expires": bundle.expires,
            "key": bundle.key,
            "fingerprint": bundle.fingerprint,
            "trusted": bundle.keys[bundle.key] in self._trusted(),
        }

    def _trusted(self) -> set[str]:
        row = self.row
        return {*self._ports.trusted().values(), *(row["keys"].values() if row else ())}

    def _refuse_other(self, bundle: Bundle) -> None:
        """Facts of one store never go to another: that needs an empty journal."""
        row = self.row
        if row is not None and (row["tenant"], row["store"]) != (bundle.tenant, bundle.store):
            detail = f"this gateway is {row['tenant']}/{row['store']}, the bundle is for {bundle.tenant}/{bundle.store}"
            raise AccessDenied("other_store", detail, "Wipe the gateway first: deploy/install.sh --uninstall --wipe.")

    async def enrol(self, text: str, confirmed: str, actor: str) -> dict[str, Any]:
        """Become the bundle's store; `confirmed` is the fingerprint that a person compared, needless for a trusted key.

        Returns the state. Raises PlainError, AccessDenied; then nothing has changed.
        """
        async with self._busy:
            summary = self.check(text)
            if not summary["trusted"] and _plain(confirmed) != _plain(summary["fingerprint"]):
                detail = f"the platform's key has the fingerprint {summary['fingerprint']}"
                raise AccessDenied("fingerprint", detail, "Compare it with what the platform shows, then confirm it.")
            bundle = read_bundle(read_document(text))
            key, request = new_request(bundle.tenant, bundle.store)
            body = {"token": bundle.token, "request": request.decode()}
            answer = await self._ports.door.call(_url(bundle.enrol_url, "enrol"), body, bundle.ca)
            row = {
                "tenant": bundle.tenant,
                "store": bundle.store,
                "hosts": list(bundle.hosts),
                "enrol_url": bundle.enrol_url,
                "keys": dict(bundle.keys),
                "ca": bundle.ca,
                "by": actor,
                "at_us": self._ports.clock.now().wall_us,
            }
            checked = self._checked(answer, key, row)
            await self._ports.adopt(bundle.tenant, bundle.store)
            await self._keep(row, checked, answer["certificate"], key)
            await self._ports.audit.add(actor, "enrol", f"{bundle.tenant}/{bundle.store}", summary["fingerprint"])
            return self.state()

    def _checked(self, answer: Mapping[str, Any], key: bytes, row: Mapping[str, Any]) -> Checked:
        certificate = answer.get("certificate")
        if not isinstance(certificate, str):
            raise AccessDenied("certificate", "the platform's answer has no certificate", "Ask the platform.")
        name = f"{row['tenant']}/{row['store']}"
        return check_certificate(certificate, key, row["ca"], name, self._ports.clock.now().wall_us)

    async def _keep(self, row: dict[str, Any], checked: Checked, certificate: str, key: bytes) -> None:
        """Files of their own for each serial number first, then the row that names them: whole or not at all."""
        folder, old = self._ports.folder, self.row
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(folder / f"{checked.serial}.key", key, PRIVATE)
        write_whole(folder / f"{checked.serial}.pem", certificate.encode(), PRIVATE)
        write_whole(folder / "ca.pem", row["ca"].encode(), PRIVATE)
        row |= {"serial": checked.serial, "not_before_us": checked.not_before_us, "not_after_us": checked.not_after_us}
        await self._ports.keyed.put(KEY, row)
        self.cause = ""
        self._ports.changed()
        if old is not None and old["serial"] != checked.serial:
            for suffix in ("key", "pem"):
                (folder / f"{old['serial']}.{suffix}").unlink(missing_ok=True)

    # --- staying enrolled ---------------------------------------------------------------------------------------------

    async def run(self, alarm: Callable[[str], None], look_s: float = LOOK_S) -> None:
        """Renew when it is due, until cancelled. What fails is an alarm, and is tried again after ten minutes."""
        while True:
            if self.is_due():
                try:
                    await self.renew("gateway")
                except AccessDenied as error:
                    self.cause = f"{error.cause}: {error.detail}"
            alarm(self.cause)
            await asyncio.sleep(look_s)

    def is_due(self) -> bool:
        """Whether two thirds of the certificate's life are over, by a clock that is known."""
        row, now = self.row, self._ports.clock.now()
        return row is not None and now.quality is not TimeQuality.UNSET and now.wall_us >= _renew_at_us(row)

    async def renew(self, actor: str) -> dict[str, Any]:
        """A new key and its certificate; the present one proves who asks. Returns the state. Raises AccessDenied."""
        async with self._busy:
            row = self.row
            if row is None:
                raise AccessDenied("not_enrolled", "this gateway has no certificate yet", "Enrol it with a bundle.")
            key, request = new_request(row["tenant"], row["store"])
            answer = await self._ask(row, "renew", request)
            await self._keep(row, self._checked(answer, key, row), answer["certificate"], key)
            await self._ports.audit.add(actor, "renew_certificate", f"{row['tenant']}/{row['store']}")
            return self.state()

    async def ask(self, path: str, request: bytes) -> dict[str, Any]:
        """What the platform answers this store to a signing request (PEM). Raises AccessDenied."""
        async with self._busy:
            if self.row is None:
                raise AccessDenied("not_enrolled", "this gateway has no certificate yet", "Enrol it with a bundle.")
            return await self._ask(self.row, path, request)

    async def _ask(self, row: Mapping[str, Any], path: str, request: bytes) -> dict[str, Any]:
        """The present key shows who asks."""
        body = {
            "certificate": self.file("certificate").read_text(encoding="ascii"),
            "request": request.decode(),
            "signature": base64.b64encode(sign_request(self.file("key").read_bytes(), request)).decode(),
        }
        return await self._ports.door.call(_url(row["enrol_url"], path), body, row["ca"])


def _renew_at_us(row: Mapping[str, Any]) -> int:
    begins, ends = int(row["not_before_us"]), int(row["not_after_us"])
    return round(begins + (ends - begins) * RENEW_AFTER)


def _plain(text: str) -> str:
    """A fingerprint without what people put between its digits."""
    return "".join(letter for letter in text.upper() if letter.isalnum())


def _url(base: str, name: str) -> str:
    return f"{base.rstrip('/')}/v1/{name}"

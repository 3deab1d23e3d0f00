"""Phones of shoppers, honest and not, as clients of the store's HTTP interface (RFC 9112), over plain streams.

A phone hears a beacon, consents, asks for the offers of the place, shows one at a till, withdraws. A cheat replays a
beacon that is nowhere, shows an offer twice, changes or invents a signature, or asks without end.
"""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass
class Phone:
    """One phone (or till, with a token) on the store's Wi-Fi."""

    host: str
    port: int
    token: str = ""
    receipt: str = ""
    account: str = ""
    """What the shop's app would tell of its user with every request; no store may ever keep it."""
    etags: dict[str, tuple[str, Any]] = field(default_factory=dict)

    async def call(self, method: str, path: str, body: Any = None, etag: str = "") -> tuple[int, dict[str, str], Any]:
        """(status, headers, document) of one request on its own connection."""
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Connection: close"]
        lines += [f"Content-Length: {len(payload)}", "Content-Type: application/json"]
        if self.account:
            lines += [f"User-Agent: shop-app/5.1 (account {self.account})", f"Cookie: account={self.account}"]
        if self.receipt:
            lines.append(f"X-Consent: {self.receipt}")
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if etag:
            lines.append(f"If-None-Match: {etag}")
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + payload)
            head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if not head:
            raise ConnectionResetError(f"{method} {path}: the store ended the connection without an answer")
        rows = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows[1:])}
        return int(rows[0].split()[1]), headers, json.loads(rest) if rest else None

    async def consent(self, *purposes: str) -> None:
        """Agree (to offers, where nothing else is said); keep the receipt."""
        body = {"purposes": purposes or ["offers"], "notice_version": "1"}
        _, _, answer = await self.call("POST", "/v1/shopper/consent", body)
        self.receipt = answer["receipt"]

    async def check_in(self, beacon: str) -> dict[str, Any]:
        """Tell that the owner is here: {subject_id, advertise: what to send from now on, where that was agreed to}."""
        _, _, answer = await self.call("POST", "/v1/shopper/check-in", {"method": "app", "beacon": beacon})
        told: dict[str, Any] = answer
        return told

    async def offers(self, beacon: str) -> tuple[int, list[dict[str, Any]]]:
        """(status, offers) of the place that a beacon marks; what did not change comes from memory."""
        path = f"/v1/offers?beacon={quote(beacon)}"
        etag, known = self.etags.get(path, ("", []))
        status, headers, answer = await self.call("GET", path, etag=etag)
        if status == 200:
            self.etags[path] = headers["etag"], answer["offers"]
            return status, answer["offers"]
        return status, known if status == 304 else []

    async def withdraw(self) -> int:
        """Withdraw the consent."""
        status, _, _ = await self.call("DELETE", "/v1/shopper/consent")
        self.receipt = ""
        return status

    async def flood(self, beacon: str, times: int) -> list[int]:
        """Ask many times at once; the statuses."""
        answers = await asyncio.gather(*(self.offers(beacon) for _ in range(times)))
        return [status for status, _ in answers]


async def redeem(till: Phone, offer: str, name: str, reference: str) -> tuple[int, str]:
    """(status, cause) of showing an offer at a till that is signed in."""
    body = {"token": offer, "till": name, "reference": reference}
    status, _, answer = await till.call("POST", "/v1/offers/redeem", body)
    return status, answer.get("cause", "")


def tampered(offer: str) -> str:
    """The same signature under another promotion."""
    body, _, signature = offer.partition(".")
    fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    fields[3] = "everything-free"
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode() + "." + signature

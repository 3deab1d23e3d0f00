"""The demo claims its own gateway, as a technician would: a name and a PIN for people, a token for its screen."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.cli.client import Client

NAME = "demo"
WATCHER = "demo-screen"
TILL = "demo-till"


@dataclass(frozen=True, slots=True)
class SignIn:
    """How to sign in (admin), and the tokens of the demo's own screen (viewer) and of its till (staff)."""

    name: str
    pin: str
    token: str
    till: str = ""


def claim_own(api: str, code: str, directory: Path) -> SignIn:
    """Claim with the code that the gateway showed; one that was claimed by an earlier demo in this folder is known.

    Raises ApiFault where the gateway refuses.
    """
    kept = directory / "sign-in.json"
    if not code:
        return SignIn(**json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else SignIn("", "", "")
    pin = f"{secrets.randbelow(10**8):08d}-{NAME}"  # never a string of two characters, which is refused as too weak
    admin = Client(api, Client(api).call("POST", "/v1/claim", {"code": code, "name": NAME, "pin": pin})["token"])
    token = admin.call("POST", "/v1/tokens", {"name": WATCHER, "role": "viewer"})["token"]
    till = admin.call("POST", "/v1/tokens", {"name": TILL, "role": "staff"})["token"]
    sign_in = SignIn(NAME, pin, token, till)
    with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(sign_in), file)
    return sign_in

"""`smartstore beacon`: keys of own beacons that hide behind rotating identifiers (Eddystone-EID)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

from edge.cli.api import Api, Ca, Json, Token, _show, client_of
from edge.cli.client import ApiFault, path_of

beacon = typer.Typer(help="Keys of own beacons that hide behind rotating identifiers.", no_args_is_help=True)

TOLD = "JSON: beacon_public_key, exponent, time_s, eid; or key, exponent, time_s. - reads it from standard input."
File = typer.Argument(help=TOLD)


@beacon.command()
def keys(api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Which beacons have a key here; a key itself is never shown."""
    _show(client_of(api, token, ca).call("GET", "/v1/beacons/keys"), json_, ("beacon", "identity", "exponent"))


@beacon.command()
def exchange(name: str, api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Begin a key exchange: write the public key into the beacon's EID slot, then `register` what the beacon tells."""
    begun = client_of(api, token, ca).call("POST", path_of("v1", "beacons", name, "key-exchange"), {})
    _show(begun, json_, ("beacon", "public_key", "exponent_min", "exponent_max"))


@beacon.command()
def register(
    name: str,
    file: Path = File,
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Take a beacon's key; read from a file, so that none stands in the history of a shell."""
    row = client_of(api, token, ca).call("PUT", path_of("v1", "beacons", name, "key"), read_key(file))
    _show(row, json_, ("beacon", "identity", "exponent"))


@beacon.command()
def forget(name: str, api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Forget a beacon's key: its identifiers are a stranger's from now on."""
    client_of(api, token, ca).call("DELETE", path_of("v1", "beacons", name, "key"))
    _show({"beacon": name, "forgotten": True}, json_, ("beacon", "forgotten"))


def read_key(file: Path) -> dict[str, Any]:
    """What a beacon told. Raises ApiFault that never repeats the content."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ApiFault(f"{file}: cannot be read", "Name a file of JSON, or - for standard input.") from None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiFault(f'{file}: expected a JSON object such as {{"key": …, "exponent": 10, "time_s": 0}}', "Mend it.")
    return found

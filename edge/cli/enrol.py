"""``smartstore enrol``: join a platform with its signed bundle, over the API of a running gateway."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import typer

from edge.cli.api import Api, Ca, Json, Token, answered, client_of, table
from edge.cli.client import ApiFault

BUNDLE_SUFFIX = ".smartstore-enrol"


def bundle_text(source: str) -> str:
    """A bundle's text from a file, a folder with one file ``*.smartstore-enrol``, standard input (-), or itself.

    Raises ApiFault naming what is missing.
    """
    if source == "-":
        return sys.stdin.read()
    if source.startswith(("{", "smartstore-enrol:")):
        return source
    path, hint = Path(source), f"Name a bundle's file, or a folder with one file *{BUNDLE_SUFFIX}."
    if path.is_dir():
        found = sorted(path.glob(f"*{BUNDLE_SUFFIX}"))
        if len(found) != 1:
            raise ApiFault(f"{path}: {len(found)} files *{BUNDLE_SUFFIX}, expected one", hint)
        path = found[0]
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ApiFault(f"{path}: {error}", hint) from None


def enrol(
    bundle: str = typer.Argument(help="File, folder (a stick), the text of a QR code, or - for standard input."),
    fingerprint: str = typer.Option("", help="The platform key's fingerprint as compared; asked for without it."),
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Join a platform with its signed bundle."""
    client, text = client_of(api, token, ca), bundle_text(bundle)
    told = client.call("POST", "/v1/enrolment/check", {"bundle": text})
    if not fingerprint and not told["trusted"]:
        typer.echo(f"platform of {told['tenant']}/{told['store']} at {', '.join(told['hosts'])}", err=True)
        typer.echo(f"fingerprint of its key: {told['fingerprint']}", err=True)
        same = partial(typer.confirm, "Does the platform show the same fingerprint?", err=True)
        if not answered(same, "--fingerprint once you have compared it"):
            raise typer.Abort
        fingerprint = told["fingerprint"]
    state = client.call("POST", "/v1/enrolment", {"bundle": text, "fingerprint": fingerprint})
    if json_:
        typer.echo(json.dumps(state, ensure_ascii=False))
    else:
        table([state], ("tenant", "store", "hosts", "serial"))

"""The command line over the API: what a technician or a script asks of a running gateway."""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from edge.core.errors import GatewayError

TOKEN_FILE = Path("~/.config/smartstore/token").expanduser()
FOLLOW_S = 0.3


class ApiFault(GatewayError):
    """The gateway answered with a problem, or not at all."""

    def __init__(self, detail: str, hint: str = "Check the address (--api) and that the gateway runs.") -> None:
        self.hint = hint  # type: ignore[misc]  # each problem brings its own next action
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Client:
    """One gateway. ca: its CA certificate (ca.pem), for HTTPS."""

    api: str
    token: str = ""
    ca: Path | None = None

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The answer, parsed where it is JSON. Raises ApiFault with the gateway's own words."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api.rstrip("/") + path, data, method=method)
        request.add_header("Content-Type", content_type)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                content = answer.read()
                is_json = "json" in answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as error:
            raise _fault(error.read(), error.code) from None
        except (urllib.error.URLError, OSError) as error:
            raise ApiFault(f"{self.api}: {error}") from None
        return json.loads(content) if is_json else content.decode("utf-8")


def _fault(content: bytes, status: int) -> ApiFault:
    try:
        problem = json.loads(content)
        return ApiFault(f"{problem['detail']} ({problem['cause']})", problem.get("hint") or "See the detail.")
    except (ValueError, KeyError, TypeError):
        return ApiFault(f"HTTP {status}: {content[:200]!r}")


def client_of(api: str, token: str, ca: Path | None) -> Client:
    """A client with the token of the option, of SMARTSTORE_TOKEN, or of the last claim or sign-in."""
    kept = TOKEN_FILE.read_text(encoding="utf-8").strip() if TOKEN_FILE.exists() else ""
    return Client(api, token or os.environ.get("SMARTSTORE_TOKEN", "") or kept, ca)


def claim(client: Client, code: str, name: str, pin: str) -> dict[str, Any]:
    """Claim the gateway and keep the token (0600)."""
    answer: dict[str, Any] = client.call("POST", "/v1/claim", {"code": code, "name": name, "pin": pin})
    TOKEN_FILE.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(answer["token"])
    return {"claimed": True, "name": name, "role": answer["role"]}


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Rows for people."""
    from rich.console import Console  # noqa: PLC0415 (only who prints tables pays for it)
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(box=None, pad_edge=False)
    for column in columns:
        drawn.add_column(column.replace("_", " "))
    for row in rows:
        drawn.add_row(*("–" if row.get(column) is None else str(row[column]) for column in columns))
    Console().print(drawn)


def follow(client: Client, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Wait for a job with a progress bar. Raises ApiFault where it failed."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task(job["kind"], total=1.0)
        while job["state"] == "running":
            time.sleep(FOLLOW_S)
            job = client.call("GET", f"/v1/jobs/{job['id']}")
            progress.update(bar, completed=job["progress"], description=job["step"] or job["kind"])
    if job["state"] != "done":
        error = job["error"] or {"detail": job["state"], "hint": ""}
        raise ApiFault(f"{job['kind']}: {error['detail']}", error["hint"] or "See the job.")
    return job


def load(client: Client, path: Path, *, dry_run: bool) -> dict[str, Any]:
    """Import a catalogue (CSV), a planogram or a configuration (JSON). Raises ApiFault naming what is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ApiFault(f"{path}: {error.strerror}", "Name a file that can be read.") from None
    query = "?dry_run=true" if dry_run else ""
    if path.suffix.lower() == ".csv":
        answer: dict[str, Any] = client.call("PUT", f"/v1/catalogue{query}", content, "text/csv")
        return answer
    is_configuration = b'"planogram"' in content[:100_000] and b'"devices"' in content[:100_000]
    place = "/v1/configuration" if is_configuration else f"/v1/planogram{query}"
    loaded: dict[str, Any] = client.call("PUT", place, content)
    return loaded


def save(client: Client, what: str) -> None:
    """Print catalogue (CSV), planogram or configuration (JSON) on standard output."""
    places = {"catalogue": "/v1/catalogue.csv", "planogram": "/v1/planogram", "configuration": "/v1/configuration"}
    if what not in places:
        raise ApiFault(f"export {what!r}: expected one of {', '.join(places)}", "Name one of them.")
    answer = client.call("GET", places[what])
    sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, indent=1) + "\n")


def verify_audit(journal: Path) -> dict[str, Any]:
    """Check the audit chain in a journal file, without a gateway. Raises JournalError."""
    from edge.access import verify  # noqa: PLC0415
    from edge.core.errors import JournalError  # noqa: PLC0415
    from edge.journal import Store  # noqa: PLC0415

    if not journal.exists():
        raise JournalError(f"{journal}: missing: expected the gateway's journal.db")
    store = Store(journal)
    try:
        rows, fault = verify(store.mapping("keyed"))
    finally:
        store.close()
    return {"rows": rows, "intact": not fault, "fault": fault}


def claim_label(api: str, code: str, fingerprint: str) -> str:
    """What is shown, or printed on a label, while nobody owns the gateway: address, code, QR of both with the CA."""
    import io  # noqa: PLC0415 (only an unclaimed gateway shows it)

    import segno  # noqa: PLC0415

    link = f"{api}/claim#code={code}" + (f"&ca={fingerprint}" if fingerprint else "")
    picture = io.StringIO()
    segno.make(link, error="m").terminal(picture, compact=True)
    lines = ["This gateway has no owner yet. Scan to claim it, or open the address and type the code:"]
    lines += [picture.getvalue(), f"  address      {api}/claim", f"  claim code   {code[:5]}-{code[5:]}"]
    if fingerprint:
        lines.append(f"  CA SHA-256   {fingerprint}")
    return "\n".join(lines)


Json = typer.Option(False, "--json", help="Print JSON instead of text.")
Api = typer.Option("http://127.0.0.1:8443", "--api", envvar="SMARTSTORE_API", help="Address of the gateway.")
Token = typer.Option("", "--token", help="API token; default: SMARTSTORE_TOKEN, or that of the last claim.")
Ca = typer.Option(None, "--ca", help="The gateway's CA certificate (ca.pem), for HTTPS.")


def register(app: typer.Typer) -> None:
    """Add the commands over the API to the command line."""
    for command in (claim_command, devices, stock, health, jobs, import_command, export, discover):
        app.command(command.__name__.removesuffix("_command"))(command)
    audit = typer.Typer(help="The hash-chained audit.", no_args_is_help=True)
    audit.command("verify")(audit_verify)
    app.add_typer(audit, name="audit")


def _show(document: Any, as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False))
    else:
        table(document if isinstance(document, list) else [document], columns)


def claim_command(
    code: str,
    name: str = typer.Option(..., prompt=True),
    pin: str = typer.Option(..., prompt=True, hide_input=True),
    api: str = Api,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Claim a gateway with the code of its label."""
    _show(claim(client_of(api, "", ca), code, name, pin), json_, ("name", "role"))


def devices(api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Devices with state, cause and next action."""
    _show(client_of(api, token, ca).call("GET", "/v1/devices"), json_, ("id", "kind", "state", "cause", "hint"))


def stock(text: str = "", api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Stock, of all products or of those that match --text."""
    from urllib.parse import quote  # noqa: PLC0415

    rows = client_of(api, token, ca).call("GET", f"/v1/stock?text={quote(text)}")
    _show(rows, json_, ("gtin", "name", "on_hand", "available_to_promise"))


def health(api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Health; exit code 1 while something is wrong."""
    document = client_of(api, token, ca).call("GET", "/health")
    _show(document, json_, ("status", "summary", "version", "uplink", "time_quality"))
    raise typer.Exit(0 if document["status"] == "ok" else 1)


def jobs(api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """The last jobs."""
    columns = ("id", "kind", "target", "actor", "state", "step")
    _show(client_of(api, token, ca).call("GET", "/v1/jobs"), json_, columns)


def discover(
    network: list[str] = typer.Option([], help="Network to probe, such as 192.168.1.0/24."),  # noqa: B008
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Look for devices."""
    client = client_of(api, token, ca)
    job = follow(client, client.call("POST", "/v1/discovery", {"networks": network}), quiet=json_)
    _show(job["result"], json_, ("kind", "moniker", "identity", "position", "note"))


def import_command(
    file: Path,
    dry_run: bool = typer.Option(False, help="Only show what would change."),
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Load a catalogue (CSV), a planogram or a configuration (JSON)."""
    answer = load(client_of(api, token, ca), file, dry_run=dry_run)
    rows = [row | {"fields": row["fields"] or ""} for row in answer.get("changes", [])]
    _show(
        answer if json_ else rows or [answer],
        json_,
        ("section", "entry", "change", "fields") if rows else tuple(answer),
    )


def export(what: str = "configuration", api: str = Api, token: str = Token, ca: Path | None = Ca) -> None:
    """Print catalogue, planogram or configuration."""
    save(client_of(api, token, ca), what)


def audit_verify(journal: Path = Path("var/journal.db"), json_: bool = Json) -> None:
    """Check the chain in a journal file; exit code 1 where rows were changed or taken out."""
    answer = verify_audit(journal)
    _show(answer, json_, ("rows", "intact", "fault"))
    raise typer.Exit(0 if answer["intact"] else 1)

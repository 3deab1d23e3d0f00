"""The command line over the API: what a technician or a script asks of a running gateway."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import typer

from edge.cli import client as api_client
from edge.cli.client import ApiFault, Client, path_of
from edge.core.plain import PlainError

Answer = TypeVar("Answer")

FOLLOW_S = 0.3
PIECE_BYTES = 400_000  # of a CSV in one request; the gateway takes 1 MiB
EXPORTS = {
    "catalogue": "/v1/catalogue.csv",
    "layout": "/v1/layout.csv",
    "planogram": "/v1/planogram",
    "configuration": "/v1/configuration",
    "support-bundle": "/v1/support-bundle",
}


def client_of(api: str, token: str, ca: Path | None) -> Client:
    """By the options, else the environment, else the last claim or sign-in."""
    return api_client.client_of(api, token, ca, api_client.HOME)


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


@contextmanager
def bar(title: str, *, quiet: bool) -> Iterator[Any]:
    """A progress bar on standard error: `tell(share, step)`."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task(title, total=1.0)
        yield lambda share, step: progress.update(task, completed=share, description=step or title)


def follow(client: Client, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Wait for a job with a progress bar. Raises ApiFault where it failed."""
    with bar(job["kind"], quiet=quiet) as tell:
        while job["state"] == "running":
            time.sleep(FOLLOW_S)
            job = client.call("GET", path_of("v1", "jobs", job["id"]))
            tell(job["progress"], job["step"])
    if job["state"] != "done":
        error = job["error"] or {"detail": job["state"], "hint": ""}
        raise ApiFault(f"{job['kind']}: {error['detail']}", error["hint"] or "See the job.")
    return job


# --- import and export ------------------------------------------------------------------------------------------------


def load(client: Client, path: Path, *, dry_run: bool, quiet: bool) -> dict[str, Any]:
    """Import a catalogue (CSV), a planogram or a configuration (JSON). Raises ApiFault naming what is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ApiFault(f"{path}: {error.strerror}", "Name a file that can be read.") from None
    if path.suffix.lower() == ".csv":
        return _load_catalogue(client, content, dry_run=dry_run, quiet=quiet)
    try:
        document = json.loads(content)
    except ValueError as error:
        raise PlainError(
            "import", str(path), f"JSON, or a catalogue as .csv ({error}); export one to see the form"
        ) from None
    is_configuration = isinstance(document, dict) and "planogram" in document and "devices" in document
    place = path_of("v1", "configuration" if is_configuration else "planogram", dry_run="true" if dry_run else "")
    loaded: dict[str, Any] = client.call("PUT", place, content)
    return loaded


def _load_catalogue(client: Client, content: bytes, *, dry_run: bool, quiet: bool) -> dict[str, Any]:
    """In pieces that the gateway takes; all of them are checked before the first is put into effect."""
    pieces = list(pieces_of(content))
    steps = [(piece, True) for piece in pieces] + ([] if dry_run else [(piece, False) for piece in pieces])
    changes: list[dict[str, Any]] = []
    warnings: list[dict[str, Any]] = []
    with bar("catalogue", quiet=quiet) as tell:
        for number, (piece, only_check) in enumerate(steps):
            tell(number / len(steps), "checking" if only_check else "loading")
            place = path_of("v1", "catalogue", dry_run="true" if only_check else "")
            answer = client.call("PUT", place, piece, "text/csv")
            if only_check:
                changes += answer["changes"]
            warnings = answer["warnings"]
        tell(1.0, "done")
    return {"changes": changes, "warnings": warnings, "applied": not dry_run}


def pieces_of(content: bytes, limit: int = PIECE_BYTES) -> Iterator[bytes]:
    """A CSV in pieces, each with the header; empty lines stand for what went before, so that faults name true lines."""
    head, _, rest = content.partition(b"\n")
    lines = rest.splitlines(keepends=True)
    begun, size, quotes = 0, 0, 0
    for number, line in enumerate(lines):
        size += len(line)
        quotes += line.count(b'"')
        if size >= limit and quotes % 2 == 0:  # never inside a quoted cell that has a line break
            yield head + b"\n" * (begun + 1) + b"".join(lines[begun : number + 1])
            begun, size = number + 1, 0
    if begun < len(lines) or not lines:
        yield head + b"\n" * (begun + 1) + b"".join(lines[begun:])


def save(client: Client, what: str, output: Path | None) -> None:
    """Write what the gateway exports to a file, or on standard output."""
    if what not in EXPORTS:
        raise PlainError("export", what, f"one of {', '.join(EXPORTS)}")
    content, kind, _ = client.fetch("GET", EXPORTS[what])
    if "json" in kind:
        content = (json.dumps(json.loads(content), ensure_ascii=False, indent=1) + "\n").encode()
    if output is not None:
        try:
            output.write_bytes(content)
        except OSError as error:
            raise ApiFault(f"{output}: {error.strerror}", "Name a file that can be written.") from None
    elif kind.startswith("application/zip"):
        raise ApiFault(f"export {what}: a zip file: expected --output FILE", "Name the file.")
    else:
        sys.stdout.write(content.decode("utf-8"))


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


# --- why a number is what it is ---------------------------------------------------------------------------------------


def in_words(row: dict[str, Any], now_us: int) -> str:
    """A product's stock with its evidence, for people. now_us: the gateway's engine time, as /health tells it."""
    name, count = row.get("name") or row["gtin"], row["on_hand"]
    if count is None:
        return f"{name} ({row['gtin']}): nothing is known yet; no sensor has seen it and nobody has counted it"
    told = f"{row.get('available_to_promise', count)} can be promised, {row.get('held', 0)} held"
    lines = [f"{name} ({row['gtin']}): {count} on hand, {told}"]
    for shelf in row.get("shelves", []):
        lines.append(f"\n{shelf['shelf']}: {_shelf_in_words(shelf, now_us)}")
        if shelf.get("reason"):
            lines.append(f"  {shelf['reason']}")
        for why in reversed(shelf.get("why", [])):
            sure = f" (probability {why['probability']:.0%})" if why.get("probability", 1) < 1 else ""
            lines.append(f"  {_ago(now_us - why['at_us']):>12}  {why['source']}: {why['text']}{sure}")
    if not row.get("shelves"):
        lines.append("no shelf has any: nothing of it was seen, or all of it left")
    return "\n".join(lines)


def _shelf_in_words(shelf: dict[str, Any], now_us: int) -> str:
    parts = [f"{shelf['on_hand']}, surely {shelf['low']} to {shelf['high']}, {shelf['confidence']:.0%} sure"]
    parts.append(f"from {', '.join(shelf['sources']) or 'no source'}")
    if shelf.get("tags"):
        parts.append(f"{shelf['tags']} tags")
    if shelf.get("last_verified_us"):
        parts.append(f"verified {_ago(now_us - shelf['last_verified_us'])}")
    if not shelf.get("known", True):
        parts.append("its sensors are silent now, so the last count is kept")
    return "; ".join(parts)


def _ago(us: int) -> str:
    seconds = max(0, us // 1_000_000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


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
    lines.append(f"  or           smartstore claim '{link}'")
    return "\n".join(lines)


# --- commands ---------------------------------------------------------------------------------------------------------

Json = typer.Option(False, "--json", help="Print JSON instead of text.")
Api = typer.Option("", "--api", help="Address; default: SMARTSTORE_API, the last claim's, else http://127.0.0.1:8443.")
Token = typer.Option("", "--token", help="API token; default: SMARTSTORE_TOKEN, or that of the last claim or sign-in.")
Ca = typer.Option(None, "--ca", help="The gateway's CA certificate (ca.pem); default: the one that the claim pinned.")


def register(app: typer.Typer) -> None:
    """Add the commands over the API to the command line."""
    app.command("sign-in")(sign_in)
    for command in (claim, devices, stock, health, updates, jobs, import_command, export, discover):
        app.command(command.__name__.removesuffix("_command"))(command)
    audit_app = typer.Typer(help="Who changed what: the hash-chained audit.", invoke_without_command=True)
    audit_app.callback()(audit)
    audit_app.command("verify")(audit_verify)
    app.add_typer(audit_app, name="audit")


def _show(document: Any, as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False))
    else:
        table(document if isinstance(document, list) else [document], columns)


def answered(question: Callable[[], Answer], instead: str) -> Answer:
    """What a person answers. Raises ApiFault where there is nobody to ask: no terminal, and nothing piped in."""
    try:
        return question()
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        raise ApiFault("there is no terminal to ask at", f"Give {instead}.") from None


def _name(given: str) -> str:
    return given or answered(lambda: str(typer.prompt("Name", err=True)), "--name")


def _pin(given: str) -> str:
    def ask() -> str:
        return str(typer.prompt("PIN", hide_input=sys.stdin.isatty(), err=True))

    return given or answered(ask, "--pin or SMARTSTORE_PIN")


def claim(
    label: str = typer.Argument(help="The code of the label, or the whole link of its QR code (pins the CA)."),
    name: str = typer.Option("", help="Your name; asked for without it."),
    pin: str = typer.Option("", help="Your new PIN; asked for without it.", envvar="SMARTSTORE_PIN"),
    api: str = Api,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Claim a gateway with the code of its label; you become its first admin."""
    client = api_client.nobody(client_of(api, "", ca))
    _show(api_client.claim(label, _name(name), _pin(pin), client, api_client.HOME), json_, ("name", "role", "api"))


def sign_in(
    name: str,
    pin: str = typer.Option("", help="Asked for without it.", envvar="SMARTSTORE_PIN"),
    api: str = Api,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Sign in; the commands that follow use it (15 min idle, 8 h in all)."""
    client = api_client.nobody(client_of(api, "", ca))
    _show(api_client.sign_in(name, _pin(pin), client, api_client.HOME), json_, ("name", "role", "api"))


def devices(
    device: str = typer.Argument("", help="One device with its settings and places; all of them without it."),
    test: float = typer.Option(0.0, help="Watch that device so many seconds while somebody uses it."),
    identify: bool = typer.Option(False, "--identify", help="Let that device blink."),
    *,
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Devices with state, cause and next action."""
    client = client_of(api, token, ca)
    if not device:
        _show(client.call("GET", "/v1/devices"), json_, ("id", "kind", "state", "cause", "hint"))
        return
    if identify:
        client.call("POST", path_of("v1", "devices", device, "identify"), {"seconds": 10})
    if test > 0:
        job = client.call("POST", path_of("v1", "devices", device, "test"), {"seconds": test})
        done = follow(client, job, quiet=json_)["result"]
        _show(done, json_, ("passed", "heard", "state", "events"))
        raise typer.Exit(0 if done["passed"] else 1)
    row = client.call("GET", path_of("v1", "devices", device))
    shown = row if json_ else [{"what": key, "value": value} for key, value in row.items() if value not in ("", {}, [])]
    _show(shown, json_, ("what", "value"))


def stock(
    gtin: str = typer.Argument("", help="One product; all of them without it."),
    why: bool = typer.Option(False, "--why", help="Say in words what the number is made of."),
    text: str = typer.Option("", help="Only products whose name or GTIN has this."),
    *,
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Stock of all products, or of one with its evidence (--why)."""
    client = client_of(api, token, ca)
    columns = ("gtin", "name", "on_hand", "available_to_promise", "held")
    if not gtin:
        if why:
            raise ApiFault("--why: expected a GTIN, such as smartstore stock 04569951000003 --why", "Name the product.")
        _show(client.pages(path_of("v1", "stock", text=text)), json_, columns)
        return
    row = client.call("GET", path_of("v1", "stock", gtin))
    if why and not json_:
        typer.echo(in_words(row, client.call("GET", "/health")["now_us"]))
    else:
        _show(row, json_, columns)


def health(api: str = Api, token: str = Token, ca: Path | None = Ca, json_: bool = Json) -> None:
    """Health; exit code 1 while something is wrong."""
    document = client_of(api, token, ca).health()
    _show(document, json_, ("status", "causes", "summary", "version", "uplink", "time_quality"))
    raise typer.Exit(0 if document["status"] == "ok" else 1)


def updates(
    look: bool = typer.Option(False, "--look", help="Ask the publisher's repository now, not within the hour."),
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """What runs from which slot, what is wanted and signed, and how the last update ended."""
    client = client_of(api, token, ca)
    if look:
        client.call("POST", path_of("v1", "updates", "look"))
    document = client.call("GET", path_of("v1", "updates"))
    if json_:
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    for name, value in _update_lines(document):
        typer.echo(f"{name:14} {value or '–'}")
    if look:
        typer.echo("looking now; ask again in a minute")


def _update_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    def at(wall_us: int) -> str:
        return datetime.fromtimestamp(wall_us / 1e6, UTC).isoformat(timespec="seconds") if wall_us else "never"

    def named(versions: dict[str, str]) -> str:
        return ", ".join(f"{name}-{version}" for name, version in sorted(versions.items()))

    yield "version", document["version"]
    for link in ("current", "good", "previous"):
        yield f"slot {link}", document[link]
    if not document["repository"]:
        yield "repository", "none: updates.url is empty, this gateway does not update itself"
    else:
        yield "on trial", document["trial"]
        yield "wanted", named(document["wanted"])
        yield "newest signed", named(document["available"])
        yield "looked last", at(document["checked_us"])
        yield "refused", document["refused"]
    if last := document["last"]:
        ended = "well" if last["ok"] else f"{last['reason']}: {last['detail']}"
        yield "last result", f"{at(last['at_us'])} {last['what']} {last['old'] or 'none'} -> {last['new']}: {ended}"


def jobs(
    job: str = typer.Argument("", help="One job: follow it to its end; the last ones without it."),
    cancel: bool = typer.Option(False, "--cancel", help="Stop that job."),
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """The last jobs; one of them with its progress until it is over."""
    client = client_of(api, token, ca)
    columns = ("id", "kind", "target", "actor", "state", "step")
    if not job:
        _show(client.call("GET", "/v1/jobs"), json_, columns)
    elif cancel:
        _show(client.call("DELETE", path_of("v1", "jobs", job)), json_, columns)
    else:
        _show(follow(client, client.call("GET", path_of("v1", "jobs", job)), quiet=json_), json_, columns)


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
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would change."),
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Load a catalogue (CSV), a planogram or a configuration (JSON)."""
    answer = load(client_of(api, token, ca), file, dry_run=dry_run, quiet=json_)
    if json_:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    rows = [row | {"fields": row["fields"] or ""} for row in answer.get("changes", [])]
    if rows:
        table(rows, ("section", "entry", "change", "fields"))
    for warning in answer.get("warnings", []):
        typer.echo("warning: " + ", ".join(f"{key} {value}" for key, value in warning.items()))
    typer.echo(f"{len(rows)} changes, {'in effect now' if answer.get('applied') else 'nothing was changed (dry run)'}")


def export(
    what: str = typer.Argument(help=", ".join(EXPORTS)),
    output: Path | None = typer.Option(None, "--output", "-o", help="File to write; default: standard output."),  # noqa: B008
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
) -> None:
    """Export catalogue, layout (CSV), planogram, configuration (JSON) or the support bundle (zip)."""
    save(client_of(api, token, ca), what, output)


def audit(
    context: typer.Context,
    limit: int = typer.Option(50, min=1, max=500, help="So many rows, newest first."),
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Who changed what, newest first."""
    if context.invoked_subcommand is None:
        rows = client_of(api, token, ca).call("GET", path_of("v1", "audit", limit=limit))
        from datetime import UTC, datetime  # noqa: PLC0415

        shown = [row | {"at": f"{datetime.fromtimestamp(row['at_us'] / 1e6, UTC):%Y-%m-%d %H:%M:%SZ}"} for row in rows]
        _show(rows if json_ else shown, json_, ("row", "at", "actor", "action", "target", "detail"))


def audit_verify(
    journal: Path | None = typer.Option(None, help="Check this journal file, without a gateway."),  # noqa: B008
    api: str = Api,
    token: str = Token,
    ca: Path | None = Ca,
    json_: bool = Json,
) -> None:
    """Check the chain; exit code 1 where rows were changed or taken out."""
    answer = verify_audit(journal) if journal else client_of(api, token, ca).call("GET", "/v1/audit/verify")
    _show(answer, json_, ("rows", "intact", "fault"))
    raise typer.Exit(0 if answer["intact"] else 1)

"""The command ``smartstore``. Imports are lazy: ``--help`` answers in a blink.

Exit codes: 0 done · 1 the thing asked for was not so (a mismatch, a failed check) · 2 wrong usage or bad input ·
3 something needed is missing or unreachable · 74 the journal's disk failed · 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.api import claim_label, register
from edge.cli.beacons import beacon
from edge.cli.enrol import enrol
from edge.cli.release import release
from edge.cli.update import update
from edge.core.errors import GatewayError, SettingsError, SiteError
from edge.core.plain import PlainError

app = typer.Typer(
    name="smartstore",
    help="Smart-store edge gateway: shelves, tags, beacons and doors in; provable stock facts out.",
    epilog="Exit codes: 0 done; 1 not so (a mismatch, a failed check, a fault found); 2 wrong usage or bad input; "
    "3 something is missing or unreachable; 74 the journal's disk failed; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def show(figures: dict[str, Any], as_json: bool, text: Callable[[], None]) -> None:
    """One JSON object on the last line, or text for people."""
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False))
    else:
        text()


@app.command()
def version(json_: Json = False) -> None:
    """Print the version."""
    from edge.main import software_version

    found = software_version()
    show({"version": found}, json_, lambda: typer.echo(found))


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML).")],
    json_: Annotated[bool, typer.Option("--json", help="Print a JSON line once it serves.")] = False,
) -> None:
    """Run the gateway of a settings file until it is stopped."""
    from edge.main import Gateway, run_forever

    def ready(gateway: Gateway) -> None:
        started: dict[str, Any] = {"ready": True, "api": gateway.address, "boot": gateway.clock.boot}
        if not gateway.plan.api.open and gateway.access.claim_code:
            started |= {"claim_code": gateway.access.claim_code, "fingerprint": gateway.fingerprint}

        def text() -> None:
            typer.echo(f"serving on {started['api']} (boot {started['boot']})")
            if "claim_code" in started:
                typer.echo(claim_label(started["api"], started["claim_code"], started["fingerprint"]))

        show(started, json_, text)
        sys.stdout.flush()

    raise typer.Exit(run_forever(config, ready))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def sim(context: typer.Context) -> None:
    """Start a simulated device or a whole virtual store (smartstore sim --help lists them)."""
    import os

    # A process of its own: production code never imports the simulator.
    os.execv(sys.executable, [sys.executable, "-m", "firmware_sim", *context.args])


@app.command()
def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Shoppers stop after this time; default: until Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the virtual store.")] = 7,
    summary: Annotated[Path | None, typer.Option(help="Write the summary to this JSON file.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="Keep everything here (default: temporary).")] = None,
    json_: Json = False,
) -> None:
    """Watch a virtual store live: simulator, gateway, a real broker and the reference platform."""
    from edge.demo import run_demo

    raise typer.Exit(run_demo(seconds, seed, summary, directory, json_))


@app.command()
def platform(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Where database, key and broker keep their files.")] = Path(
        "var/platform"
    ),
    broker: Annotated[str, typer.Option(help="Address of a broker (mqtt://host:1883); default: start one.")] = "",
    host: Annotated[str, typer.Option(help="Address of the HTTPS API.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the HTTPS API; 0: a free one.")] = 0,
    name: Annotated[list[str] | None, typer.Option(help="Another host name of the API (for its certificate).")] = None,
    postgres: Annotated[str, typer.Option(help="postgresql://…: keep facts there, not in a file.")] = "",
    shared_group: Annotated[str, typer.Option(help="Share the facts with the platforms of this MQTT 5 group.")] = "",
    queries_only: Annotated[
        bool, typer.Option("--queries-only", help="Serve what a cluster's ingest workers keep; consume nothing.")
    ] = False,
    stores: Annotated[bool, typer.Option("--stores", help="Show every store and end.")] = False,
    bundle: Annotated[str, typer.Option(help="Print an enrolment bundle for tenant/store and end.")] = "",
    broker_host: Annotated[list[str] | None, typer.Option(help="A broker's address for the bundle.")] = None,
    qr: Annotated[bool, typer.Option("--qr", help="The bundle as a QR code.")] = False,
    revoke: Annotated[str, typer.Option(help="Revoke the certificates of tenant/store and end.")] = "",
    json_: Json = False,
) -> None:
    """Run the reference platform: read the facts, find gaps, acknowledge; query API, metrics, enrolment of gateways."""
    from edge.cli import platform as central

    if stores:
        central.show_stores(directory, json_)
    elif bundle:
        central.make_bundle(directory, bundle, tuple(broker_host or ()), qr)
    elif revoke:
        central.revoke_store(directory, revoke, json_)
    else:
        options = central.PlatformOptions(
            directory, broker, host, port, tuple(name or ()), postgres, shared_group, queries_only
        )
        raise typer.Exit(central.serve_platform(options, json_))


@app.command()
def tell(
    store: Annotated[str, typer.Argument(help="tenant/store")],
    name: Annotated[str, typer.Argument(help="The command, such as place_hold (docs/contract.md lists all).")],
    args: Annotated[list[str] | None, typer.Argument(help="name=value; a value is JSON or else a text.")] = None,
    *,
    directory: Annotated[Path, typer.Option("--dir", help="The folder of the running platform, or of a demo.")] = Path(
        "var/platform"
    ),
    watch: Annotated[str, typer.Option(help="GTIN whose stock is shown meanwhile.")] = "",
    seconds: Annotated[float, typer.Option(min=0, help="Go on watching so long after the answer.")] = 0.0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.")] = False,
) -> None:
    """Send a store a signed command over MQTT; show its answer and the stock that follows (--watch)."""
    from edge.cli.tell import Order, arguments, tell_store

    order = Order(store, name, arguments(args or []), watch, seconds)
    raise typer.Exit(0 if tell_store(directory, order, json_) else 1)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings file (TOML).")] = None,
    json_: Json = False,
) -> None:
    """Find and explain what is wrong with this machine, the settings and the devices."""
    from edge.doctor import examine, report

    findings = examine(config)
    show({"findings": [finding.as_dict() for finding in findings]}, json_, lambda: report(findings))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="A tap of a reader's link (moniker option tap=FILE).")],
    device: Annotated[str, typer.Option(help="The reader's id in the planogram, if it has several.")] = "",
    planogram: Annotated[
        Path | None, typer.Option(help="The planogram that runs now (JSON); without one each antenna is a shelf.")
    ] = None,
    other: Annotated[Path | None, typer.Option(help="Another planogram (antenna set) to compare with.")] = None,
    profile: Annotated[str, typer.Option(help="learned, window, asset-tracking or retail-garment.")] = "learned",
    json_: Json = False,
) -> None:
    """Run recorded raw reads through another profile or antenna set: what would have changed."""
    from edge.cli.replay import replay_recording

    compared, text = replay_recording(recording, device, planogram, other, profile)
    show(compared, json_, text)


footfall = typer.Typer(help="Count and score thermal recordings of a door.", no_args_is_help=True)
app.add_typer(footfall, name="footfall")
Inward = Annotated[str, typer.Option(help="Axis on which people come in: +x -x +y -y (x = column, y = row).")]
Fps = Annotated[float, typer.Option(help="Frames a second of the recording (5 to 30).")]


@footfall.command()
def count(recording: Path, fps: Fps, inward: Inward = "+x", json_: Json = False) -> None:
    """Count the crossings of a recording (.npz with centi_celsius)."""
    from models.recordings import count_recording

    counted = count_recording(recording, fps, inward)
    show(counted, json_, lambda: typer.echo(crossings_table(counted, fps)))


def crossings_table(counted: dict[str, Any], fps: float) -> str:
    """For people: each crossing, then the totals, then why another model than the newest counted."""
    rows = [
        f"{row['frame']:8}  {row['frame'] / fps:8.1f} s  {row['direction']:<9}  {row['confidence']:10.2f}"
        for row in counted["crossings"]
    ]
    head = [f"{'frame':>8}  {'time':>10}  direction  confidence"] if rows else []
    why = [f"degraded: {counted['degraded']}"] if "degraded" in counted else []
    return "\n".join([*head, *rows, f"in {counted['in']}, out {counted['out']}", *why])


@footfall.command()
def score(recording: Path, fps: Fps, inward: Inward = "+x", json_: Json = False) -> None:
    """Compare the count with a recording's own labels."""
    from models.recordings import score_recording

    scored = score_recording(recording, fps, inward)
    lines = [f"{key:12} {value}" for key, value in scored.items() if key != "crossings"]
    show(scored, json_, lambda: typer.echo("\n".join([crossings_table(scored, fps), *lines])))


@footfall.command()
def install(
    manifest: Path,
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML).")],
    json_: Json = False,
) -> None:
    """Check a model, try it in isolation and make it the one that counts; a running gateway takes it within 10 s."""
    from edge.settings import GatewaySettings, SettingsFile
    from models.update import install as install_model

    file = SettingsFile(config)
    store = file.resolve(file.section("gateway", GatewaySettings).state_dir) / "models"
    installed = str(install_model(manifest, store))
    show({"installed": installed}, json_, lambda: typer.echo(f"installed: {installed}"))


app.add_typer(update, name="update")
app.add_typer(beacon, name="beacon")
app.add_typer(release, name="release")
register(app)
app.command("enrol")(enrol)


def main() -> None:
    """Entry point: errors of the tree become one line with the next action, never a traceback."""
    try:
        app()
    except (SettingsError, SiteError) as error:
        typer.echo(f"smartstore: {error}\n{error.hint}", err=True)
        sys.exit(2)
    except GatewayError as error:
        typer.echo(f"smartstore: {error}\n{error.hint}", err=True)
        sys.exit(2 if isinstance(error, ValueError) else 3)  # a ValueError too: what was typed, not what is missing
    except PlainError as error:
        typer.echo(f"smartstore: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(
            f"smartstore: {error}\nLook whether that file, folder or address is there and yours to use.", err=True
        )
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)

"""``smartstore update``: what is released, what runs, what is on trial; take a release, or go back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

update = typer.Typer(help="Signed releases: look, take one, go back.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def _updater(config: Path) -> Any:
    from edge.updating import make_updater  # noqa: PLC0415 (tuf is imported only for these commands)

    return make_updater(config, lambda line: typer.echo(line, err=True))


def _show(told: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    typer.echo(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(lines))


@update.command()
def check(config: Config, json_: Json = False) -> None:
    """Ask the publisher's repository what is signed now; nothing is changed."""
    releases = _updater(config).check()
    rows = [{"name": one.name, "version": one.version, "bytes": one.target.length} for one in releases]
    lines = [f"{row['name']}-{row['version']}  {row['bytes']} bytes" for row in rows]
    _show({"releases": rows}, json_, lines or ["nothing is released for this machine"])


@update.command()
def apply(
    config: Config,
    target: Annotated[str, typer.Argument(help="name-version, such as gateway-1.4.0; default: what is wanted.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Also what failed before.")] = False,
    json_: Json = False,
) -> None:
    """Fetch, verify and install; new software is judged for ten minutes and taken back if it does worse."""
    from edge.updates.versions import check_name, check_version  # noqa: PLC0415

    only = None
    if target:
        name, _, version = target.rpartition("-")
        try:
            only = {check_name(name): check_version(version)}
        except ValueError as error:
            raise typer.BadParameter(f"{target!r}: {error}; expected name-version, such as gateway-1.4.0") from None
    done = _updater(config).run(only, again=again)
    _show({"done": done}, json_, done or ["nothing to do"])


@update.command("run")
def run_(config: Config, json_: Json = False) -> None:
    """What the timer starts: do what the platform wants, finish what was cut short. Refusals are no failure of it."""
    from edge.updates.errors import RepositoryUnreachable, UpdateRefused  # noqa: PLC0415

    done: list[str] = []
    refused = ""
    try:
        done = _updater(config).run()
    except (UpdateRefused, RepositoryUnreachable) as error:
        refused = str(error)
        typer.echo(f"smartstore: {error}\n{error.hint}", err=True)
    _show({"done": done, "refused": refused}, json_, done or ["nothing was done" if refused else "nothing to do"])


@update.command()
def status(config: Config, json_: Json = False) -> None:
    """What runs, what is on trial, what is wanted, what was refused last."""
    told = _updater(config).status()
    shown = dict(told)
    for key in ("checked_us", "signed_us"):
        at = datetime.fromtimestamp(told[key] / 1e6, UTC).isoformat(timespec="seconds") if told[key] else "never"
        shown[key.removesuffix("_us")] = at
        del shown[key]
    for key in ("wanted", "available"):
        shown[key] = ", ".join(f"{name}-{version}" for name, version in sorted(told[key].items()))
    _show(told, json_, [f"{key:10} {value or '-'}" for key, value in shown.items()])


@update.command()
def rollback(config: Config, json_: Json = False) -> None:
    """Go back to the release that ran before: a trial is ended, or the previous release is current again."""
    said = _updater(config).rollback()
    _show({"done": [said]}, json_, [said])

"""``smartstore release``: the publisher's side of updates. Gateways never run this."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edge.updates.repository import NewRelease

release = typer.Typer(help="Publish signed releases (TUF): for who maintains the fleet.", no_args_is_help=True)
Dir = Annotated[Path, typer.Option("--dir", help="The repository's folder; keys/ in it is never served.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def _publisher(folder: Path) -> Any:
    from edge.updates.repository import Publisher  # noqa: PLC0415 (tuf is imported only for these commands)

    return Publisher(folder)


def _tell(text: str, as_json: bool, **figures: Any) -> None:
    typer.echo(json.dumps(figures, default=str) if as_json else text)


def _add(folder: Path, new: NewRelease, as_json: bool) -> None:
    try:
        path = _publisher(folder).add(new)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _tell(f"published: {path}", as_json, published=path, name=new.name, version=new.version)


@release.command()
def init(
    folder: Dir,
    root_keys: Annotated[int, typer.Option(help="How many root keys to make (1 to 9).")] = 2,
    threshold: Annotated[int, typer.Option(help="How many of them must sign a new root.")] = 1,
    json_: Json = False,
) -> None:
    """Make keys and an empty, signed repository; its first root metadata goes onto the gateways."""
    root = _publisher(folder).create(root_keys, threshold)
    keys = folder / "keys"
    text = f"give this to the gateways (updates.root): {root}\ntake the keys root-* and targets off line: {keys}"
    _tell(text, json_, root=root, keys=keys)


@release.command()
def pack(
    out: Annotated[Path, typer.Argument(help="The bundle to write (.tar).")],
    source: Annotated[Path, typer.Option(help="A checkout of the release.")] = Path(),
    json_: Json = False,
) -> None:
    """Build one bundle of the software for this kind of machine: its wheel and all that its lock pins."""
    from edge.updates.bundle import pack as pack_bundle  # noqa: PLC0415

    version, count = pack_bundle(source, out, lambda line: typer.echo(line, err=True))
    size = out.stat().st_size
    text = f"{out}: release {version}, {count} wheels, {size} bytes"
    _tell(text, json_, bundle=out, version=version, wheels=count, bytes=size)


@release.command()
def software(
    folder: Dir,
    bundle: Annotated[Path, typer.Argument(help="A bundle of `release pack`.")],
    version: Annotated[str, typer.Option(help="Such as 1.4.0.")],
    machine: Annotated[str, typer.Option(help="Kind of machine; default: this one. `any` for all.")] = "",
    json_: Json = False,
) -> None:
    """Sign and publish a bundle of software."""
    from edge.updates.repository import NewRelease  # noqa: PLC0415
    from edge.updates.trust import machine_kind  # noqa: PLC0415
    from edge.updates.versions import GATEWAY  # noqa: PLC0415

    custom = {"machine": machine or machine_kind()}
    _add(folder, NewRelease("software", GATEWAY, version, bundle, custom), json_)


@release.command()
def model(
    folder: Dir, manifest: Annotated[Path, typer.Argument(help="The model's manifest.toml.")], json_: Json = False
) -> None:
    """Sign and publish a footfall model with its manifest."""
    from edge.updates.repository import NewRelease  # noqa: PLC0415
    from edge.updates.versions import MODEL  # noqa: PLC0415
    from models.manifest import read_manifest, read_model  # noqa: PLC0415

    read = read_manifest(manifest)
    read_model(read)
    custom = {"manifest": manifest.read_text(encoding="utf-8")}
    _add(folder, NewRelease("model", MODEL, read.version, manifest.parent / read.file, custom), json_)


@release.command()
def firmware(
    folder: Dir,
    image: Annotated[Path, typer.Argument(help="The image, as the device's bootloader takes it.")],
    model: Annotated[str, typer.Option(help="Model, as the device itself tells it.")],
    version: Annotated[str, typer.Option(help="Version that the device tells after the update.")],
    maker_key: Annotated[Path, typer.Option(help="The maker's Ed25519 private key (PEM), which the bootloader knows.")],
    json_: Json = False,
) -> None:
    """Sign firmware for the device's bootloader (SDP/1) and for the gateways, and publish it."""
    from edge.updates.bundle import maker_signature  # noqa: PLC0415
    from edge.updates.repository import NewRelease  # noqa: PLC0415
    from edge.updates.versions import target_of  # noqa: PLC0415

    signature = base64.b64encode(maker_signature(image, maker_key)).decode()
    custom = {"model": model, "signature": signature}
    _add(folder, NewRelease("firmware", target_of(model), version, image, custom), json_)


@release.command()
def withdraw(folder: Dir, target: Annotated[str, typer.Argument(help="name-version")], json_: Json = False) -> None:
    """Take a release out: no gateway installs it any more; those that run it stay as they are."""
    name, _, version = target.rpartition("-")
    files = _publisher(folder).withdraw(name, version)
    _tell(f"{files} files are withdrawn", json_, target=target, files=files)


@release.command()
def sign(folder: Dir, json_: Json = False) -> None:
    """Sign the present state anew before it expires (a timer, daily); needs the keys snapshot and timestamp only."""
    _publisher(folder).sign()
    _tell("signed", json_, signed=True)


@release.command()
def rotate(
    folder: Dir,
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp")],
    json_: Json = False,
) -> None:
    """Give a role new keys; gateways follow by the chain of root metadata."""
    _publisher(folder).rotate(role)
    _tell(f"{role} has new keys; the old ones are *.old", json_, role=role, rotated=True)


@release.command("list")
def list_(folder: Dir, json_: Json = False) -> None:
    """What is published."""
    rows = _publisher(folder).releases()
    if json_:
        typer.echo(json.dumps({"releases": rows}))
    else:
        typer.echo("\n".join(f"{row['name']}-{row['version']}  {row['kind']}  {row['bytes']} bytes" for row in rows))

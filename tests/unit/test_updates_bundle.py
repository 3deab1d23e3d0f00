"""Bundles: built from a copy of the checkout, laid out by hand, nothing in them leads outside."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.settings import ApiSettings
from edge.updates import bundle
from edge.updates.errors import UpdateRefused
from edge.updates.repository import PublisherError
from edge.updates.slots import unpack


def checkout(folder: Path) -> Path:
    """A small release, with everything beside it that a developer's checkout has."""
    files = {
        "pyproject.toml": 'version = "1.4.0"\n', "requirements-gateway.lock": "", "requirements-build.lock": "",
        "edge/main.py": "", "docs/a.md": "", "deploy/install.sh": "", "build/lib/edge/deleted.py": "", "smartstore.egg-info/SOURCES.txt": "",
        ".git/config": "", ".venv/bin/python": "", "tests/test_x.py": "", "edge/__pycache__/main.pyc": "",
        "var/journal.db": "", ".mypy_cache/x": "",
    }  # fmt: skip
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_built_from_a_copy_without_what_is_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """setuptools would ship build/lib/edge/deleted.py, and leave a build folder of its own behind."""
    source = checkout(tmp_path / "source")
    before, built_from, tools = under(source), [], []

    def pip(*arguments: str, path: str = "") -> None:
        if arguments[0] == "install":
            assert "--require-hashes" in arguments
            assert arguments[arguments.index("-r") + 1].endswith("/requirements-build.lock")
            tools.append(arguments[arguments.index("--target") + 1])
            return
        wheels = Path(arguments[arguments.index("-d" if arguments[0] == "download" else "-w") + 1])
        wheels.mkdir(exist_ok=True)
        if arguments[0] == "download":
            assert "--require-hashes" in arguments
            (wheels / "tuf-6.0.0-py3-none-any.whl").touch()
            return
        assert "--no-build-isolation" in arguments
        assert [path] == tools, "built by what was pinned"
        (copy,) = [Path(word) for word in arguments if "/" in word and word != str(wheels)]
        assert copy.is_absolute(), "a bare word would be the name of a package on the index"
        built_from.append(under(copy))
        (copy / "build").mkdir()
        (wheels / "smartstore_gateway-1.4.0-py3-none-any.whl").touch()

    monkeypatch.setattr(bundle, "_pip", pip)
    monkeypatch.chdir(tmp_path)
    assert bundle.pack(Path("source"), tmp_path / "out.tar", lambda _: None) == ("1.4.0", 2)
    wanted = {"pyproject.toml", "requirements-gateway.lock", "requirements-build.lock"}
    assert built_from == [wanted | {"edge/main.py", "docs/a.md", "deploy/install.sh"}]
    assert under(source) == before
    assert not (source / "build/bdist").exists()
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = {member.name for member in archive if member.isfile()}
    assert {"docs/a.md", "deploy/install.sh", "wheels/tuf-6.0.0-py3-none-any.whl"} < names


def test_what_pip_could_not_do_is_said_with_its_cause(tmp_path: Path) -> None:
    source = checkout(tmp_path)
    (source / "requirements-gateway.lock").write_text("no such thing at all ==\n", encoding="utf-8")
    with pytest.raises(PublisherError, match="pip download: ERROR: Invalid requirement"):
        bundle.pack(source, tmp_path / "out.tar", lambda _: None)
    with pytest.raises(PublisherError, match="expected a checkout of the release"):
        bundle.pack(tmp_path / "nowhere", tmp_path / "out.tar", lambda _: None)


def linked(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def device(info: tarfile.TarInfo) -> None:
    info.type = tarfile.CHRTYPE


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("../outside", lambda info: None),
        ("wheels/../../outside", lambda info: None),
        ("/etc/outside", lambda info: None),
        ("wheels/x.whl", linked),
        ("wheels/x.whl", device),
    ],
    ids=["up", "up from within", "absolute", "link", "device"],
)
def test_nothing_in_a_bundle_leads_outside(
    tmp_path: Path, name: str, change: Callable[[tarfile.TarInfo], None]
) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 1
        change(info)
        archive.addfile(info, io.BytesIO(b"x") if info.isfile() else None)
    with pytest.raises(UpdateRefused, match="expected files and folders inside the bundle"):
        unpack(tmp_path / "b.tar", tmp_path / "slot" / "bundle")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "slot" / "outside").exists()


def test_a_bundle_comes_out_as_it_went_in(tmp_path: Path) -> None:
    (tmp_path / "in" / "wheels").mkdir(parents=True)
    (tmp_path / "in" / "wheels" / "a.whl").write_bytes(b"a" * 300_000)
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(tmp_path / "in" / "wheels", "wheels")
    unpack(tmp_path / "b.tar", tmp_path / "out")
    assert (tmp_path / "out/wheels/a.whl").read_bytes() == b"a" * 300_000
    cut = (tmp_path / "b.tar").read_bytes()[:100_000]
    (tmp_path / "b.tar").write_bytes(cut)
    with pytest.raises(UpdateRefused, match=r"b\.tar: "):
        unpack(tmp_path / "b.tar", tmp_path / "again")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("192.168.1.10", "192.168.1.10"),
        ("fd00::5", "[fd00::5]"),
    ],
)
def test_the_gateway_is_asked_where_it_listens(host: str, address: str) -> None:
    """A release must not be taken back because /health was looked for on another address, or by a name nobody knows."""
    assert ApiSettings(host=host).own_address == address

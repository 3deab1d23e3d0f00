"""The publisher's repository, read by the rules of The Update Framework (TUF specification 1.0, python-tuf).

Nothing here trusts the server, the network or the clock of the server: root keys sign who may sign, and every state
is newer than the last one seen, signed, not expired and of one piece. What is not so is refused by name.
"""

from __future__ import annotations

import http.client
import platform
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge.core.instant import US_PER_S
from edge.files import read_table, sync_folder, write_json
from edge.updates.errors import RepositoryUnreachable, UpdateRefused
from edge.updates.versions import order

TIMEOUT_S: Final = 20.0
PATIENCE_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 2_000  # a server that drips would hold the updater for ever (TUF: slow retrieval)
CHUNK_BYTES: Final = 64 * 1024
SIGNED_AT: Final = "x-signed-at"  # our field of the timestamp role: when it was signed, a floor for clocks
_SPARE_BYTES: Final = 32 << 20


def machine_kind() -> str:
    """What a release of software must have been made for, such as linux-aarch64-cp311."""
    return f"{sys.platform}-{platform.machine()}-cp{sys.version_info.major}{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Release:
    """One signed target. kind: software, model or firmware."""

    kind: str
    name: str
    version: str
    target: TargetFile
    custom: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Of the file, as signed."""
        return str(self.target.hashes["sha256"])


class _Fetcher(FetcherInterface):
    """HTTP(S) and files (a stick) with the standard library; remembers what was asked last."""

    def __init__(self) -> None:
        self.last = ""
        self._chunks_of_last: Iterator[bytes] = iter(())
        self._tls = ssl.create_default_context()

    def fetch(self, url: str) -> Iterator[bytes]:
        """As tuf's own, and `close` ends what tuf leaves half read (a file that is too long)."""
        self._chunks_of_last = super().fetch(url)
        return self._chunks_of_last

    def close(self) -> None:
        """End the last answer, also a half-read one; a stick could not be unmounted otherwise."""
        if isinstance(self._chunks_of_last, Generator):
            self._chunks_of_last.close()

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last = url
        try:
            answer = urllib.request.urlopen(url, timeout=TIMEOUT_S, context=self._tls)
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(f"{url}: HTTP {error.code}", error.code) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, FileNotFoundError) or "No such file" in str(error.reason):
                raise DownloadHTTPError(f"{url}: not there", 404) from None
            raise DownloadError(f"{url}: {error.reason}") from None
        return self._chunks(url, answer)

    @staticmethod
    def _chunks(url: str, answer: Any) -> Iterator[bytes]:
        began_s, n_bytes = time.monotonic(), 0
        try:
            with answer:
                while chunk := answer.read1(CHUNK_BYTES):
                    n_bytes += len(chunk)
                    if time.monotonic() - began_s > PATIENCE_S + n_bytes / SLOWEST_BYTES_PER_S:
                        raise SlowRetrievalError(f"{url}: {n_bytes} bytes only, slower than a link can be")
                    yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"{url}: {error or type(error).__name__}") from None


class Repository:
    """One look at the repository; make a new one for the next look."""

    def __init__(self, url: str, root: Path, trust: Path) -> None:
        """root: the first root metadata; trust: what was seen before. Raises UpdateRefused where root is none."""
        if urlsplit(url).scheme not in ("https", "http", "file"):
            raise RepositoryUnreachable(f"updates.url = {url!r}: expected https://…, http://… or file://…")
        trust.mkdir(parents=True, exist_ok=True)
        self._trust, self._seen_file, self._fetcher = trust, trust / "seen.json", _Fetcher()
        base = url.rstrip("/")
        try:
            self._updater = Updater(
                str(trust),
                f"{base}/metadata/",
                target_base_url=f"{base}/targets/",
                fetcher=self._fetcher,
                config=UpdaterConfig(),
                bootstrap=root.read_bytes(),
            )
        except OSError as error:
            raise UpdateRefused("forged", f"{root}: {error}: expected the publisher's root metadata") from None
        except RepositoryError as error:
            raise UpdateRefused("forged", f"{root}: {error}") from None
        self._targets: Targets | None = None

    @property
    def signed_us(self) -> int:
        """When the newest verified state was signed (µs since 1970), 0 before the first: no clock may be earlier."""
        return int(read_table(self._seen_file).get("signed_us", 0))

    def refresh(self) -> None:
        """Ask for the newest state. Raises UpdateRefused by name, RepositoryUnreachable."""
        try:
            self._updater.refresh()
        except (RepositoryError, DownloadError) as error:
            raise self._named(error) from None
        trusted = self._updater._trusted_set  # shown nowhere else
        seen = read_table(self._seen_file)
        now = {role: trusted[role].version for role in ("root", "timestamp", "snapshot", "targets")}
        for role, version in now.items():
            # tuf keeps its memory without fsync: after a power cut it may have forgotten; this file does not
            if version < int(seen.get(role, 0)):
                raise UpdateRefused("replay", f"{role} {version}: expected at least {seen[role]}, seen before")
        signed_us = max(int(seen.get("signed_us", 0)), _signed_us(trusted.timestamp))
        if (fresh := {**now, "signed_us": signed_us}) != seen:
            write_json(self._seen_file, fresh)
        sync_folder(self._trust)
        self._targets = trusted.targets

    def releases(self) -> list[Release]:
        """Everything signed now that this machine could use, oldest first by name and version."""
        if self._targets is None:
            raise RepositoryUnreachable("the repository was not asked yet")
        found = [release for target in self._targets.targets.values() if (release := _release(target)) is not None]
        return sorted(found, key=lambda release: (release.name, order(release.version)))

    def find(self, name: str, version: str) -> Release:
        """One release. Raises UpdateRefused (unknown_target)."""
        for release in self.releases():
            if (release.name, order(release.version)) == (name, order(version)):
                return release
        known = ", ".join(f"{one.name}-{one.version}" for one in self.releases()[-8:]) or "nothing"
        raise UpdateRefused("unknown_target", f"{name}-{version} for {machine_kind()}: the publisher signed {known}")

    def fetch(self, release: Release, path: Path) -> None:
        """Bring the release's file to `path`, whole and verified. Raises UpdateRefused, RepositoryUnreachable."""
        if self._updater.find_cached_target(release.target, str(path)):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < 2 * release.target.length + _SPARE_BYTES:
            wanted_mib = (2 * release.target.length + _SPARE_BYTES) >> 20
            raise UpdateRefused("no_room", f"{path.parent}: {free >> 20} MiB free, expected {wanted_mib} MiB")
        try:
            self._updater.download_target(release.target, str(path))
        except (RepositoryError, DownloadError) as error:
            path.unlink(missing_ok=True)
            raise self._named(error) from None

    def _named(self, error: Exception) -> UpdateRefused | RepositoryUnreachable:
        """tuf's error by the name of the attack that it would be."""
        self._fetcher.close()
        about = urlsplit(self._fetcher.last).path.rpartition("/")[2] or "metadata"
        detail = f"{about}: {error}"
        match error:
            case ExpiredMetadataError():
                return UpdateRefused("freeze", detail)
            case UnsignedMetadataError():
                return UpdateRefused("forged", detail)
            case LengthOrHashMismatchError() | DownloadLengthMismatchError():
                return UpdateRefused("tampered", detail)
            case BadVersionNumberError():
                # A timestamp or root is compared with what was seen before, the others with what announced them.
                older = about.endswith(("timestamp.json", "root.json"))
                return UpdateRefused("replay" if older else "mix_and_match", detail)
            case RepositoryError():
                return UpdateRefused("tampered", detail)
        return RepositoryUnreachable(detail)


def _signed_us(timestamp: Timestamp) -> int:
    told = timestamp.unrecognized_fields.get(SIGNED_AT)
    try:
        return int(datetime.fromisoformat(str(told)).astimezone(UTC).timestamp() * US_PER_S)
    except ValueError:
        return 0


def _release(target: TargetFile) -> Release | None:
    """A target as a release; None for what is none of ours or was made for another kind of machine."""
    custom = target.custom if isinstance(target.custom, dict) else {}
    try:
        release = Release(str(custom["kind"]), str(custom["name"]), str(custom["version"]), target, custom)
        order(release.version)
    except (KeyError, ValueError):
        return None
    fits = custom.get("machine", "any") in ("any", machine_kind())
    return release if fits and release.kind in ("software", "model", "firmware") else None

"""The gateway's certificate while it runs: for each name and address it has, renewed in time, without a stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from edge.access import LocalAuthority
from edge.settings import WILDCARDS, ApiSettings

LOOK_S = 300.0  # a new address (DHCP) or a clock that was set needs a new certificate soon
# Nothing is sent: connecting a datagram socket asks the kernel which own address it would use (RFC 5737, RFC 3849).
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def own_addresses() -> list[str]:
    """Addresses under which this machine reaches, and is reached from, its networks; none without a network."""
    found: list[str] = []
    for family, place in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((place, 9))
            found.append(str(probe.getsockname()[0]))
    return found


class PublicName:
    """The publicly trusted certificate of the shoppers' page: chosen by SNI (RFC 6066, 3), read again when it changes.

    Browsers refuse a service worker under a CA that they do not know, and shoppers cannot be asked to trust ours.
    """

    def __init__(self, api: ApiSettings) -> None:
        self.name = api.public_name.lower()
        self._files = (Path(api.public_certificate), Path(api.public_key))
        self._seen: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None

    def look(self) -> str:
        """Take the files where they changed; what is wrong with them in words, "" for nothing.

        A pair that cannot be used leaves the one before in use.
        """
        if not self.name:
            return ""
        try:
            seen = tuple(file.stat().st_mtime_ns for file in self._files)
            if seen != self._seen:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.load_cert_chain(*self._files)
                self._context, self._seen = context, seen
        except (OSError, ssl.SSLError) as error:
            files = " and ".join(map(str, self._files))
            return f"the certificate of {self.name} cannot be used ({files}: {error}): expected a PEM chain and its key"
        return ""

    def choose(self, tls: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext) -> None:
        """The callback of a handshake."""
        if self._context is not None and server_name is not None and server_name.lower() == self.name:
            tls.context = self._context


class Certificates:
    """CA, certificate and the TLS context that every connection begins with."""

    def __init__(
        self,
        folder: Path,
        api: ApiSettings,
        wall_us: Callable[[], int],
        addresses: Callable[[], list[str]] = own_addresses,
    ) -> None:
        """Make or renew what is due. folder: where keys are kept; wall_us: wall time (µs since 1970)."""
        self.authority = LocalAuthority(folder)
        self._api, self._wall_us, self._addresses = api, wall_us, addresses
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2  # old tills and phones; 1.3 where both can
        self._leaf = b""
        self.fingerprint = ""
        self.public = PublicName(api)
        self.public.look()  # what is wrong is told by `run`: a store works without its shoppers' page
        self.context.sni_callback = self.public.choose
        self.renew()

    def names(self) -> tuple[str, ...]:
        """Every name and address that the certificate must be good for."""
        own = socket.gethostname().lower()
        named = [] if self._api.host in WILDCARDS else [self._api.host]
        every = ("localhost", "127.0.0.1", own, f"{own}.local", *named, *self._api.names, *self._addresses())
        return tuple(dict.fromkeys(every))

    def renew(self) -> bool:
        """Renew what is due; True where connections from now on get another certificate."""
        self.fingerprint = self.authority.ensure(self.names(), self._wall_us())
        leaf = self.authority.leaf.read_bytes()
        if leaf == self._leaf:
            return False
        self.context.load_cert_chain(self.authority.leaf, self.authority.leaf_key)
        self._leaf = leaf
        return True

    @property
    def ca_pem(self) -> str:
        """The CA's certificate, for who compares its fingerprint."""
        return (self.authority.folder / "ca.pem").read_text(encoding="ascii")

    async def run(self, alarm: Callable[[str], None], every_s: float = LOOK_S) -> None:
        """Look again and again. alarm: told why it cannot be renewed (a full disk, say), and "" when it could."""
        alarm(self.public.look())
        while True:
            await asyncio.sleep(every_s)
            try:
                self.renew()
            except OSError as error:
                alarm(f"the certificate could not be renewed: {error}")
            else:
                alarm(self.public.look())

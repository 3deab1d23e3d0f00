"""Finding LLRP readers, and finding one again after DHCP gave it another address."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

from devices.discovery import MDNS, Candidate, browse, probe
from devices.driver import DriverContext
from devices.rfid_llrp.capabilities import read_capabilities
from devices.rfid_llrp.identity import normal_identity, read_identity
from devices.rfid_llrp.link import LlrpLink
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceError, DeviceRefused

SERVICE = "_llrp._tcp.local."  # LLRP 1.1, annex on discovery; IANA service name "llrp"
PORT, TLS_PORT = 5084, 5085
CONNECT_S = 1.0  # most addresses of a network are empty
FINGERPRINT_S = 5.0
GENERAL_CAPABILITIES = 1
Open = Callable[[str], Awaitable[ByteStream]]


async def fingerprint(open_stream: Open, address: str, port: int) -> Candidate | None:
    """Ask what listens there who it is; None if it is no LLRP reader. A reader in use says only that.

    The reader is left as it was: nothing is configured, nothing is read.
    """
    moniker = f"{'tls' if port == TLS_PORT else 'tcp'}:{address}:{port}"
    context = DriverContext(moniker, lambda: 0, open_stream)
    try:
        async with asyncio.timeout(FINGERPRINT_S):
            async with asyncio.timeout(CONNECT_S):
                stream = await open_stream(moniker)
            link = LlrpLink(context, stream)
            try:
                await link.greet()
                answer = await link.request("GET_READER_CAPABILITIES", {"RequestedData": GENERAL_CAPABILITIES})
                capabilities = read_capabilities(answer)
                identity = await read_identity(link)
            finally:
                await link.close_politely()
    except DeviceRefused as error:
        return Candidate("rfid_llrp", moniker, "", "LLRP reader", error.detail)
    except (DeviceError, TimeoutError):
        return None
    return Candidate("rfid_llrp", moniker, identity, capabilities.model_name, capabilities.firmware)


async def discover(
    open_stream: Open, networks: tuple[str, ...] = (), port: int = PORT, mdns: tuple[str, int] = MDNS
) -> list[Candidate]:
    """Readers that announce themselves by mDNS, then those that listen on `port` in `networks`; each one once."""

    async def ask(address: str, port: int) -> Candidate | None:
        return await fingerprint(open_stream, address, port)

    found: dict[str, Candidate] = {}
    for service in await browse(SERVICE, to=mdns):
        candidate = await ask(service.address, service.port)
        if candidate is not None:
            found[candidate.moniker] = candidate
    for network in networks:
        for candidate in await probe(network, port, ask):
            found.setdefault(candidate.moniker, candidate)
    return list(found.values())


async def find_again(open_stream: Open, identity: str, moniker: str, mdns: tuple[str, int] = MDNS) -> str | None:
    """The moniker at which the reader of this identity answers now; None where it is not to be found.

    Looks among those that announce themselves, then in the /24 of its old address (only for IPv4 addresses: a name
    is found again by DNS).
    """
    scheme, _, rest = moniker.partition(":")
    target, question_mark, options = rest.partition("?")  # the options stay
    host, _, port = target.rpartition(":")
    if scheme not in ("tcp", "tls") or not port.isdigit():
        return None
    for candidate in await discover(open_stream, _neighbourhood(host), int(port), mdns):
        if candidate.identity == normal_identity(identity):
            return f"{scheme}:{candidate.moniker.partition(':')[2]}{question_mark}{options}"
    return None


def _neighbourhood(host: str) -> tuple[str, ...]:
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return ()
    return () if address.is_loopback else (f"{address}/24",)

"""Finding devices on the network: mDNS one-shot queries and a bounded probe of one port.

What answers is only a candidate: a family's own fingerprint (`devices.rfid_llrp.discovery`) says what it is. A device
is known by its identity, never by its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from edge.core.plain import PlainError

MDNS = ("224.0.0.251", 5353)  # RFC 6762, 3
BROWSE_S = 2.0
MAX_ANSWERS = 256
MAX_HOSTS = 1024  # a probe of more than a /22 is no look around but a scan
AT_ONCE = 32
_UNICAST_ANSWER = 0x8000  # RFC 6762, 5.4: top bit of the class


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that was found. kind as in the registry; identity "" where it would not tell; note for people."""

    kind: str
    moniker: str
    identity: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """An answer to an mDNS query: the instance's name and where it listens."""

    name: str
    address: str
    port: int


async def browse(service: str, seconds: float = BROWSE_S, to: tuple[str, int] = MDNS) -> list[Service]:
    """Services of a type such as ``_llrp._tcp.local.`` that answer within `seconds`.

    A one-shot query (RFC 6762, 5.1): from a port of our own, so that answers come to us alone. Raises nothing: a
    machine without a network finds nothing.
    """
    loop = asyncio.get_running_loop()
    collector = _Collector()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: collector, local_addr=("0.0.0.0", 0))
    except OSError:
        return []
    query = dns.message.make_query(service, dns.rdatatype.PTR)
    query.id = 0
    query.flags = dns.flags.Flag(0)
    question = query.question[0]
    question.rdclass = dns.rdataclass.RdataClass(int(question.rdclass) | _UNICAST_ANSWER)
    try:
        with contextlib.suppress(OSError):
            transport.sendto(query.to_wire(), to)
            await asyncio.sleep(seconds / 2)
            transport.sendto(query.to_wire(), to)  # multicast over radio gets lost: ask twice
            await asyncio.sleep(seconds / 2)
    finally:
        transport.close()
    return _services(service, collector.answers)


class _Collector(asyncio.DatagramProtocol):
    """Keeps datagrams, so many and no more."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, str]] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(self.answers) < MAX_ANSWERS:
            self.answers.append((data, addr[0]))


def _services(service: str, answers: Iterable[tuple[bytes, str]]) -> list[Service]:
    """Instances of PTR records that have an SRV record; the address is that of its host, or of the sender."""
    found: dict[str, Service] = {}
    for data, sender in answers:
        try:
            found.update((one.name, one) for one in _services_of(dns.name.from_text(service), data, sender))
        except (dns.exception.DNSException, ValueError, AttributeError, IndexError):
            continue  # anybody may send us datagrams
    return list(found.values())


def _services_of(wanted: dns.name.Name, data: bytes, sender: str) -> Iterator[Service]:
    records = _records(data)
    instances = {row.target for rrset in records if rrset.name == wanted for row in _rows(rrset, "PTR")}
    hosts = {rrset.name: row.address for rrset in records for row in _rows(rrset, "A")}
    for rrset in records:
        for row in _rows(rrset, "SRV") if rrset.name in instances else ():
            yield Service(rrset.name.labels[0].decode("utf-8", "replace"), hosts.get(row.target, sender), row.port)


def _records(data: bytes) -> list[dns.rrset.RRset]:
    """All records of an answer; mDNS uses the top bit of the class as its cache-flush bit (RFC 6762, 10.2)."""
    message = dns.message.from_wire(_without_flush_bits(data), ignore_trailing=True)
    return [*message.answer, *message.additional]


def _without_flush_bits(data: bytes) -> bytes:
    """The message with the top bit of every record's class cleared, for a parser of plain DNS."""
    out = bytearray(data)
    counts = [int.from_bytes(data[at : at + 2], "big") for at in (4, 6, 8, 10)]
    at = 12
    for index in range(min(sum(counts), MAX_ANSWERS)):
        at = _after_name(data, at)
        out[at + 2] &= 0x7F
        at += 4 if index < counts[0] else 10 + int.from_bytes(data[at + 8 : at + 10], "big")
    return bytes(out)


def _after_name(data: bytes, at: int) -> int:
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += data[at] + 1
    return at + 1


def _rows(rrset: dns.rrset.RRset, kind: str) -> list[Any]:
    return list(rrset) if rrset.rdtype == dns.rdatatype.from_text(kind) else []


async def probe(
    network: str, port: int, fingerprint: Callable[[str, int], Awaitable[Candidate | None]]
) -> list[Candidate]:
    """Fingerprint one port on every address of a network such as ``192.168.1.0/24``, so many at once.

    There is no look beforehand whether the port is open: a reader that takes one client would take that for one.
    Raises PlainError for what is no network, or has more than MAX_HOSTS addresses.
    """
    hosts = _hosts(network)
    places = asyncio.Semaphore(AT_ONCE)

    async def look(host: str) -> Candidate | None:
        async with places:
            return await fingerprint(host, port)

    found = await asyncio.gather(*(look(host) for host in hosts))
    return [candidate for candidate in found if candidate is not None]


def _hosts(network: str) -> list[str]:
    try:
        parsed = ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise PlainError("network", network, "a network such as 192.168.1.0/24") from error
    if parsed.num_addresses > MAX_HOSTS:
        raise PlainError("network", network, f"at most {MAX_HOSTS} addresses (a /22)")
    return [str(host) for host in parsed.hosts()]

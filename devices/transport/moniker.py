"""Monikers: ``scheme:target?option=value&…``, the one way to name a link in settings and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import parse_qsl

from edge.core.plain import PlainError

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "serial": ("baud", "dtr", "wait"),
    "tcp": (),
    "tls": ("ca", "cert", "key", "pin", "name"),
    "sim": (),
    "replay": ("speed",),
}
"""The options of each scheme, besides ``tap`` which all have."""


@dataclass(frozen=True, slots=True)
class Moniker:
    """A parsed moniker; `text` is what the person wrote and names the link in every error."""

    text: str
    scheme: str
    target: str
    options: Mapping[str, str]

    def check(self) -> None:
        """Raise PlainError for what can be known to be wrong without opening it: scheme, options, host and port."""
        if self.scheme not in OPTIONS:
            raise PlainError("moniker", self.text, f"one of the schemes {', '.join(OPTIONS)}")
        known = (*OPTIONS[self.scheme], "tap")
        for name, value in self.options.items():
            if name not in known:
                raise PlainError(f"{self.text}: {name}", value, f"one of the options {', '.join(known)}")
        if self.scheme in ("tcp", "tls"):
            self.host_port()

    def number(self, name: str, default: float, minimum: float, maximum: float) -> float:
        """A numeric option within bounds. Raises PlainError naming option, value and range."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not minimum <= value <= maximum:
            raise PlainError(f"{self.text}: {name}", text, f"a number from {minimum:g} to {maximum:g}")
        return value

    def switch(self, name: str, default: bool) -> bool:
        """An option that is "on" or "off". Raises PlainError for anything else."""
        text = self.options.get(name, "on" if default else "off")
        if text not in ("on", "off"):
            raise PlainError(f"{self.text}: {name}", text, "on or off")
        return text == "on"

    def host_port(self) -> tuple[str, int]:
        """The target as HOST:PORT, IPv6 hosts in brackets. Raises PlainError."""
        host, _, port = self.target.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise PlainError("moniker", self.text, f"{self.scheme}:HOST:PORT with a port from 1 to 65535")
        return host, int(port)


def parse_moniker(text: str) -> Moniker:
    """Split a moniker; ``tcp://HOST:PORT`` is ``tcp:HOST:PORT``. Raises PlainError without scheme or target."""
    scheme, colon, rest = text.partition(":")
    target, _, query = rest.removeprefix("//").partition("?")
    if not colon or not target:
        raise PlainError("moniker", text, "SCHEME:TARGET, for example serial:/dev/serial/by-id/… or tcp:HOST:PORT")
    return Moniker(text, scheme, target, dict(parse_qsl(query, keep_blank_values=True)))


class _LinkRule:
    """A moniker that can be right, as a rule of settings."""

    def fault(self, value: str) -> str:
        """See `edge.core.plain.Rule`."""
        try:
            parse_moniker(value).check()
        except PlainError as error:
            return error.expected
        return ""

    def __str__(self) -> str:
        return "a moniker"


Link = Annotated[str, _LinkRule()]
"""The type of a setting that names a link: what cannot be right is refused when the settings are read."""

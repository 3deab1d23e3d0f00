"""The composition root's share of the twin: what the platform may configure from afar, and whether it does well.

A desired configuration has these sections; one that is missing stays as it is, and a missing key of ``uplink`` means
what the settings file says::

    uplink            {hosts, rate_per_s, state_delay_s, connect_every_s, stay_s}
    planogram         the whole planogram, as PUT /v1/planogram takes it
    reorder_policies  [{gtin, policy, …}], as the command set_reorder_policy takes them
    promotions        [{…}], as set_promotions
    rules             [{…}], as set_rules
    versions          {target: version} that this store is to run (staged rollout), where a `Rollout` is wired
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloud_bridge.settings import UplinkSettings, endpoint
from cloud_bridge.uplink import Uplink
from edge.core.errors import GatewayError, SettingsError
from edge.core.fact import JsonValue
from edge.core.plain import PlainError, build
from edge.core.ports import Command, Rollout
from edge.installation import Installation
from edge.runtime import Runtime

TRIAL_S = 60.0  # so long the connection may take to come back
WATCH_S = 10.0  # and at least so long nothing else may go wrong
LOOK_S = 0.5
COMMANDS = {"promotions": "set_promotions", "rules": "set_rules"}


@dataclass(frozen=True, slots=True)
class LinkWish:
    """``uplink``: what may be said of the connection from afar; None means as in the settings file."""

    hosts: tuple[str, ...] | None = None
    rate_per_s: float | None = None
    state_delay_s: float | None = None
    connect_every_s: float | None = None
    stay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A desired configuration, read."""

    uplink: LinkWish = field(default_factory=LinkWish)
    planogram: dict[str, Any] | None = None
    reorder_policies: tuple[dict[str, Any], ...] | None = None
    promotions: tuple[dict[str, Any], ...] | None = None
    rules: tuple[dict[str, Any], ...] | None = None
    versions: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """How long a new configuration is watched."""

    limit_s: float = TRIAL_S
    watch_s: float = WATCH_S


class GatewayConfiguration:
    """`Configuration` of a running gateway."""

    def __init__(
        self,
        runtime: Runtime,
        installation: Installation,
        uplink: Uplink,
        rollout: Rollout | None = None,
        trial: Trial | None = None,
    ) -> None:
        """The uplink's present settings are those of the file, which a wish departs from."""
        self._runtime, self._installation, self._uplink, self._rollout = runtime, installation, uplink, rollout
        self._base = uplink.settings
        self._link = LinkWish()
        self._trial = trial or Trial()
        self._alarms: frozenset[str] = frozenset()
        self._wanted: dict[str, str] | None = None

    def current(self) -> Mapping[str, JsonValue]:
        """Everything that runs, complete: applying it brings all of it back."""
        parts = self._runtime.engine.parts
        found: dict[str, Any] = {
            "uplink": {name: _plain(value) for name, value in _set(self._link).items()},
            "planogram": self._installation.site_document(),
            "reorder_policies": parts.reorder.policies(),
            "promotions": parts.promotions.rows(),
            "rules": list(parts.promotions.rules),
        }
        if self._rollout is not None:
            found["versions"] = dict(self._rollout.wanted())
        return found

    async def apply(self, config: Mapping[str, JsonValue]) -> None:
        """Put every section into effect. Raises GatewayError naming key, value, expectation; then nothing changed."""
        wish = self._read(config)
        settings = self._settings(wish.uplink)
        before = self._read(self.current())
        self._alarms = frozenset(self._runtime.health.alarms)
        try:
            await self._put(wish)
        except GatewayError:
            await self._put(before)
            raise
        self._link = wish.uplink
        self._uplink.use(settings)
        self._wanted = wish.versions

    async def fault(self) -> str:
        """ "" once the connection has lasted and no new alarm rang for ten seconds; else what is wrong."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            await asyncio.sleep(min(LOOK_S, self._trial.watch_s))
            took_s = loop.time() - began_s
            health = self._runtime.health
            if new := sorted(set(health.alarms) - self._alarms):
                return f"{new[0]}: {health.alarms[new[0]]}"
            if stale := health.stale():
                return f"no heartbeat of {', '.join(stale)}"
            if took_s >= self._trial.watch_s and self._is_connected(began_s):
                return ""
            if took_s >= self._trial.limit_s:
                cause = self._uplink.status.cause or "silent"
                return f"uplink not connected after {self._trial.limit_s:.0f} s: {cause}"

    def _is_connected(self, since_s: float) -> bool:
        """Connected now or, on a metered link, at least once since then."""
        return self._uplink.status.connected or self._uplink.status.left_at_s > since_s

    async def confirm(self) -> None:
        """It has proven itself: what may end this process (an update) may begin now."""
        if self._rollout is not None and self._wanted is not None:
            await self._rollout.want(self._wanted)

    async def resume(self, config: Mapping[str, JsonValue]) -> None:
        """After a restart: only what the journal does not keep by itself, so that nothing local is undone."""
        wish = self._read(config)
        self._link = wish.uplink
        self._uplink.use(self._settings(wish.uplink))
        self._wanted = wish.versions

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, config: Mapping[str, JsonValue]) -> Wish:
        try:
            wish = build(Wish, config)
        except PlainError as error:
            raise SettingsError("twin/desired", error.key, error.value, error.expected) from None
        if wish.versions is not None:
            if self._rollout is None:
                raise SettingsError("twin/desired", "versions", wish.versions, "nothing: this gateway has no updates")
            self._rollout.check(wish.versions)
        return wish

    def _settings(self, wish: LinkWish) -> UplinkSettings:
        """The settings file with the wish on top of it. Raises SettingsError."""
        changes: dict[str, Any] = _set(wish)
        try:
            settings = replace(self._base, **changes)
            if not settings.hosts:
                raise PlainError("hosts", [], "at least one broker")
            if any(one.secure for one in self._base.endpoints()):
                for address in settings.hosts:
                    if not endpoint(address).secure:
                        raise PlainError("hosts", address, "mqtts or wss, as in the settings file")
        except PlainError as error:
            raise SettingsError("twin/desired", f"uplink.{error.key}", error.value, error.expected) from None
        return settings

    # --- doing --------------------------------------------------------------------------------------------------------

    async def _put(self, wish: Wish) -> None:
        if wish.planogram is not None and wish.planogram != self._installation.site_document():
            await self._installation.use_site(wish.planogram, "twin", _command_id())
        if wish.reorder_policies is not None:
            await self._put_policies(wish.reorder_policies)
        for section, command in COMMANDS.items():
            rows = getattr(wish, section)
            if rows is not None:
                await self._execute(section, command, {section: list(rows)})

    async def _put_policies(self, rows: tuple[dict[str, Any], ...]) -> None:
        """Those named, and no others."""
        before = {str(row["gtin"]) for row in self._runtime.engine.parts.reorder.policies()}
        for index, row in enumerate(rows):
            await self._execute(f"reorder_policies[{index}]", "set_reorder_policy", row)
        kept = {str(row["gtin"]) for row in rows}
        for gtin in sorted(before - kept):
            await self._execute("reorder_policies", "set_reorder_policy", {"gtin": gtin, "policy": "none"})

    async def _execute(self, section: str, name: str, args: Mapping[str, JsonValue]) -> None:
        result = await self._runtime.execute(Command(_command_id(), name, args, "twin"))
        if result.status == "rejected":
            raise SettingsError("twin/desired", section, result.reason, result.detail)


def _command_id() -> str:
    return f"twin-{secrets.token_hex(8)}"


def _set(wish: LinkWish) -> dict[str, Any]:
    """The keys that are wished for."""
    found = {row.name: getattr(wish, row.name) for row in dataclasses.fields(wish)}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value

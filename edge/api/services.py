"""What the API may use of the gateway: handed over once by the composition root."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, cast

from fastapi import Depends, Header, Request

from edge.access import Access, Person, Role
from edge.access.enrolment import Enrolment
from edge.api.feed import Feed
from edge.api.problems import Problem
from edge.beacon_keys import BeaconKeys
from edge.core.fact import JsonValue
from edge.core.ports import Command
from edge.core.retention import Retention
from edge.core.site import Site
from edge.discovery import Discovery
from edge.health import Health
from edge.jobs import Jobs, Progress
from edge.logbook import Logbook
from edge.metrics import Sample
from edge.network import MachineNetwork
from edge.recordings import Recordings
from edge.runtime import Runtime
from edge.settings import ApiSettings, DeviceEntry
from edge.updates.report import UpdateDesk


class Installed(Protocol):
    """Positions and planogram, changed while the gateway runs; the composition root has the drivers."""

    beacon_keys: BeaconKeys

    def entries(self) -> dict[str, DeviceEntry]:
        """Every position by its id."""
        ...

    def driver(self, device_id: str) -> object | None:
        """The running driver, None while it is down; what it can do beyond running, it shows by its methods."""
        ...

    def kinds(self) -> list[dict[str, Any]]:
        """Kinds of devices with the settings that each takes."""
        ...

    def check(self, entry: DeviceEntry) -> None:
        """Raises PlainError for a kind or a setting that cannot be."""
        ...

    async def put(self, entry: DeviceEntry) -> None:
        """Add or change a position. Raises PlainError."""
        ...

    async def retire(self, device_id: str) -> None:
        """Take a position out of service."""
        ...

    def site(self) -> Site:
        """The planogram with the present catalogue."""
        ...

    def site_document(self) -> dict[str, Any]:
        """The same as plain JSON."""
        ...

    async def use_site(self, document: Mapping[str, Any], actor: str, command_id: str) -> Site:
        """Put a planogram into effect. Raises SiteError, SettingsError."""
        ...


class DoorAid(Protocol):
    """A technician's work at a door sensor. Frames stay in memory; what goes wrong is an InferenceError or LinkLost."""

    async def model(self) -> dict[str, str]:
        """The model that counts."""
        ...

    def aid(self, device_id: str) -> dict[str, Any]:
        """What is gathered now."""
        ...

    def heat(self, device_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The newest frame, again and again."""
        ...

    async def walk(self, device_id: str, seconds: float, tell: Progress) -> dict[str, int]:
        """Gather one walk inwards."""
        ...

    def forget_walks(self, device_id: str) -> None:
        """Begin the walks anew."""
        ...

    async def mount(self, device_id: str, half_field_deg: float) -> dict[str, Any]:
        """What ten walks tell."""
        ...

    async def walk_test(self, device_id: str, seconds: float, tell: Progress) -> dict[str, Any]:
        """Compare what is counted with what is pressed."""
        ...

    def pressed(self, device_id: str, direction: str) -> int:
        """Somebody goes through now."""
        ...

    async def record(self, device_id: str, seconds: float, notice_shown: bool, tell: Progress) -> dict[str, int]:
        """Keep frames in memory for a while."""
        ...

    async def take_recording(self, device_id: str) -> bytes:
        """The recording, once."""
        ...

    def forget_recording(self, device_id: str) -> None:
        """Throw it away."""
        ...


class WayOut(Protocol):
    """Proxy and WebSocket of the link to the platform."""

    def state(self) -> dict[str, Any]:
        """proxy, websocket, hosts."""
        ...

    async def choose(self, proxy: str, websocket: bool) -> None:
        """Go this way from now on. Raises PlainError."""
        ...


@dataclass(slots=True)
class Services:
    """The rooms behind the routes."""

    runtime: Runtime
    health: Health
    version: str
    started_us: int
    access: Access
    enrolment: Enrolment
    jobs: Jobs
    installation: Installed
    discovery: Discovery
    settings: ApiSettings
    uplink: Callable[[], str]
    doors: DoorAid
    logbook: Logbook
    measures: Callable[[], Iterable[Sample]]
    recordings: Recordings
    restart: Callable[[], None]
    network: MachineNetwork
    way_out: WayOut
    updates: UpdateDesk
    retention: Retention = field(default_factory=Retention)
    fingerprint: str = ""
    ca_pem: str = ""
    feed: Feed = field(init=False)
    editing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from the look at a version to the change of it, so that of two who edit the same one only one wins."""

    def __post_init__(self) -> None:
        self.feed = Feed(self.runtime.journal)

    @property
    def site(self) -> Site:
        """The planogram with the present catalogue."""
        return self.installation.site()


def services_of(request: Request) -> Services:
    """Dependency of the routes: the services of the app that serves this request."""
    return cast("Services", request.app.state.services)


async def _services(request: Request) -> Services:
    return services_of(request)  # a coroutine: FastAPI would send a plain function to a thread


class Needs:
    """Dependency: the person of the request, who must have at least this role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Person:
        """The person. Raises Problem 401 without a sign-in, 403 with too small a role."""
        person = request.scope.get("person")
        if not isinstance(person, Person):
            raise Problem(401, "not_signed_in", "this needs a sign-in", "Sign in, or send an API token.")
        if not person.role.may(self.role):
            detail = f"{person.name} is {person.role}: expected {self.role} or more"
            raise Problem(403, "role", detail, f"Ask somebody who is {self.role}.")
        return person


Here = Annotated[Services, Depends(_services)]
Viewer = Annotated[Person, Depends(Needs(Role.VIEWER))]
Staff = Annotated[Person, Depends(Needs(Role.STAFF))]
Technician = Annotated[Person, Depends(Needs(Role.TECHNICIAN))]
Admin = Annotated[Person, Depends(Needs(Role.ADMIN))]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=80, pattern=r"^[\x21-\x7e]+$", description="repeats do nothing new"),
]

MISSING = frozenset({"unknown_gtin", "unknown_hold"})
CONFLICTS = frozenset({"wrong_state", "known_hold", "known_delivery", "not_enough_stock", "load_moves", "in_planogram"})


async def carry_out(here: Services, person: Person, name: str, args: Mapping[str, JsonValue], key: str | None) -> str:
    """Execute a command and audit it; returns its id. Raises Problem where it is rejected."""
    command_id = f"api-{person.name}-{key}" if key else f"api-{secrets.token_hex(8)}"
    result = await here.runtime.execute(Command(command_id, name, args, person.name))
    if result.status == "rejected":
        status = 404 if result.reason in MISSING else 409 if result.reason in CONFLICTS else 422
        raise Problem(status, result.reason, result.detail, "Correct the named value and try again.")
    target = next((str(args[known]) for known in ("hold", "gtin", "lane", "shelf") if known in args), "")
    await here.access.audit.add(person.name, name, target)
    return command_id

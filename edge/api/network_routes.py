"""The network page's API: address, Wi-Fi, time servers, and the way to the platform (proxy, WebSocket on 443)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from edge.api.services import Here, Services, Technician
from edge.network import Address

router = APIRouter(tags=["network"])
Interface = Annotated[str, Path(pattern=r"^[A-Za-z0-9._@-]{1,15}$")]
Text = Annotated[str, Field(max_length=64)]


class AddressIn(BaseModel):
    """IPv4 of an interface; with `auto` (DHCP) the rest is left out."""

    method: Literal["auto", "manual"]
    address: Text = ""
    gateway: Text = ""
    dns: Annotated[list[Text], Field(max_length=4)] = []


class WifiIn(BaseModel):
    """A Wi-Fi and its password, "" for an open one."""

    ssid: Annotated[str, Field(min_length=1, max_length=32)]
    password: Annotated[str, Field(max_length=63)] = ""


class TimeIn(BaseModel):
    """Time servers (NTP); none: those of the machine."""

    servers: Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=4)] = []


class LinkIn(BaseModel):
    """How the platform is reached: an HTTP proxy such as http://proxy:3128, and whether 443 is tried as well."""

    proxy: Annotated[str, Field(max_length=200)] = ""
    websocket: bool = False


@router.get("/v1/network")
async def network(here: Here, who: Technician) -> dict[str, Any]:
    """Interfaces with their addresses, time servers, a change on trial, and the way to the platform."""
    del who
    return await network_document(here)


async def network_document(here: Services) -> dict[str, Any]:
    """What the page shows."""
    return {**await here.network.state(), "link": here.way_out.state()}


@router.get("/v1/network/wifi")
async def wifi(here: Here, who: Technician) -> list[dict[str, Any]]:
    """Wi-Fi networks in the air, strongest first."""
    del who
    return await here.network.wifi()


@router.put("/v1/network/interfaces/{name}")
async def set_address(here: Here, who: Technician, name: Interface, body: AddressIn) -> dict[str, Any]:
    """Set an address, on trial: it is taken back after 90 s unless somebody who still reaches the gateway confirms."""
    wish = Address(body.method, body.address, body.gateway, tuple(one for one in body.dns if one))
    await here.network.set_address(name, wish)
    await here.access.audit.add(who.name, "set_network", name, body.address or body.method)
    return await network_document(here)


@router.post("/v1/network/wifi")
async def join_wifi(here: Here, who: Technician, body: WifiIn) -> dict[str, Any]:
    """Join a Wi-Fi, on trial like an address."""
    await here.network.join_wifi(body.ssid, body.password)
    await here.access.audit.add(who.name, "set_network", "wifi", body.ssid)
    return await network_document(here)


@router.post("/v1/network/confirm")
async def confirm(here: Here, who: Technician) -> dict[str, Any]:
    """Keep the change on trial."""
    what = await here.network.confirm()
    await here.access.audit.add(who.name, "confirm_network", what)
    return await network_document(here)


@router.post("/v1/network/revert")
async def revert(here: Here, who: Technician) -> dict[str, Any]:
    """Take the change on trial back now."""
    what = await here.network.revert()
    await here.access.audit.add(who.name, "revert_network", what)
    return await network_document(here)


@router.put("/v1/network/time")
async def set_time(here: Here, who: Technician, body: TimeIn) -> dict[str, Any]:
    """Use these time servers, also after a restart."""
    await here.network.set_ntp(tuple(one for one in body.servers if one))
    await here.access.audit.add(who.name, "set_time", "", ", ".join(body.servers))
    return await network_document(here)


@router.put("/v1/network/link")
async def set_link(here: Here, who: Technician, body: LinkIn) -> dict[str, Any]:
    """Set proxy and WebSocket for the way to the platform; the link begins anew at once."""
    await here.way_out.choose(body.proxy, body.websocket)
    await here.access.audit.add(who.name, "set_link", "", f"{body.proxy} {'443' if body.websocket else ''}".strip())
    return await network_document(here)

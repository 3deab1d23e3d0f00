"""How RFID is: antennas against their own history, tags, unknown tags, what became of the reads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from edge.api.services import Here, Services, Viewer

router = APIRouter(tags=["devices"])


class AntennaRow(BaseModel):
    """One antenna. state: ok, quiet (far below its history), silent, unheard, disconnected or reader down."""

    device: str
    port: int
    place: str
    role: str
    state: str
    reads_per_s: float
    usual_reads_per_s: float


class Stranger(BaseModel):
    """An EPC that is no item of the catalogue, and the place that read it."""

    epc: str
    place: str


class Strangers(BaseModel):
    """total: first sights ever; one that was forgotten in between counts again. last: the latest ten."""

    total: int
    last: Annotated[list[Stranger], Field(max_length=10)]


class RfidStatus(BaseModel):
    """tags: present, known (with those that left lately) and rows of the table. reads: what became of them."""

    profile: str
    antennas: list[AntennaRow]
    tags: dict[str, int]
    strangers: Strangers
    reads: dict[str, int]


@router.get("/v1/rfid", response_model=RfidStatus)
async def rfid(here: Here, who: Viewer) -> dict[str, Any]:
    """RFID as a whole: what each antenna reads now and usually, tags known and unknown, reads used and left out."""
    del who
    return here.runtime.engine.parts.presence.status()


def antennas_of(here: Services, device_id: str) -> list[dict[str, Any]]:
    """The antennas of one reader, for its page."""
    return [row for row in here.runtime.engine.parts.presence.antenna_rows() if row["device"] == device_id]

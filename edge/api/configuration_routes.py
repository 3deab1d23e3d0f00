"""The configuration as one document: what a swapped gateway needs to go on where the broken one ended."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from edge.access import Person
from edge.api.device_routes import plain
from edge.api.differences import differences
from edge.api.etag import check_match, etag_of
from edge.api.hiding import with_secrets, without_hidden
from edge.api.listing import SAME, IfNoneMatch, Row
from edge.api.quick import Rendered, to_json
from edge.api.services import Here, Services, Technician, carry_out
from edge.api.store_routes import DryRun, Match
from edge.core.plain import build
from edge.core.shelf import as_given
from edge.core.site import load_site
from edge.settings import DeviceEntry

router = APIRouter(tags=["support"])
Rows = Annotated[list[dict[str, Any]], Field(max_length=5_000)]


class Configuration(BaseModel):
    """As it is exported. What is left out stays as it is; devices are added and changed, never taken away."""

    version: Annotated[int, Field(ge=1, le=1)]
    devices: Annotated[list[dict[str, Any]], Field(max_length=200)]
    planogram: dict[str, Any]
    calibrations: Rows | None = None
    reorder: Rows | None = None
    promotions: Rows | None = None
    rules: Rows | None = None


def configuration_of(here: Services) -> dict[str, Any]:
    """Everything that people set up, without people and secrets."""
    parts = here.runtime.engine.parts
    return {
        "version": 1,
        "devices": [plain(entry) for _, entry in sorted(here.installation.entries().items())],
        "planogram": here.installation.site_document(),
        "calibrations": as_given(parts.shelves.calibrations()),
        "reorder": parts.reorder.policies(),
        "promotions": parts.promotions.rows(),
        "rules": list(parts.promotions.rules),
    }


@router.get("/v1/configuration", response_model=Row, responses=SAME)
async def configuration(here: Here, who: Technician, if_none_match: IfNoneMatch = None) -> Response:
    """Devices, planogram, calibrations, reorder policies and promotions, as a swapped gateway takes them."""
    del who
    document = configuration_of(here)
    return Rendered(to_json(document), etag_of(document)).response(if_none_match)


@router.put("/v1/configuration")
async def load_configuration(
    here: Here, who: Technician, body: Configuration, dry_run: DryRun = False, if_match: Match = None
) -> dict[str, Any]:
    """Set this gateway up like the one that the configuration was exported from.

    Everything is checked before anything changes. A gateway that has no store yet takes over the store of the
    configuration and starts anew within a second (restarting = true); another store is refused. Secrets of devices are
    hidden in an export: those that are kept here stay, the others are left out and counted (secrets_missing).
    """
    async with here.editing:
        current, wanted = configuration_of(here), body.model_dump(exclude_none=True)
        check_match(if_match, current, wanted)
        entries, missing = _entries(here, body.devices)
        for entry in entries:
            here.installation.check(entry)
        load_site(body.planogram)
        changes = _changes(current, wanted)
        restarting = here.site.store.id != body.planogram["store"]["id"]
        if not dry_run:
            await _load(here, who, body, entries)
            await here.access.audit.add(who.name, "load_configuration", "", f"{len(changes)} changes")
            if restarting:
                here.restart()
        return {
            "devices": len(entries),
            "secrets_missing": missing,
            "changes": changes,
            "applied": not dry_run,
            "restarting": restarting and not dry_run,
        }


def _entries(here: Services, rows: list[dict[str, Any]]) -> tuple[list[DeviceEntry], int]:
    """Devices as they are set up here, and how many of their secrets are not known here."""
    known, entries, missing = here.installation.entries(), [], 0
    for index, row in enumerate(rows):
        entry = build(DeviceEntry, row, f"devices[{index}]")
        before = known[entry.id].settings if entry.id in known else {}
        settings, unknown = without_hidden(with_secrets(entry.settings, before))
        missing += unknown
        entries.append(DeviceEntry(entry.id, entry.kind, settings))
    return entries, missing


def _changes(current: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """The planogram's sections like those of the configuration itself; what is left out does not change."""
    old, new = ({"version": 1} | document for document in (current, wanted))
    inner = differences(old.pop("planogram"), new.pop("planogram"))
    rows = differences({name: old[name] for name in new}, new)
    return rows + [row | {"section": f"planogram.{row['section']}"} for row in inner]


async def _load(here: Services, who: Person, body: Configuration, entries: list[DeviceEntry]) -> None:
    await here.installation.use_site(body.planogram, who.name, f"config-{secrets.token_hex(8)}")
    if body.calibrations:
        await carry_out(here, who, "set_calibrations", {"cells": list(body.calibrations)}, None)
    for policy in body.reorder or ():
        await carry_out(here, who, "set_reorder_policy", policy, None)
    if body.promotions is not None:
        await carry_out(here, who, "set_promotions", {"promotions": list(body.promotions)}, None)
    if body.rules is not None:
        await carry_out(here, who, "set_rules", {"rules": list(body.rules)}, None)
    known = here.installation.entries()
    for entry in entries:
        if known.get(entry.id) != entry:
            await here.installation.put(entry)

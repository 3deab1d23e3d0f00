"""Facts, causes, kinds and audit rows in a person's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edge.core.fact import StoredFact, kind_of
from edge.core.site import Site

NUMBERS = ("quantity", "people", "on_hand", "percent", "n")
PLACES = ("shelf", "zone", "lane", "exit", "door")
NAMES = ("hold", "order", "receipt", "delivery", "beacon", "actor", "new_serial")
_CAPITAL = re.compile(r"([a-z])([A-Z])")


class Teller:
    """Speaks of one store in one language (`say`: key, values → words)."""

    def __init__(self, say: Callable[..., str], site: Site) -> None:
        self._say, self._site = say, site
        self._zones = {zone.id: zone.name or zone.id for zone in site.zones}

    def _known(self, key: str, otherwise: str, **values: object) -> str:
        text = self._say(key, **values)
        return otherwise if text == key.replace("_", " ") else text

    def kind(self, kind: str) -> str:
        """What sort of device."""
        return self._known(f"kind_{kind}", kind)

    def cause(self, cause: str) -> str:
        """Why a device, or the gateway, is not well."""
        return self._known(f"cause_{cause.replace(':', '_')}", cause.replace("_", " ")) if cause else ""

    def action(self, action: str) -> str:
        """What somebody did."""
        return self._known(f"act_{action}", action.replace("_", " "))

    def place(self, place: str) -> str:
        """A shelf or a zone."""
        if place in self._zones:
            return self._zones[place]
        if place == "door":
            return self._say("door")
        return place.removeprefix("shelf-") if not place.startswith("shelf-") else self.shelf(place)

    def places(self, places: list[str]) -> str:
        """Where a device works: "Shelf 1, 2 · Food"."""
        shelves = [place.removeprefix("shelf-") for place in places if place.startswith("shelf-")]
        rest = [self.place(place) for place in places if not place.startswith("shelf-")]
        told = [f"{self._say('shelf')} {', '.join(shelves)}"] if shelves else []
        return " · ".join(told + rest)

    def shelf(self, shelf: str) -> str:
        """ "Shelf 3"."""
        return f"{self._say('shelf')} {shelf.removeprefix('shelf-')}" if shelf else ""

    def fact(self, fact: StoredFact | Mapping[str, Any]) -> tuple[str, str]:
        """(what happened, where and to whom)."""
        kind, fields = (kind_of(fact.type), fact.fields) if isinstance(fact, StoredFact) else (fact["type"], fact)
        name = kind.partition(".")[2]
        number = next((fields[key] for key in NUMBERS if fields.get(key) is not None), "")
        if name == "OnHandChanged":
            number = fields["on_hand"]
        ended = fields.get("resolved") is True or (name == "StockUnknown" and fields.get("known"))
        title = self._known(f"fact_{name}_over" if ended else f"fact_{name}", _CAPITAL.sub(r"\1 \2", name), n=number)
        where = [self.place(str(fields[key])) for key in PLACES if fields.get(key)]
        if fields.get("from_shelf"):
            where.insert(0, f"{self.shelf(fields['from_shelf'])} →")
        where += [str(fields[key]) for key in NAMES if fields.get(key)]
        if fields.get("cause"):
            where.append(self.cause(str(fields["cause"])))
        return title, " · ".join(dict.fromkeys(where))

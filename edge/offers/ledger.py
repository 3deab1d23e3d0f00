"""The ledger of offers: what was given out, what was redeemed where. Kept in the journal, one entry an offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edge.core.fact import JsonValue

PREFIX: Final = "offers/offer/"
DOUBLES_KEPT: Final = 100
Put = Callable[[str, JsonValue], object]


@dataclass(slots=True)
class Entry:
    """One offer. person is the pseudonym of `day`; till and reference are of the redemption ("" while open).

    doubles: [till, reference] of each further redemption that tills without a connection reported.
    """

    nonce: str
    promotion: str
    gtin: str
    zone: str
    person: str
    day: str
    issued_us: int
    expires_us: int
    value_minor: int
    token: str
    till: str = ""
    reference: str = ""
    doubles: list[list[str]] = field(default_factory=list)


class Ledger:
    """`edge.core.promotion.Usage` over the entries; totals per promotion outlive them."""

    def __init__(self, rows: dict[str, JsonValue], totals: JsonValue, put: Put) -> None:
        self._put = put
        self.entries: dict[str, Entry] = {}
        self._person_day: Counter[tuple[str, str, str]] = Counter()
        self._day: Counter[tuple[str, str]] = Counter()
        self._last_us: dict[str, int] = {}
        self._of_person: dict[str, list[Entry]] = {}
        self._open_minor: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._totals: dict[str, list[int]] = {}
        if isinstance(totals, dict):
            self._totals = {promotion: [int(n) for n in pair] for promotion, pair in totals.items()}  # type: ignore[arg-type,union-attr]
        for key, value in rows.items():
            if isinstance(value, list):
                self._count(Entry(key.removeprefix(PREFIX), *value))  # type: ignore[arg-type]

    def _count(self, entry: Entry) -> None:
        self.entries[entry.nonce] = entry
        self._person_day[entry.promotion, entry.person, entry.day] += 1
        self._day[entry.promotion, entry.day] += 1
        self._last_us[entry.person] = max(entry.issued_us, self._last_us.get(entry.person, 0))
        self._of_person.setdefault(entry.person, []).append(entry)
        if not entry.till:
            self._open_minor[entry.promotion] += entry.value_minor

    def _write(self, entry: Entry) -> None:
        fields = [getattr(entry, name) for name in Entry.__slots__ if name != "nonce"]
        self._put(PREFIX + entry.nonce, fields)

    def _total(self, promotion: str, shown: int, spent_minor: int) -> None:
        total = self._totals.setdefault(promotion, [0, 0])
        total[0] += shown
        total[1] += spent_minor
        self._put("offers/totals", {name: list(pair) for name, pair in self._totals.items()})

    # --- Usage ------------------------------------------------------------------------------------------------------

    def shown(self, promotion: str, person: str, day: str) -> tuple[int, int, int]:
        """Offers given out: to this person today, to all today, in all."""
        total = self._totals.get(promotion, [0, 0])[0]
        return self._person_day[promotion, person, day], self._day[promotion, day], total

    def last_us(self, person: str) -> int | None:
        """When this person got the last offer."""
        return self._last_us.get(person)

    def version(self, person: str) -> int:
        """Rises with each offer that this person gets or redeems."""
        return self._versions.get(person, 0)

    def spent_minor(self, promotion: str) -> int:
        """Redeemed and open."""
        return self._totals.get(promotion, [0, 0])[1] + self._open_minor[promotion]

    # --- changes; the caller commits ----------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """An offer is given out."""
        self._count(entry)
        self._versions[entry.person] += 1
        self._write(entry)
        self._total(entry.promotion, 1, 0)

    def redeem(self, entry: Entry, till: str, reference: str) -> None:
        """It is redeemed."""
        entry.till, entry.reference = till, reference
        self._versions[entry.person] += 1
        self._open_minor[entry.promotion] -= entry.value_minor
        self._write(entry)
        self._total(entry.promotion, 0, entry.value_minor)

    def note_double(self, entry: Entry, till: str, reference: str) -> bool:
        """A till says that it took an offer which was redeemed before; whether that is news."""
        if [till, reference] in entry.doubles or len(entry.doubles) >= DOUBLES_KEPT:
            return False
        entry.doubles.append([till, reference])
        self._write(entry)
        return True

    def open_of(self, person: str, zone: str, wall_us: int) -> list[Entry]:
        """What this person may still redeem in a zone."""
        mine = self._of_person.get(person, ())
        return [e for e in mine if e.zone == zone and not e.till and e.expires_us > wall_us]

    def forget(self, edge_us: int) -> int:
        """Drop offers that expired before a wall time; their sums stay in the totals."""
        old = [entry for entry in self.entries.values() if entry.expires_us < edge_us]
        for entry in old:
            del self.entries[entry.nonce]
            self._put(PREFIX + entry.nonce, None)
            if not entry.till:
                self._open_minor[entry.promotion] -= entry.value_minor
            mine = self._of_person[entry.person]
            mine.remove(entry)
            if not mine:
                del self._of_person[entry.person]
                self._last_us.pop(entry.person, None)
                self._versions.pop(entry.person, None)
            for counter, key in (
                (self._person_day, (entry.promotion, entry.person, entry.day)),
                (self._day, (entry.promotion, entry.day)),
            ):
                counter[key] -= 1  # type: ignore[index]
                if counter[key] <= 0:  # type: ignore[index]
                    del counter[key]
        return len(old)

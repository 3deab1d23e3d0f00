"""Every fact the platform can count on (contract version 1). Codes are for ever; fields are only ever appended."""

from __future__ import annotations

from edge.core.fact import Fact, FactClass, JsonValue, fact

INVENTORY, HOLD, REORDER, FOOTFALL = FactClass.INVENTORY, FactClass.HOLD, FactClass.REORDER, FactClass.FOOTFALL
PROXIMITY, PROMOTION, DEVICE = FactClass.PROXIMITY, FactClass.PROMOTION, FactClass.DEVICE
SECURITY, SYSTEM = FactClass.SECURITY, FactClass.SYSTEM


# --- inventory: what stands where -----------------------------------------------------------------------------------


@fact(101, INVENTORY, "gtin")
class ItemPicked(Fact):
    """A hand took items off a shelf (weight) or a tag left its place with a person. epc "" where only mass is known."""

    gtin: str
    shelf: str
    quantity: int
    confidence: float
    lane: str = ""
    epc: str = ""
    net_g: float | None = None


@fact(102, INVENTORY, "gtin")
class ItemPutBack(Fact):
    """Items were put onto a shelf by a person."""

    gtin: str
    shelf: str
    quantity: int
    confidence: float
    lane: str = ""
    epc: str = ""
    net_g: float | None = None


@fact(103, INVENTORY, "epc")
class TagArrived(Fact):
    """A tag that was nowhere is at a place now."""

    epc: str
    gtin: str
    shelf: str
    confidence: float


@fact(104, INVENTORY, "epc")
class TagMoved(Fact):
    """A tag changed its place."""

    epc: str
    gtin: str
    from_shelf: str
    shelf: str
    confidence: float


@fact(105, INVENTORY, "epc")
class TagDeparted(Fact):
    """A tag is no longer at any place, though its readers work. reason: left, exit, sold."""

    epc: str
    gtin: str
    shelf: str
    confidence: float
    reason: str = "left"


@fact(106, INVENTORY, "gtin")
class OnHandChanged(Fact):
    """The believed count of one product on one shelf. low and high bound the central 90 %."""

    gtin: str
    shelf: str
    on_hand: int
    low: int
    high: int
    confidence: float
    sources: list[str]
    reason: str
    untagged: int = 0
    why: list[JsonValue] | None = None


@fact(107, INVENTORY, "epc")
class ItemMisplaced(Fact):
    """An item stands on a shelf on which the planogram does not have it."""

    epc: str
    gtin: str
    shelf: str
    home_shelf: str
    confidence: float
    resolved: bool = False


@fact(108, INVENTORY, "gtin")
class StockOut(Fact):
    """Nothing of the product is left on its shelves."""

    gtin: str


@fact(109, INVENTORY, "gtin")
class BackInStock(Fact):
    """The product is on its shelves again."""

    gtin: str
    on_hand: int


@fact(110, INVENTORY, "shelf")
class StockUnknown(Fact):
    """What stands on the shelf cannot be known now: its reader or cell is down (known=True: it can be again)."""

    shelf: str
    cause: str
    known: bool = False


@fact(111, INVENTORY, "gtin")
class Discrepancy(Fact):
    """Two sources disagree for longer than a moment. explanation: untagged, tag_lost, misplaced, taken, recount …"""

    gtin: str
    shelf: str
    expected: int
    seen: int
    explanation: str
    resolved: bool = False


@fact(112, INVENTORY, "gtin")
class ItemSold(Fact):
    """A line of the till. receipt is the till's own reference, never a person's."""

    gtin: str
    quantity: int
    receipt: str
    line: int


@fact(113, INVENTORY, "epc")
class ItemExitedUnpaid(Fact):
    """A tag passed the exit and no till had sold it."""

    epc: str
    gtin: str
    exit: str
    confidence: float


@fact(114, INVENTORY, "gtin")
class GoodsReceived(Fact):
    """A delivery, or a part of one, arrived."""

    gtin: str
    quantity: int
    delivery: str
    expected: int = 0


@fact(115, INVENTORY, "gtin")
class GoodsReturned(Fact):
    """A customer returned items in the store, of a store or an online order."""

    gtin: str
    quantity: int
    order: str
    sellable: bool
    online: bool = False


@fact(116, INVENTORY, "gtin")
class PhantomSuspected(Fact):
    """The books show stock that should have sold by now and has not moved: probably it is not there."""

    gtin: str
    on_hand: int
    quiet_hours: float
    expected_sales: float
    probability: float


@fact(117, INVENTORY, "epc", urgent=False, droppable=True)
class TagUnknown(Fact):
    """A tag that is no item of the catalogue or no GS1 key at all; total counts such tags seen so far."""

    epc: str
    place: str
    total: int


@fact(118, INVENTORY, "epc")
class FittingRoomDwell(Fact):
    """An item was in the fitting room."""

    epc: str
    gtin: str
    zone: str
    dwell_s: float
    bought: bool | None = None


# --- hold: omnichannel reservations -----------------------------------------------------------------------------------


@fact(201, HOLD, "gtin")
class HoldPlaced(Fact):
    """Stock is reserved. pickup: counter, locker, drive_through, ship."""

    hold: str
    gtin: str
    quantity: int
    pickup: str
    expires_us: int
    order: str = ""


@fact(202, HOLD, "gtin")
class HoldPicked(Fact):
    """Staff fetched the goods: the shelf no longer has them and the hold no longer lowers what can be promised."""

    hold: str
    gtin: str
    quantity: int


@fact(203, HOLD, "gtin")
class HoldCollected(Fact):
    """The customer or the carrier has the goods."""

    hold: str
    gtin: str
    quantity: int


@fact(204, HOLD, "gtin")
class HoldReleased(Fact):
    """The hold was given up; picked tells whether goods must go back to the shelf."""

    hold: str
    gtin: str
    quantity: int
    reason: str
    picked: bool = False


@fact(205, HOLD, "gtin")
class HoldExpired(Fact):
    """Nobody came in time; picked tells whether goods must go back to the shelf."""

    hold: str
    gtin: str
    quantity: int
    picked: bool = False


# --- reorder ----------------------------------------------------------------------------------------------------------


@fact(301, REORDER, "gtin")
class ReorderTriggered(Fact):
    """Order now. One per replenishment cycle; idempotency_key is the same for the same cycle, whatever restarts."""

    gtin: str
    quantity: int
    policy: str
    why: str
    idempotency_key: str
    on_hand: int = 0
    on_order: int = 0
    reorder_point: int = 0


@fact(302, REORDER, "gtin")
class ReorderCleared(Fact):
    """The cycle is over: goods arrived or the need is gone."""

    gtin: str
    idempotency_key: str
    reason: str


# --- footfall ---------------------------------------------------------------------------------------------------------


@fact(401, FOOTFALL, "door", urgent=False)
class Crossings(Fact):
    """Crossings of one door in one quarter of an hour. known=False: the sensor was missing for a part of it."""

    door: str
    start_us: int
    end_us: int
    entered: int
    left: int
    known: bool = True
    coverage: float = 1.0


@fact(402, FOOTFALL, urgent=False, droppable=True)
class Occupancy(Fact):
    """People in the store. known=False: a door sensor is missing, or its frames cannot be counted; `people` is then
    what the other doors make of the last known number.

    drift: when the store closes, how many were still counted inside although nobody is; they are taken off. Else null.
    """

    people: int
    known: bool = True
    low: int = 0
    high: int = 0
    drift: int | None = None


@fact(403, FOOTFALL, urgent=False, droppable=True)
class Conversion(Fact):
    """Entrances and picks of the same period. known=False: a door was not counted all the time; ratio is null then."""

    start_us: int
    end_us: int
    entered: int
    picks: int
    ratio: float | None
    known: bool = True


# --- proximity --------------------------------------------------------------------------------------------------------


@fact(501, PROXIMITY, "beacon", urgent=False, droppable=True)
class ZoneEntered(Fact):
    """An own beacon, a staff badge or a consented rotating id is in a zone.

    subject_id "" means an own beacon; else both it and `beacon` are the pseudonym of the day of a customer who agreed.
    """

    beacon: str
    zone: str
    confidence: float
    from_zone: str = ""
    subject_id: str = ""


@fact(502, PROXIMITY, "beacon", urgent=False, droppable=True)
class ZoneLeft(Fact):
    """It left the zone, for no other one. Who withdraws a consent leaves unsaid: ConsentWithdrawn ends every stay."""

    beacon: str
    zone: str
    dwell_s: float
    subject_id: str = ""


@fact(503, PROXIMITY, "zone", urgent=False, droppable=True)
class ZoneHeat(Fact):
    """How busy a zone was; cells with fewer than k = 5 are suppressed (visits None)."""

    zone: str
    start_us: int
    end_us: int
    visits: int | None
    dwell_s: float | None


@fact(504, PROXIMITY, "shelf", urgent=False, droppable=True)
class ShelfConversion(Fact):
    """Dwell, picks, put-backs and sales at one shelf in one period."""

    shelf: str
    start_us: int
    end_us: int
    dwell_s: float | None
    picks: int
    put_backs: int
    sales: int


# --- promotion --------------------------------------------------------------------------------------------------------


@fact(601, PROMOTION, "offer")
class OfferShown(Fact):
    """An offer was signed and given out; subject_id is a pseudonym of the day."""

    offer: str
    promotion: str
    zone: str
    gtin: str
    subject_id: str
    expires_us: int


@fact(602, PROMOTION, "offer")
class OfferRedeemed(Fact):
    """An offer was redeemed at a till, once."""

    offer: str
    promotion: str
    gtin: str
    till: str
    offline: bool = False
    double: bool = False


@fact(603, PROMOTION, "offer")
class OfferRefused(Fact):
    """An offer was not given out or not redeemed, with the reason."""

    offer: str
    promotion: str
    reason: str
    till: str = ""


@fact(604, PROMOTION, "subject_id")
class ConsentGiven(Fact):
    """A consent receipt."""

    subject_id: str
    purposes: list[str]
    receipt: str
    notice_version: str


@fact(605, PROMOTION, "subject_id")
class ConsentWithdrawn(Fact):
    """A consent was withdrawn; erasure follows within 24 h."""

    subject_id: str
    receipt: str


@fact(606, PROMOTION, "subject_id")
class CheckIn(Fact):
    """A consenting customer checked in by app or QR."""

    subject_id: str
    method: str
    zone: str = ""


# --- device -----------------------------------------------------------------------------------------------------------


@fact(701, DEVICE, "device")
class Online(Fact):
    """A device works."""

    device: str
    kind: str = ""
    serial: str = ""
    firmware: str = ""


@fact(702, DEVICE, "device")
class Offline(Fact):
    """A device does not answer."""

    device: str
    cause: str
    detail: str = ""


@fact(703, DEVICE, "device")
class Degraded(Fact):
    """A device works in part."""

    device: str
    cause: str
    detail: str = ""


@fact(704, DEVICE, "device")
class Replaced(Fact):
    """New hardware stands at the same position."""

    device: str
    old_serial: str
    new_serial: str


@fact(705, DEVICE, "device")
class LowBattery(Fact):
    """A battery should be changed."""

    device: str
    percent: float


@fact(706, DEVICE, "device", urgent=False, droppable=True)
class EnvironmentMeasured(Fact):
    """A sensor measured its surroundings."""

    device: str
    quantity: str
    value: float
    unit: str


@fact(707, DEVICE, "device")
class DoorOpened(Fact):
    """A door or lid contact changed."""

    device: str
    opened: bool


# --- security ---------------------------------------------------------------------------------------------------------


@fact(801, SECURITY, "actor")
class Claimed(Fact):
    """The gateway was claimed, or a claim failed."""

    actor: str
    ok: bool
    detail: str = ""


@fact(802, SECURITY, "actor")
class SignedIn(Fact):
    """Somebody signed in, or failed to."""

    actor: str
    role: str
    ok: bool
    address: str = ""


@fact(803, SECURITY, "command")
class CommandRefused(Fact):
    """A command was refused; reason: signature, expired, reordered, repeated, version, arguments …"""

    command: str
    name: str
    reason: str
    detail: str = ""


@fact(804, SECURITY, "thing")
class SpoofingSuspected(Fact):
    """A beacon or tag was seen as it cannot be: in two places, or faster than anybody walks."""

    thing: str
    places: list[str]
    detail: str


@fact(805, SECURITY, "actor")
class Audited(Fact):
    """Something was changed by somebody (the hash-chained row has the detail)."""

    actor: str
    action: str
    target: str
    row: int


@fact(806, SECURITY, "boot_ids")
class SplitBrain(Fact):
    """Two boots alternate in one epoch: a cloned or restored card."""

    boot_ids: str
    detail: str


# --- system -----------------------------------------------------------------------------------------------------------


@fact(901, SYSTEM)
class ClockFixed(Fact):
    """The wall clock became trustworthy: event time of this boot's earlier facts = mono_us + offset_us."""

    boot: int
    offset_us: int
    jump_us: int


@fact(902, SYSTEM)
class Gap(Fact):
    """Rows that had to be dropped under quota: missing is [[from, to], …], both inclusive."""

    dropped_class: str
    missing: list[list[int]]
    count: int
    reason: str


@fact(903, SYSTEM)
class Restarted(Fact):
    """A boot began. cause: start, crash, power, update, watchdog."""

    boot: int
    version: str
    cause: str
    safe_mode: bool = False
    detail: str = ""


@fact(904, SYSTEM)
class Updated(Fact):
    """Software, a model or a configuration changed."""

    what: str
    old: str
    new: str
    ok: bool
    detail: str = ""


@fact(905, SYSTEM)
class OfLaterRelease(Fact):
    """A fact of a later release that was taken back since: here neither its name nor its fields' names are known.

    It is sent as it is stored (values: the fields in order, as JSON), under its own seq: nothing is lost or held up.
    """

    code: int
    values: str

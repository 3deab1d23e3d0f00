"""Fusion of tags, weight and counts into one distribution for each (shelf, product).

Tags give identities and are slow; weight gives quantities and is fast; each is wrong in its own way. A tag change at a
weighed place should have a weight step beside it, and a step of tagged goods should be followed by tags: what lacks
its companion is doubted in proportion, never filtered hard, and the doubt fades towards what stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edge.core.instant import US_PER_HOUR, US_PER_MIN, US_PER_S
from edge.core.inventory.fading import Fading, Key
from edge.core.inventory.ledger import LOOK_US, Ledger, Step, TagEvent, make_step
from edge.core.inventory.pair import NO_STRANGERS, UNKNOWN, Estimate, Level, Pair, Strangers, Tag, Why, estimate
from edge.core.inventory.plan import Plan
from edge.core.inventory.pmf import CERTAIN, Pmf, blended, convolve, mode, normalized
from edge.core.inventory.trust import Trust
from edge.core.part import LaneLevel, LaneStep, PlaceHealth, TagBelief
from edge.core.site import AntennaRole, Site

MISSED_STEP = 0.05  # true moves over a live lane that weight does not tell
CHANCE_STEP = 0.05  # a false tag move and an unrelated fitting step coincide
ODDS_CAP = 1000.0  # the own doubt never becomes certainty
ASTRAY_ODDS = 7.0  # false moves to a shelf where the goods do not belong, for each true one
PRIOR_STEPS = 6.0
HOMECOMING_US = 3 * US_PER_MIN
UNVOUCHED_HOMECOMING_US = US_PER_HOUR  # no scale saw it leave, none sees it return
NEWCOMER_US = 60 * US_PER_S  # so long a tag that was never seen before may be placed anew without having moved
HOME_ODDS = 0.3  # a tag that comes back this doubtful had never left
FORGET_DEPARTED_US = 10 * US_PER_MIN
UNTAGGED_OF_TAGGED = 0.003  # items of tagged goods without a working tag
FOLD_FROM = 0.7  # tags are the measure of tagged goods: what they never showed must be likelier than this to stay
SPAWN_FROM = 0.2  # a step makes a new (shelf, product) only when at least this probable
OFFSET_SPREAD = 0.01


class Fusion:
    """All (shelf, product) pairs of a site. Keys of `pairs` are (shelf, gtin); `dirty` holds what evidence touched."""

    def __init__(self, site: Site) -> None:
        self.pairs: dict[Key, Pair] = {}
        self.on_shelf: dict[str, list[Pair]] = {}
        self.of_product: dict[str, list[Pair]] = {}
        self.tags: dict[str, Tag] = {}
        self.dirty: set[Key] = set()
        self.fading = Fading()
        self.trust = Trust()
        self.step_trust = {put: Trust(PRIOR_STEPS) for put in (True, False)}
        self.moved_tags: dict[str, tuple[str, str] | None] = {}
        self.down: dict[Key, str] = {}  # (shelf, source) → cause
        self._ledgers: dict[str, Ledger] = {}
        self._departed: deque[tuple[int, str]] = deque()
        self._recheck_us: int | None = None
        self.use(site)

    # --- the planogram ------------------------------------------------------------------------------------------------

    def use(self, site: Site) -> None:
        """Take this planogram as given from now on."""
        self.site = site
        self.plan = Plan(site)

    def is_tagged(self, gtin: str) -> bool:
        """Whether items of this product carry tags by the catalogue."""
        return self.plan.is_tagged(gtin)

    def weighed(self, shelf: str, gtin: str) -> bool:
        """Whether a live lane would show a move of this product at this shelf."""
        return (shelf, "weight") not in self.down and self.plan.over_lane(shelf, gtin)

    def seen_by_tags(self, shelf: str, gtin: str) -> bool:
        """Whether tags would show a move of this product at this shelf."""
        return self.plan.in_antenna(shelf, gtin) and (shelf, "rfid") not in self.down

    def sensed(self, shelf: str, gtin: str) -> bool:
        """Whether any sensor is meant to see this product here (alive or not)."""
        return self.plan.on_lane(shelf, gtin) or self.plan.in_antenna(shelf, gtin)

    def pair(self, shelf: str, gtin: str) -> Pair:
        """The pair, made on first use."""
        key = (shelf, gtin)
        pair = self.pairs.get(key)
        if pair is None:
            # what nobody tagged and nobody counted is unknown at home, and nothing elsewhere
            unknown = not self.plan.is_tagged(gtin) and self.plan.is_home(shelf, gtin)
            pair = self.pairs[key] = Pair(shelf, gtin, None if unknown else CERTAIN)
            self.on_shelf.setdefault(shelf, []).append(pair)
            self.of_product.setdefault(gtin, []).append(pair)
        return pair

    def ledger(self, shelf: str) -> Ledger:
        """The open steps of a shelf."""
        ledger = self._ledgers.get(shelf)
        if ledger is None:
            ledger = self._ledgers[shelf] = Ledger(
                lambda gtin: self.seen_by_tags(shelf, gtin),
                lambda gtin: UNTAGGED_OF_TAGGED if self.plan.is_tagged(gtin) else 1.0,
            )
        return ledger

    # --- tags ---------------------------------------------------------------------------------------------------------

    def tag(self, belief: TagBelief) -> None:
        """A tag is believed somewhere. Raises nothing; a reader that is down changes nothing."""
        if belief.shelf is None:
            return
        if belief.role != AntennaRole.SHELF and belief.shelf:  # a till, a door, the back room: on no shelf
            belief = TagBelief(belief.at_us, belief.epc, belief.gtin, "", belief.probability, belief.role)
        tag = self.tags.get(belief.epc)
        if tag is not None and tag.shelf == belief.shelf:
            self._same_place(tag, belief)
        elif tag is None:
            if belief.shelf:
                self._first_seen(belief)
        elif self._is_correction(tag, belief):
            self._corrected(tag, belief)
        elif belief.shelf and self._is_homecoming(tag, belief):
            self._came_home(tag, belief)
        else:
            self._moved(tag, belief)

    def _same_place(self, tag: Tag, belief: TagBelief) -> None:
        if not belief.shelf:
            return
        told = self.trust.odds(belief.probability)
        pair = self.pair(belief.shelf, tag.gtin)
        if belief.epc in pair.soft:
            tag.odds, tag.odds_us = max(told, min(tag.odds_at(belief.at_us), ODDS_CAP)), belief.at_us
        elif told > 0.25:
            pair.sure -= 1
            pair.soft[belief.epc] = tag
            tag.odds, tag.odds_us, tag.origin = told, belief.at_us, ""
        else:
            return
        self._touch(pair, others=False)  # as many tags as before: for the lanes of others nothing has changed

    def _first_seen(self, belief: TagBelief) -> None:
        shelf = belief.shelf or ""
        tag = self.tags[belief.epc] = Tag(belief.gtin, shelf, belief.at_us)
        odds = self.trust.odds(belief.probability)
        vouched, step = self.ledger(shelf).vouch(belief.at_us, belief.gtin, 1, self.plan.mass(shelf, belief.gtin))
        tag.weighed = step is not None
        if tag.weighed:
            odds *= CHANCE_STEP / (vouched + MISSED_STEP)
        else:
            tag.is_new = True
            self._absorb(shelf, belief.gtin, 1)
            self.ledger(shelf).unexplained(TagEvent(belief.at_us, belief.gtin, 1, belief.epc))
        self._doubt(tag, odds, belief.at_us)
        self._arrive(tag, belief)

    def _is_correction(self, tag: Tag, belief: TagBelief) -> bool:
        goes_home = not self.plan.is_home(tag.shelf, tag.gtin) and self.plan.is_home(belief.shelf or "", tag.gtin)
        if not tag.is_new or (belief.at_us - tag.since_us > NEWCOMER_US and not goes_home):
            return False
        return not self.ledger(tag.shelf).expects(belief.at_us, tag.gtin, -1)

    def _corrected(self, tag: Tag, belief: TagBelief) -> None:
        """A tag heard for the first time is soon placed better: nothing has moved, so no scale has to vouch."""
        self._leave(tag, belief.epc)
        del self.tags[belief.epc]
        self.moved_tags[belief.epc] = None
        if belief.shelf:
            self._first_seen(belief)

    def _is_homecoming(self, tag: Tag, belief: TagBelief) -> bool:
        """Whether a tag that comes back to where it was had only seemed to leave."""
        shelf = belief.shelf or ""
        if self.ledger(shelf).expects(belief.at_us, tag.gtin, 1):
            return False  # it was put back: a step speaks for that
        if shelf == tag.origin and tag.odds_at(belief.at_us) >= HOME_ODDS:
            return True
        within_us = HOMECOMING_US if tag.left is not None else UNVOUCHED_HOMECOMING_US
        recent = shelf == tag.left_shelf and belief.at_us - tag.left_us <= within_us
        return recent and (self.weighed(shelf, tag.gtin) or (tag.shelf != "" and self.weighed(tag.shelf, tag.gtin)))

    def _came_home(self, tag: Tag, belief: TagBelief) -> None:
        """It had only seemed to leave: the ghost at its origin is the tag itself."""
        self._leave(tag, belief.epc)
        home = self.pair(belief.shelf or "", tag.gtin)
        self._drop_ghost(tag, belief.epc)
        for shelf in filter(None, (home.shelf, tag.shelf)):
            self.ledger(shelf).forget(belief.epc)
        tag.shelf, tag.odds = home.shelf, 0.0
        if self.weighed(home.shelf, tag.gtin):
            self.trust.label(tag.told, true=False)
            self.trust.ended(belief.at_us - tag.since_us)
        if tag.left is not None:
            self._relieve(self.ledger(home.shelf).refund(tag.left, tag.gtin, -1), tag.left)
        tag.left, tag.left_shelf = None, ""
        self._arrive(tag, belief)

    def _relieve(self, explained: list[TagEvent], step: Step) -> None:
        """A step was found for these tag changes: their doubt goes."""
        for event in explained:
            tag = self.tags.get(event.epc)
            if tag is not None:
                if event.sign < 0:
                    tag.left = step
                    self.trust.label(tag.told, true=True)
                else:
                    tag.weighed = True
                tag.odds *= MISSED_STEP * CHANCE_STEP
                for shelf in filter(None, (tag.shelf, tag.origin)):
                    self._touch(self.pair(shelf, tag.gtin))

    def _moved(self, tag: Tag, belief: TagBelief) -> None:
        at_us, target = belief.at_us, belief.shelf or ""
        standing = tag.odds_at(at_us)
        if tag.origin and standing < HOME_ODDS:
            self._drop_ghost(tag, belief.epc)
            standing = 0.0
        left_odds = self._leave_speaks(tag, belief) if tag.shelf else 1.0
        came_odds = self._arrival_speaks(tag, belief) * self._astray(tag, target) if target else 1.0
        if tag.origin:
            odds = standing * left_odds * came_odds
        else:
            tag.origin = tag.shelf
            odds = self.trust.odds(belief.probability) * left_odds * came_odds
        self._leave(tag, belief.epc)
        tag.shelf, tag.since_us, tag.is_new = target, at_us, False
        self._doubt(tag, odds, at_us)
        if tag.origin:
            home = self.pair(tag.origin, tag.gtin)
            home.ghosts[belief.epc] = tag
            self._touch(home)
        if target:
            self._arrive(tag, belief)
        else:
            self._departed.append((at_us, belief.epc))
            self.moved_tags[belief.epc] = None

    def _leave_speaks(self, tag: Tag, belief: TagBelief) -> float:
        if belief.epc in self.pair(tag.shelf, tag.gtin).soft and tag.origin:
            return self._origin_speaks(tag, belief)
        odds, tag.left = self._speaks(tag.shelf, tag.gtin, -1, belief)
        tag.left_shelf, tag.left_us, tag.told = tag.shelf, belief.at_us, belief.probability
        if tag.left is not None:
            self.trust.label(belief.probability, true=True)
        return odds

    def _origin_speaks(self, tag: Tag, belief: TagBelief) -> float:
        """It leaves where it perhaps never was: perhaps it was taken from where it had seemed to leave before."""
        shelf, ledger = tag.origin, self.ledger(tag.origin)
        if tag.left and tag.left_shelf == shelf:
            return 1.0  # a step spoke for that already; another item's is not to be used up
        vouched, step = ledger.vouch(belief.at_us, tag.gtin, -1, self.plan.mass(shelf, tag.gtin))
        if step is None:
            ledger.unexplained(TagEvent(belief.at_us, tag.gtin, -1, belief.epc))
            return 1.0
        tag.left, tag.left_shelf, tag.left_us = step, shelf, belief.at_us
        return CHANCE_STEP / (vouched + MISSED_STEP)

    def _arrival_speaks(self, tag: Tag, belief: TagBelief) -> float:
        odds, step = self._speaks(belief.shelf or "", tag.gtin, 1, belief)
        tag.weighed = step is not None
        return odds

    def _astray(self, tag: Tag, target: str) -> float:
        """Goods are rarely laid where they do not belong; what seems to go home from there was at home before.

        Only where a scale has a say as well: presence knows the homes, and its probability has this in it already.
        """
        if not any(shelf and self.weighed(shelf, tag.gtin) for shelf in (target, tag.shelf)):
            return 1.0
        if not self.plan.is_home(target, tag.gtin):
            return ASTRAY_ODDS
        return 1.0 if not tag.shelf or self.plan.is_home(tag.shelf, tag.gtin) else 1.0 / ASTRAY_ODDS

    def _speaks(self, shelf: str, gtin: str, sign: int, belief: TagBelief) -> tuple[float, Step | None]:
        """What weight says of a tag change: factor on the odds that it is false, and the step that spoke for it."""
        ledger = self.ledger(shelf)
        vouched, step = ledger.vouch(belief.at_us, gtin, sign, self.plan.mass(shelf, gtin))
        if step is not None:
            return CHANCE_STEP / (vouched + MISSED_STEP), step
        if sign < 0:
            self._absorb(shelf, gtin, sign)
        ledger.unexplained(TagEvent(belief.at_us, gtin, sign, belief.epc))
        return (1.0 / (MISSED_STEP + vouched) if self.weighed(shelf, gtin) else 1.0), None

    def _absorb(self, shelf: str, gtin: str, sign: int) -> None:
        if self.is_tagged(gtin):
            self.pair(shelf, gtin).absorb(sign)

    def _leave(self, tag: Tag, epc: str) -> None:
        if not tag.shelf:
            return
        pair = self.pair(tag.shelf, tag.gtin)
        if pair.soft.pop(epc, None) is None:
            pair.sure -= 1
        self._touch(pair)

    def _arrive(self, tag: Tag, belief: TagBelief) -> None:
        pair = self.pair(tag.shelf, tag.gtin)
        pair.soft[belief.epc] = tag
        pair.as_of_us = belief.at_us
        self.moved_tags[belief.epc] = (tag.gtin, tag.shelf)
        self._touch(pair)

    def _doubt(self, tag: Tag, odds: float, at_us: int) -> None:
        tag.odds, tag.odds_us, tag.stubborn = min(odds, ODDS_CAP), at_us, self.trust.stubborn

    def _drop_ghost(self, tag: Tag, epc: str) -> None:
        if (home := self.pairs.get((tag.origin, tag.gtin))) and home.ghosts.pop(epc, None) is not None:
            self._touch(home)
        tag.origin = ""

    # --- weight -------------------------------------------------------------------------------------------------------

    def step(self, told: LaneStep) -> None:
        """A settled, decoded change of weight."""
        for gtin in self.plan.lanes(told.shelf).get(told.lane, ()):
            pair = self.pair(told.shelf, gtin)
            level = pair.levels.get(told.lane)
            if level is not None and level.at_us < told.at_us:
                self._fold_level(pair, told.at_us)
                del pair.levels[told.lane]
                self._touch(pair)
        step = self._make_step(told)
        self.enter(told.shelf, step)
        for gtin, quantity, probability in told.candidates[:3]:
            text = f"weight of lane {told.lane} changed by {told.delta_g:+.1f} g ± {told.sd_g:.1f} g: {quantity:+d}"
            self.pair(told.shelf, gtin).why.append(Why(told.at_us, "weight", text, quantity, probability))

    def _make_step(self, told: LaneStep) -> Step:
        """The open step of a change, believed as far as changes told like it have turned out to be goods."""
        probability = min(1.0, sum(p for _, _, p in told.candidates))
        doubt = self.step_trust[told.delta_g > 0].odds(probability)
        scale = 1.0 / (1.0 + doubt) / probability if probability > 0.0 else 0.0
        step = make_step(told.at_us, tuple((g, n, p * scale) for g, n, p in told.candidates), told.lane)
        step.delta_g, step.sd_g, step.told = told.delta_g, told.sd_g, probability
        return step

    def enter(self, shelf: str, step: Step) -> None:
        """Add an open step (of weight, of a person) to a shelf."""
        self._relieve(self.ledger(shelf).enter(step), step)
        for h in step.hypotheses:
            if (shelf, h.gtin) in self.pairs or h.weight >= SPAWN_FROM:
                pair = self.pair(shelf, h.gtin)
                pair.as_of_us = step.at_us
                self._touch(pair)

    def level(self, told: LaneLevel) -> None:
        """An absolute weight of a lane that carries one product."""
        if len(self.plan.lanes(told.shelf).get(told.lane, ())) != 1:
            return  # on mixed lanes absolute weight would count the evidence twice
        pair = self.pair(told.shelf, told.gtin)
        before = pair.levels.get(told.lane)
        pair.levels[told.lane] = Level(told.at_us, told.mean, told.sd)
        if before is None or abs(before.mean - told.mean) > 0.25 * max(0.2, told.sd):
            pair.as_of_us = told.at_us
            text = f"weight of lane {told.lane} is {told.mean:.2f} ± {told.sd:.2f} items"
            pair.why.append(Why(told.at_us, "weight", text, round(told.mean)))
        self._touch(pair)  # the same weight later speaks of the tags that moved meanwhile

    def _fold_level(self, pair: Pair, now_us: int) -> None:
        """A plateau ends: what its absolute weight taught of goods without tags is kept, once.

        Of tagged goods nothing is kept: the difference may be a tag that is late, and the next plateau tells anew.
        """
        if self.is_tagged(pair.gtin) or len(pair.levels) < self.n_level_lanes(pair):
            return
        counted = self.distribution(pair, now_us)
        steps = mode(self.ledger(pair.shelf).contribution(pair.gtin, now_us))
        learned = {value - pair.tags - steps: weight for value, weight in counted.items()}
        middle = mode(learned)
        pair.offset = blended(learned, {middle + d: 0.2 for d in range(-2, 3)}, OFFSET_SPREAD)

    def n_level_lanes(self, pair: Pair) -> int:
        """Lanes whose absolute weights together count this pair; 0 where one of them is mixed or weight is down."""
        return 0 if (pair.shelf, "weight") in self.down else self.plan.single_lanes(pair.shelf, pair.gtin)

    # --- people, health, time -----------------------------------------------------------------------------------------

    def anchor(self, pair: Pair, quantity: int, now_us: int, why: Why) -> None:
        """A person counted: the number is this, and differences to the tags await their explanation."""
        ledger = self.ledger(pair.shelf)
        missing = quantity - pair.tags - mode(ledger.contribution(pair.gtin, now_us))
        pair.levels.clear()
        pair.offset = normalized({missing: 0.99, missing - 1: 0.005, missing + 1: 0.005})
        pair.verified_us = pair.as_of_us = now_us
        pair.why.append(why)
        self._touch(pair)

    def shift(self, pair: Pair, quantity: int, now_us: int, why: Why) -> None:
        """Books move a count that no sensor sees."""
        pair.move(quantity)
        pair.as_of_us = now_us
        pair.why.append(why)
        self._touch(pair)

    def health(self, told: PlaceHealth) -> bool:
        """A source of a shelf can or cannot be believed. Returns whether that is news."""
        key = (told.shelf, told.source)
        if told.healthy == (key not in self.down):
            return False
        if told.healthy:
            del self.down[key]
        else:
            self.down[key] = told.cause
            for pair in self.on_shelf.get(told.shelf, ()):
                if told.source == "weight" and pair.levels:
                    self._fold_level(pair, told.at_us)
                    pair.levels.clear()
        self.dirty.update((told.shelf, pair.gtin) for pair in self.on_shelf.get(told.shelf, ()))
        return True

    def distribution(self, pair: Pair, now_us: int) -> Pmf:
        """Distribution of the count of one pair."""
        if pair.is_hearsay and pair.published:
            return pair.published.spread(pair.published.on_hand)
        ledger = self._ledgers.get(pair.shelf)
        steps = ledger.contribution(pair.gtin, now_us) if ledger and ledger.steps else CERTAIN
        return pair.pmf(now_us, steps, self.n_level_lanes(pair) if pair.levels else 0, self._strangers(pair))

    def estimate(self, pair: Pair, now_us: int) -> Estimate:
        """The numbers of one pair."""
        tags_alone = pair.offset == CERTAIN and not self.weighed(pair.shelf, pair.gtin)
        return estimate(self.distribution(pair, now_us), pair, tags_alone=tags_alone)

    def _strangers(self, pair: Pair) -> Strangers:
        """Tagged items believed on the shelf that do not belong there, by what they add to the lane of this pair."""
        if not pair.levels:
            return NO_STRANGERS
        unit_g, masses = self.plan.unit_mass_g(pair.gtin), list[float]()
        belong = self.plan.on_lanes(pair.shelf)
        for other in self.on_shelf[pair.shelf]:
            if other.gtin not in belong and other.tags > 0:
                mass_g = self.plan.unit_mass_g(other.gtin)
                masses += [mass_g / unit_g if unit_g > 0 else 0.0] * other.tags
        return Strangers.of(masses, len(self.plan.lanes(pair.shelf))) if masses else NO_STRANGERS

    def total(self, pairs: Iterable[Pair], now_us: int) -> Pmf:
        """Distribution of the sum over pairs."""
        out = CERTAIN
        for pair in pairs:
            out = convolve(out, self.distribution(pair, now_us))
        return out

    def next_recheck_us(self) -> int | None:
        """When time alone may change an estimate."""
        return self._recheck_us

    def recheck(self, now_us: int) -> None:
        """Let doubts fade and old steps close."""
        if self._recheck_us is None or now_us < self._recheck_us:
            return
        for shelf, ledger in self._ledgers.items():
            if ledger.steps and now_us >= ledger.recheck_us:
                spoken, before = ledger.fading(now_us), ledger.steps
                for gtin, rest in ledger.close(now_us):
                    self._fold_steps(shelf, gtin, rest)
                if len(ledger.steps) < len(before):
                    spoken |= {h.gtin for step in before if step not in ledger.steps for h in step.hypotheses}
                for outcome in ledger.outcomes:
                    self.step_trust[outcome.put].label(outcome.told, true=outcome.true, weight=outcome.weight)
                ledger.outcomes.clear()
                self.dirty.update(key for gtin in spoken if (key := (shelf, gtin)) in self.pairs)
        self.dirty.update(self.fading.due(self.pairs, now_us))
        while self._departed and self._departed[0][0] <= now_us - FORGET_DEPARTED_US:
            _, epc = self._departed.popleft()
            tag = self.tags.get(epc)
            if tag is not None and not tag.shelf and tag.since_us <= now_us - FORGET_DEPARTED_US:
                self._drop_ghost(tag, epc)
                del self.tags[epc]
        busy = len(self.fading) or any(ledger.steps for ledger in self._ledgers.values())
        forget_us = self._departed[0][0] + FORGET_DEPARTED_US if self._departed else None
        self._recheck_us = now_us + LOOK_US if busy else forget_us

    def _fold_steps(self, shelf: str, gtin: str, rest: Pmf) -> None:
        pair = self.pairs.get((shelf, gtin))
        if pair is None or rest.get(0, 0.0) > (FOLD_FROM if self.is_tagged(gtin) else 0.98):
            return
        if pair.offset is None and rest.get(0, 0.0) > 0.5:
            return  # never counted, and probably not moved either: still unknown
        pair.offset = convolve(pair.offset if pair.offset is not None else UNKNOWN, rest)
        self._touch(pair)

    def _touch(self, pair: Pair, *, others: bool = True) -> None:
        key = (pair.shelf, pair.gtin)
        pair.is_hearsay = False
        self.dirty.add(key)
        self.fading.touch(pair)
        if others and not self.plan.on_lane(pair.shelf, pair.gtin):  # it may press on the lanes of others
            self.dirty.update((other.shelf, other.gtin) for other in self.on_shelf[pair.shelf] if other.levels)

    def wake(self, now_us: int) -> None:
        """Make sure that time is looked at again soon."""
        if self._recheck_us is None or self._recheck_us > now_us + LOOK_US:
            self._recheck_us = now_us + LOOK_US

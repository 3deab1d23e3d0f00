"""The moves of one shelf that weight (or a person) has told and tags have not yet confirmed.

Weight is fast (a second) and tags are slow (half a minute), so each weight step is entered here as an open step: it
counts at once, and when a tag change of the same product and direction follows, that change is vouched for and the
step stops counting by as much. Nothing is counted twice, and a step that no tag ever confirms fades where tags of that
product would have had to show it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.core.instant import US_PER_S
from edge.core.inventory.pmf import CERTAIN, Pmf, convolve, normalized

KEEP_US = 150 * US_PER_S  # tags depart within 45 s (p95); thrice that, and the rest is not coming
KEEP_LONGEST_US = 4 * KEEP_US  # on a shelf that never rests
VOUCH_BEFORE_US = 20 * US_PER_S  # a tag may be seen elsewhere before the lane it left has come to rest
PATIENT_US = 15 * US_PER_S  # no tag can be expected to be missed sooner
VOUCH_LATE = 0.03  # a step tags should have followed by now speaks for a late one no more than this
EXPECTS_FROM = 0.3
CLAIM_US = 120 * US_PER_S  # staff fetch first and press the button later, or the other way round
HALVING_US = 8 * US_PER_S  # then the chance that a true move is still unnoticed halves this often
RESTART_PATIENCE_US = 60 * US_PER_S  # after a restart a whole inventory round must have come first
NEVER_NOTICED = 0.003  # share of true moves of tagged goods that tags never show
NONE_FLOOR = 0.02  # no decoding is more certain than this
CHANCE = 0.05  # how often a tag event and an unrelated step fall together
NONE_EXPLAINS = 0.5  # an undecoded step may well have been this product
FIT_SD, FIT_SHARE = 4.0, 0.01  # a mass fits within so many standard deviations, lots differ by so much
FOREIGN_PRIOR = 0.05
LOOK_US = 5 * US_PER_S  # time alone is looked at no more often
ON_SHELF_LIMIT = 64  # open steps of one shelf; the oldest close first


@dataclass(frozen=True, slots=True)
class Mass:
    """Unit mass of a product (g), 0 where unknown; at most so many are put where they do not belong at once."""

    unit_g: float = 0.0
    sd_g: float = 0.0
    most: int = 2


@dataclass(slots=True)
class Hypothesis:
    """One reading of a step: `quantity` (signed) of a product, with its present weight."""

    gtin: str
    quantity: int
    weight: float


@dataclass(slots=True)
class Step:
    """A settled change: hypotheses and the weight of none of them. used: signed tag events vouched for, by product."""

    at_us: int
    lane: str
    source: str
    hypotheses: list[Hypothesis]
    none: float
    delta_g: float = 0.0
    sd_g: float = 0.0
    used: dict[str, int] = field(default_factory=dict)
    claimed: int = 0  # items that a person has said to have taken
    told: float = 0.0  # probability that it was goods and no hand, as the scale told it

    def remaining(self, hypothesis: Hypothesis) -> int:
        """Signed items of a hypothesis that tags have not confirmed."""
        rest = hypothesis.quantity - self.used.get(hypothesis.gtin, 0)
        return rest if rest * hypothesis.quantity > 0 else 0

    def can_vouch(self, gtin: str, sign: int) -> float:
        """Weight of the hypotheses that expect one more tag event of this product and direction."""
        return sum(
            h.weight for h in self.hypotheses if h.gtin == gtin and h.quantity * sign > 0 and self.remaining(h) != 0
        )

    def admit(self, gtin: str, sign: int, mass: Mass) -> float:
        """Take a product into account that the decoder had not thought of, if its mass fits. Returns its weight."""
        if mass.unit_g <= 0 or any(h.gtin == gtin for h in self.hypotheses) or self.delta_g * sign <= 0:
            return 0.0
        quantity = min(mass.most, max(1, round(abs(self.delta_g) / mass.unit_g)))
        spread_g = math.sqrt(quantity * mass.sd_g**2 + self.sd_g**2 + (FIT_SHARE * self.delta_g) ** 2)
        if abs(abs(self.delta_g) - quantity * mass.unit_g) > FIT_SD * spread_g:
            return 0.0
        weight = max(FOREIGN_PRIOR, NONE_EXPLAINS * self.none)
        for h in self.hypotheses:
            h.weight *= 1.0 - weight
        self.none *= 1.0 - weight
        self.hypotheses.append(Hypothesis(gtin, sign * quantity, weight))
        return weight

    def confirm(self, gtin: str, sign: int) -> None:
        """A tag event was seen that this step may be the cause of."""
        for h in self.hypotheses:
            if h.gtin != gtin or h.quantity * sign < 0 or self.remaining(h) == 0:
                h.weight *= CHANCE
        self.none = max(self.none * NONE_EXPLAINS, NONE_FLOOR)
        total = self.none + sum(h.weight for h in self.hypotheses)
        self.none /= total
        for h in self.hypotheses:
            h.weight /= total
        self.used[gtin] = self.used.get(gtin, 0) + sign

    def fade(self, now_us: int) -> float:
        """Share of true moves that tags would not have shown by now."""
        patient_us = RESTART_PATIENCE_US if self.source == "restart" else PATIENT_US
        late_us = now_us - self.at_us - patient_us
        if late_us <= 0:
            return 1.0
        return max(NEVER_NOTICED, 0.5 ** (late_us / HALVING_US)) if self.source != "recount" else 1.0


def make_step(
    at_us: int, candidates: tuple[tuple[str, int, float], ...], lane: str = "", source: str = "weight"
) -> Step:
    """An open step of decoded candidates (gtin, ±quantity, probability)."""
    told = sum(probability for _, _, probability in candidates)
    none = max(NONE_FLOOR, 1.0 - told)
    scale = (1.0 - none) / told if told > 0 else 0.0
    hypotheses = [Hypothesis(g, q, p * scale) for g, q, p in candidates if q and p > 0]
    return Step(at_us, lane, source, hypotheses, none)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a closed step turned out to be: goods that were put (`put`) or taken, as told with this probability."""

    told: float
    put: bool
    true: bool
    weight: float


@dataclass(slots=True)
class TagEvent:
    """A tag change at this shelf that no step vouches for (yet)."""

    at_us: int
    gtin: str
    sign: int
    epc: str


class Ledger:
    """Open steps and unexplained tag events of one shelf.

    `awaits(gtin)` tells whether tags of this product would show a move here (tagged goods, reader alive);
    `untagged_share(gtin)` how many of its items carry no working tag.
    """

    def __init__(self, awaits: Callable[[str], bool], untagged_share: Callable[[str], float]) -> None:
        self._awaits, self._untagged_share = awaits, untagged_share
        self.steps: list[Step] = []
        self.recheck_us = self.looked_us = 0
        self.outcomes: list[Outcome] = []
        self._events: deque[TagEvent] = deque(maxlen=ON_SHELF_LIMIT)
        self._speaking: dict[str, list[Step]] = {}  # see `_steps_of`; empty whenever steps or hypotheses change

    def enter(self, step: Step) -> list[TagEvent]:
        """Add a step; returns the earlier tag events that it explains, which therefore need no more doubt."""
        explained: list[TagEvent] = []
        if step.source == "weight":
            self._take_over(step)
        window_us = CLAIM_US if step.source == "hold" else VOUCH_BEFORE_US
        for event in list(self._events):
            if event.at_us < step.at_us - CLAIM_US:
                self._events.remove(event)
            elif event.at_us >= step.at_us - window_us and step.can_vouch(event.gtin, event.sign) > CHANCE:
                step.confirm(event.gtin, event.sign)
                self._events.remove(event)
                explained.append(event)
        self.steps.append(step)
        self._speaking.clear()
        self.recheck_us = 0
        return explained

    def vouch(self, at_us: int, gtin: str, sign: int, mass: Mass) -> tuple[float, Step | None]:
        """Probability that an open step is the cause of a tag event (0.0: none speaks for it); uses it up."""
        best: Step | None = None
        best_weight = 0.0
        for step in self.steps:
            weight = step.can_vouch(gtin, sign) * max(VOUCH_LATE, step.fade(at_us))
            if weight > best_weight and (best is None or best_weight < 0.5):
                best, best_weight = step, weight
        if best is None:
            best, best_weight = self._admit(at_us, gtin, sign, mass)
        if best is not None and best_weight >= 0.01:
            best.confirm(gtin, sign)
            return best_weight, best
        undecoded = max((s.none for s in self.steps if at_us - s.at_us <= KEEP_US), default=0.0)
        return (NONE_EXPLAINS * undecoded if undecoded >= 0.2 else 0.0), None

    def _take_over(self, step: Step) -> None:
        """What staff said to have taken and weight now tells is one move, not two."""
        for hold in [s for s in self.steps if s.source == "hold" and step.at_us - s.at_us <= CLAIM_US]:
            said = hold.hypotheses[0]
            for h in step.hypotheses:
                if h.gtin == said.gtin and h.quantity * said.quantity > 0 and h.weight > 0.5:
                    common = min(h.quantity, said.quantity, key=abs)
                    confirmed = min(hold.used.get(h.gtin, 0), common, key=abs)
                    step.used[h.gtin] = step.used.get(h.gtin, 0) + confirmed
                    hold.used[h.gtin] = hold.used.get(h.gtin, 0) - confirmed
                    said.quantity -= common
                    step.claimed += abs(common)
            if said.quantity == 0:
                self.steps.remove(hold)

    def _admit(self, at_us: int, gtin: str, sign: int, mass: Mass) -> tuple[Step | None, float]:
        """The latest step that may have been a product which does not belong here."""
        self._speaking.clear()
        for step in reversed(self.steps):
            if at_us - step.at_us <= KEEP_US and not step.used and (weight := step.admit(gtin, sign, mass)):
                return step, weight
        return None, 0.0

    def expects(self, at_us: int, gtin: str, sign: int) -> bool:
        """Whether an open step waits for a tag event of this product and direction."""
        return any(step.can_vouch(gtin, sign) * step.fade(at_us) > EXPECTS_FROM for step in self.steps)

    def refund(self, step: Step, gtin: str, sign: int) -> list[TagEvent]:
        """A tag change that this step had vouched for was none: another unexplained one may be what it meant."""
        if step not in self.steps or step.used.get(gtin, 0) * sign <= 0:
            return []
        step.used[gtin] -= sign
        for event in self._events:
            near = -VOUCH_BEFORE_US <= event.at_us - step.at_us <= KEEP_US
            if event.gtin == gtin and event.sign == sign and near and step.can_vouch(gtin, sign) > CHANCE:
                step.confirm(gtin, sign)
                self._events.remove(event)
                return [event]
        return []

    def claim(self, gtin: str, quantity: int, now_us: int) -> int:
        """How many of `quantity` items that a person says to have taken the recent steps have told already."""
        told = 0
        for step in [s for s in self.steps if now_us - s.at_us <= CLAIM_US]:
            for h in step.hypotheses:
                if h.gtin == gtin and h.quantity < 0 and h.weight > 0.5 and step.source == "weight":
                    taken = min(quantity - told, max(0, -h.quantity - step.claimed))
                    step.claimed += taken
                    told += taken
        return told

    def forget(self, epc: str) -> None:
        """This tag had not moved after all: no step is to explain that it did."""
        for event in [event for event in self._events if event.epc == epc]:
            self._events.remove(event)

    def unexplained(self, event: TagEvent) -> None:
        """Remember a tag event that nothing vouched for: its step may be about to settle."""
        self._events.append(event)

    def contribution(self, gtin: str, now_us: int) -> Pmf:
        """Distribution of the signed items of a product that count beside its tags."""
        out, unseen = CERTAIN, dict[str, float]()
        for step in self._steps_of(gtin):
            out = convolve(out, self._rest(step, gtin, now_us, unseen))
        return out

    def _steps_of(self, gtin: str) -> list[Step]:
        """The open steps that may have been this product."""
        steps = self._speaking.get(gtin)
        if steps is None:
            steps = self._speaking[gtin] = [s for s in self.steps if any(h.gtin == gtin for h in s.hypotheses)]
        return steps

    def close(self, now_us: int) -> list[tuple[str, Pmf]]:
        """Close what is old: (product, distribution of items that stay counted without tags) for each."""
        # steps of one product close together: what was taken and put back must not be torn apart
        held: set[str] = set()
        for step in self.steps if len(self.steps) <= ON_SHELF_LIMIT else ():
            if now_us - step.at_us < KEEP_US and now_us - self.steps[0].at_us < KEEP_LONGEST_US:
                held.update(h.gtin for h in step.hypotheses if h.weight > CHANCE)
        kept: list[Step] = []
        closed: list[tuple[str, Pmf]] = []
        unseen: dict[str, float] = {}
        for step in self.steps:
            fresh = now_us - step.at_us < KEEP_US and not step.hypotheses
            if fresh or any(h.gtin in held for h in step.hypotheses):
                kept.append(step)
                continue
            self._judge(step)
            gtins = dict.fromkeys(h.gtin for h in step.hypotheses)
            closed += [(g, self._rest(step, g, now_us, unseen)) for g in gtins if not self._balanced(g)]
        self.steps = kept
        self._speaking.clear()
        return closed

    def _judge(self, step: Step) -> None:
        """Where tags would have shown it, a closed step of weight turns out to have been goods, or a hand.

        What was soon undone says little: tags might not have noticed either.
        """
        if step.source != "weight" or step.claimed or not step.hypotheses:
            return
        if not all(self._awaits(h.gtin) for h in step.hypotheses):
            return
        if any(step.used.values()):
            self.outcomes.append(Outcome(step.told, step.delta_g > 0, True, 1.0))
            return
        undone = [s.at_us for s in self.steps if s.lane == step.lane and s.delta_g * step.delta_g < 0]
        after_us = min((abs(at_us - step.at_us) for at_us in undone), default=KEEP_US)
        noticed = 1.0 - 0.5 ** (max(0, after_us - PATIENT_US) / HALVING_US)
        self.outcomes.append(Outcome(step.told, step.delta_g > 0, False, noticed))

    def fading(self, now_us: int) -> set[str]:
        """Products of the open steps of which less is believed than at the last look, for the time alone."""
        looked_us, self.looked_us = self.looked_us, now_us
        self.recheck_us = now_us + LOOK_US
        return {h.gtin for step in self.steps if step.fade(looked_us) != step.fade(now_us) for h in step.hypotheses}

    def _rest(self, step: Step, gtin: str, now_us: int, unseen: dict[str, float]) -> Pmf:
        """`unseen` keeps by product what `_unseen` said, as long as no step changes."""
        weights: Pmf = {}
        total, fade, used = step.none, step.fade(now_us), step.used
        for h in step.hypotheses:
            weight, quantity = h.weight, h.quantity
            rest = quantity - used.get(h.gtin, 0) if used else quantity
            if rest * quantity <= 0:  # see `Step.remaining`
                rest = 0
            else:
                share = unseen.get(h.gtin)
                if share is None:
                    share = unseen[h.gtin] = self._unseen(h.gtin)
                weight *= share + (1.0 - share) * fade
            total += weight
            if h.gtin == gtin and rest:
                weights[rest] = weights.get(rest, 0.0) + weight
        weights[0] = weights.get(0, 0.0) + total - sum(weights.values())
        return normalized(weights)

    def _unseen(self, gtin: str) -> float:
        """Share of the true moves of this product that tags never show."""
        return 1.0 if not self._awaits(gtin) or self._balanced(gtin) else self._untagged_share(gtin)

    def _balanced(self, gtin: str) -> bool:
        """Whether the open steps of a product cancel: taken and put back before the tags could notice."""
        net = n_open = 0
        for step in self._steps_of(gtin):
            for h in step.hypotheses:
                if h.weight > 0.5:  # weights sum to 1 with that of none: there is one such reading at most
                    if h.gtin == gtin:
                        rest = step.remaining(h)
                        net += rest
                        n_open += rest != 0
                    break
        return n_open > 1 and net == 0

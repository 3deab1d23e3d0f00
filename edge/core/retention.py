"""How long is kept what could be linked to a customer; docs/privacy.md tells the same figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge.core.plain import Within


@dataclass(frozen=True, slots=True)
class Retention:
    """``[retention]``: after so many days it is forgotten, by itself. docs/privacy.md tells customers these figures."""

    sold_tag_days: Annotated[float, Within(1, 365, "days")] = 90.0
    """Number and time of a sold item with a tag, to know it when it is returned: the return period and some days."""
    departed_tag_days: Annotated[float, Within(0.1, 30, "days")] = 1.0
    """The same of an item that left without a sale."""
    offer_days: Annotated[float, Within(1, 30, "days")] = 2.0
    """Offers that have expired, for tills that report redemptions late."""
    consent_days: Annotated[float, Within(1, 1_100, "days")] = 365.0
    """A consent that was neither withdrawn nor given anew."""

"""Facts as sentences for somebody who watches a store: what happened, to which product, where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

Fact = Mapping[str, Any]
CLASS_STYLE = {
    "inventory": "cyan",
    "hold": "blue",
    "reorder": "magenta",
    "footfall": "yellow",
    "proximity": "green",
    "promotion": "bright_magenta",
    "device": "white",
    "security": "red",
    "system": "white",
}
QUIET = {"seq", "type", "time_us", "time_quality", "why", "sources", "confidence"}


def _on_hand(fact: Fact) -> str:
    low, high, count = fact["low"], fact["high"], fact["on_hand"]
    spread = "" if low == high else f" ({low} to {high})"
    return f"{count}{spread} × {{product}} on {fact['shelf']} · {fact['reason']}"


def _people(fact: Fact) -> str:
    low, high, people = fact["low"], fact["high"], fact["people"]
    if not fact["known"]:
        return "how many people are inside is not known"
    return f"{people} people inside" + ("" if low == high else f" ({low} to {high})")


def _state(word: str) -> Callable[[Fact], str]:
    return lambda fact: f"{fact['device']} is {word}" + (f": {fact['cause']}" if fact.get("cause") else "")


_SENTENCES: dict[str, Callable[[Fact], str]] = {
    "ItemPicked": lambda f: f"{f['quantity']} × {{product}} taken from {f['shelf']}",
    "ItemPutBack": lambda f: f"{f['quantity']} × {{product}} put down on {f['shelf']}",
    "TagArrived": lambda f: f"tag {_serial(f)} of {{product}} is on {f['shelf']}",
    "TagMoved": lambda f: f"tag {_serial(f)} of {{product}} went from {f['from_shelf']} to {f['shelf']}",
    "TagDeparted": lambda f: f"tag {_serial(f)} of {{product}} left {f['shelf']}",
    "OnHandChanged": _on_hand,
    "ItemMisplaced": lambda f: f"{{product}} stands on {f['shelf']}, its home is {f['home_shelf']}",
    "StockOut": lambda _: "{product} is out of stock",
    "BackInStock": lambda f: f"{{product}} is back in stock: {f['on_hand']}",
    "ReorderTriggered": lambda f: f"order {f['quantity']} × {{product}}: {f['on_hand']} left",
    "Occupancy": _people,
    "ZoneEntered": lambda f: f"{_walker(f)} came into {f['zone']}",
    "ZoneLeft": lambda f: f"{_walker(f)} left {f['zone']}",
    "OfferShown": lambda f: f"a consenting phone in {f['zone']} is offered {{product}}",
    "OfferRedeemed": lambda f: f"an offer of {{product}} is redeemed at {f['till']}",
    "OfferRefused": lambda f: f"an offer is refused: {f['reason']}",
    "ConsentGiven": lambda f: f"a shopper consents to {', '.join(f['purposes'])}",
    "ConsentWithdrawn": lambda _: "a shopper withdraws the consent",
    "Online": _state("online"),
    "Offline": _state("offline"),
    "Degraded": _state("degraded"),
}


def _walker(fact: Fact) -> str:
    """An own beacon, or a customer who agreed."""
    subject = str(fact.get("subject_id", ""))
    return f"a consenting shopper ({subject[:4]}…)" if subject else str(fact["beacon"])


def _serial(fact: Fact) -> str:
    return "…" + str(fact["epc"]).rpartition(".")[2][-6:]


def sentence(fact: Fact, products: Mapping[str, str]) -> str:
    """One fact in words; of a type that has none here, its fields. `products`: names by GTIN."""
    kind = str(fact["type"]).rpartition(".")[2]
    product = products.get(str(fact.get("gtin", "")), str(fact.get("gtin", "")))
    try:
        return _SENTENCES[kind](fact).replace("{product}", product)
    except KeyError:  # a type without a sentence, or a fact of another release
        fields = [f"{key} {value}" for key, value in fact.items() if key not in QUIET and value not in ("", None)]
        return " · ".join(fields)


def row(fact: Fact, products: Mapping[str, str]) -> tuple[Text, Text, Text]:
    """Number, type and sentence of a fact, each on one line."""
    style = CLASS_STYLE.get(str(fact["type"]).partition(".")[0], "")
    told = Text(sentence(fact, products), no_wrap=True, overflow="ellipsis")
    return Text(str(fact["seq"]), style="dim"), Text(str(fact["type"]).rpartition(".")[2], style=style), told

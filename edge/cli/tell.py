"""``smartstore tell``: a signed command of the platform to a store over MQTT, its answer, and the stock that follows.

What a retailer's back office does: the command goes to ``…/command``, the answer comes on ``…/command-result``, and the
retained ``…/state/stock/{gtin}`` tells what can be promised now.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import typer

from cloud_bridge.contract.signed import parse_object, sign
from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.authority import Authority
from cloud_bridge.ingest.platform import load_signer
from cloud_bridge.paho_client import PahoLinks
from edge.cli.platform import PlatformOptions, platform_settings, running_platform
from edge.core.errors import UplinkError
from edge.core.fact import JsonValue
from edge.core.plain import PlainError
from edge.core.ports import Message
from edge.files import read_table, write_json

ANSWER_S = 30.0
COUNTS = ("on_hand", "held", "available_to_promise")
Show = Callable[[dict[str, JsonValue]], None]


def tell_store(directory: Path, order: Order, as_json: bool) -> bool:
    """Send it and show what follows, as JSON lines or text. Returns whether the store did it."""
    answer = asyncio.run(send(directory, order, lambda row: typer.echo(json.dumps(row) if as_json else as_text(row))))
    return answer.get("status") == "done"


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for. store: "tenant/store"; watch: a GTIN or ""."""

    store: str
    name: str
    args: dict[str, JsonValue]
    watch: str = ""
    seconds: float = 0.0


def arguments(words: Sequence[str]) -> dict[str, JsonValue]:
    """``name=value`` words as an object. A value is JSON; what is none, or a number that a GTIN is, is a text."""
    args: dict[str, JsonValue] = {}
    for word in words:
        key, mark, value = word.partition("=")
        if not key or not mark:
            raise PlainError("argument", word, "name=value")
        try:
            args[key] = value if value.isdigit() and len(value) >= 8 else json.loads(value)
        except ValueError:
            args[key] = value
    return args


@dataclass
class Listener:
    """`LinkListener` that shows the stock and keeps the answer to one command."""

    command: str
    show: Show
    answer: asyncio.Future[dict[str, JsonValue]]
    last: dict[str, Any] = field(default_factory=dict)

    def connected(self) -> None:
        """`send` goes on by itself."""

    def disconnected(self, reason: str) -> None:
        """Nothing more will come."""
        if not self.answer.done():
            self.answer.set_exception(UplinkError(f"the broker closed the connection: {reason}"))

    def acknowledged(self, tokens: Sequence[int]) -> None:
        """The broker has the command."""

    def received(self, message: Message) -> None:
        """An answer, or a stock."""

        body = parse_object(message.payload)
        if body is None:
            return
        if message.topic.endswith("/command-result"):
            if body.get("id") == self.command and body.get("status") != "accepted" and not self.answer.done():
                self.show({"answer": body})
                self.answer.set_result(body)
            return
        stock = {"gtin": message.topic.rpartition("/")[2], **body}
        counts = {key: stock.get(key) for key in COUNTS}
        if counts != self.last:
            self.last = counts
            self.show({"stock": stock})


async def send(directory: Path, order: Order, show: Show) -> dict[str, JsonValue]:
    """The store's answer. Raises UplinkError without broker or answer, SettingsError for a folder without platform."""

    running = running_platform(directory)
    tenant, _, store = order.store.partition("/")
    try:
        topics = Topics(tenant, store)
    except ValueError as error:
        raise PlainError("store", order.store, f"tenant/store: {error}") from None
    settings = platform_settings(PlatformOptions(directory), running.mqtt, Authority.load(directory / "ca"))
    client = f"smartstore-tell-{secrets.token_hex(4)}"
    link_settings = replace(settings.link, hosts=(running.mqtt,), client_id=client, persistent_session=False)
    links = PahoLinks(link_settings)
    link = links(link_settings.endpoints()[0])
    ident = f"tell-{secrets.token_hex(8)}"
    listener = Listener(ident, show, asyncio.get_running_loop().create_future())
    heard = [topics.of("command-result"), *([topics.of(f"state/stock/{order.watch}")] if order.watch else [])]
    await link.connect(listener, Message(f"smartstore/platform/{client}", b""), heard)
    try:
        topic, number = topics.of("command"), _next_seq(directory / "command-seq.json", order.store)
        body: dict[str, JsonValue] = {"id": ident, "name": order.name, "args": order.args, "seq": number}
        link.publish(Message(topic, sign(topic, body, load_signer(directory / "platform.key"), running.key_name)))
        with contextlib.suppress(TimeoutError):
            answer = await asyncio.wait_for(asyncio.shield(listener.answer), ANSWER_S)
            await asyncio.sleep(order.seconds)
            return answer
        listener.answer.cancel()
        raise UplinkError(f"{order.store} gave no answer within {ANSWER_S:g} s: is it online (platform --stores)?")
    finally:
        await link.disconnect()


def _next_seq(path: Path, store: str) -> int:
    """A number that rises with each command of a store, kept beside the platform's key."""
    numbers = read_table(path)
    number = int(numbers.get(store, 0)) + 1
    write_json(path, numbers | {store: number})
    return number


def as_text(row: dict[str, JsonValue]) -> str:
    """One line for people."""
    answer, stock = row.get("answer"), row.get("stock")
    if isinstance(answer, dict):
        reason = f" ({answer['reason']})" if answer.get("reason") else ""
        return f"answer  {answer.get('status')}{reason}  {answer.get('detail', '')}".rstrip()
    if isinstance(stock, dict):
        on_hand, held, promise = (stock.get(key) for key in COUNTS)
        return f"stock   {stock['gtin']}  on hand {on_hand}, held {held}, can be promised {promise}"
    return json.dumps(row)

"""The strong cure of a hung adapter: off and on through BlueZ (org.bluez.Adapter1, property Powered)."""

from __future__ import annotations

import asyncio
from typing import Final

ANSWER_S: Final = 5.0
OFF_S: Final = 0.5


async def switch_off_and_on(adapter: str) -> bool:
    """Whether BlueZ did it; False where it does not answer, has no such adapter, or may not."""
    from dbus_fast import BusType, Message, MessageType, Variant  # noqa: PLC0415 (only stores with adapters)
    from dbus_fast.aio import MessageBus  # noqa: PLC0415

    try:
        async with asyncio.timeout(ANSWER_S):
            bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    except (OSError, EOFError, TimeoutError):
        return False
    try:
        for powered in (False, True):
            call = Message(
                destination="org.bluez",
                path=f"/org/bluez/{adapter}",
                interface="org.freedesktop.DBus.Properties",
                member="Set",
                signature="ssv",
                body=["org.bluez.Adapter1", "Powered", Variant("b", powered)],
            )
            async with asyncio.timeout(ANSWER_S):
                reply = await bus.call(call)
            if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
                return False
            await asyncio.sleep(0 if powered else OFF_S)
    except (OSError, EOFError, TimeoutError):
        return False
    finally:
        bus.disconnect()
    return True

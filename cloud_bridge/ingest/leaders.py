"""Keeps the leaders of NATS's own MQTT streams on one node, so that the death of another node costs no election.

An MQTT client that comes back needs the leaders of the sessions and of the retained messages, one that publishes the
leader of the messages. Spread over three nodes, each node's death stops somebody for an election (4 to 9 s); together,
two deaths of three stop nobody, and the third elects all of them at once. A leader hands over on request at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from nats.errors import Error as NatsError

MESSAGES = "$MQTT_msgs"
FOLLOWING = ("$MQTT_sess", "$MQTT_rmsgs", "$MQTT_out", "$MQTT_qos2in")
LOOK_S = 5.0
_STEP_DOWN = "$JS.API.STREAM.LEADER.STEPDOWN."


async def leader_of(manager: Any, stream: str) -> str:
    """The node that leads a stream; "" while there is none, or no such stream."""
    try:
        info = await manager.stream_info(stream)
    except (NatsError, TimeoutError):
        return ""
    return str(info.cluster.leader or "") if info.cluster is not None else ""


async def gather_leaders(connection: Any) -> int:
    """Ask every stray leader to hand over to the node that leads the messages. How many were asked."""
    manager = connection.jetstream(timeout=2)
    home = await leader_of(manager, MESSAGES)
    if not home:
        return 0
    asked = 0
    for stream in FOLLOWING:
        if await leader_of(manager, stream) in ("", home):
            continue
        wish = json.dumps({"placement": {"preferred": home}}).encode()  # NATS 2.11, ADR-49; older ones pick by chance
        with contextlib.suppress(NatsError, TimeoutError):
            await connection.request(_STEP_DOWN + stream, wish, timeout=2)
            asked += 1
    return asked


async def keep_together(connection: Any) -> None:
    """For ever, until cancelled."""
    while True:
        with contextlib.suppress(NatsError, TimeoutError, OSError):
            await gather_leaders(connection)
        await asyncio.sleep(LOOK_S)

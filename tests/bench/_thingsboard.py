"""The peer, measured the same way: thingsboard-gateway between a source of 500 messages/s and an independent subscriber.

It lives in an environment of its own (SMARTSTORE_THINGSBOARD, default ``.venv-thingsboard``), which ``make peer`` makes,
and bench latency by itself where it is missing; where neither succeeds the row says why and is null. Its settings are
its own defaults (memory storage, so nothing is durable; a pack every 50 ms); its server is mosquitto. Each message
carries the monotonic time at which it was made, as our facts do.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench._subscriber import Subscriber, _length, percentile

HOME = Path(os.environ.get("SMARTSTORE_THINGSBOARD", ".venv-thingsboard"))
RELEASE = "thingsboard-gateway==3.8.5"
INSTALL_S = 150.0
START_S = 60.0
FIRST_MS = 1_790_000_000_000


class Telemetry(Subscriber):
    """Hears what thingsboard-gateway sends to its server."""

    def wants(self, topic: bytes) -> bool:
        return topic == b"v1/gateway/telemetry"


def installed() -> Path | None:
    """The program, None where the environment was not made."""
    program = HOME / "bin" / "thingsboard-gateway"
    return program.resolve() if program.exists() else None


def install() -> str:
    """Make its environment where it is missing. Why it could not be made, "" when it is there."""
    if installed() is not None:
        return ""
    sys.stderr.write(f"Installing {RELEASE} into {HOME} (about a minute) ...\n")
    quiet = ["--quiet", "--disable-pip-version-check"]
    commands = (
        [sys.executable, "-m", "venv", "--clear", str(HOME)],
        [str(HOME / "bin" / "python"), "-m", "pip", "install", *quiet, RELEASE],
    )
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            return f"{RELEASE} was not installed within {INSTALL_S:.0f} s"
        if done.returncode:
            return " ".join(done.stderr.split())[-300:] or f"{command[0]} ended with {done.returncode}"
    return "" if installed() is not None else f"{RELEASE} has no program {HOME / 'bin' / 'thingsboard-gateway'}"


def settings(folder: Path, source: int, server: int) -> None:
    """Its default settings with our addresses, and one mapping."""
    defaults = next(HOME.resolve().glob("lib/python3*/site-packages/thingsboard_gateway/config"))
    config = json.loads((defaults / "tb_gateway.json").read_text("utf-8"))
    config["thingsboard"] |= {"host": "127.0.0.1", "port": server, "remoteConfiguration": False}
    config["thingsboard"]["security"] = {"type": "accessToken", "accessToken": "bench"}
    config["connectors"] = [{"type": "mqtt", "name": "bench", "configuration": "mqtt.json"}]
    rows = [{"type": "string", "key": key, "value": f"${{{key}}}"} for key in ("seq", "monous")]
    device = {"deviceNameExpressionSource": "constant", "deviceNameExpression": "shelf"}
    device |= {"deviceProfileExpressionSource": "constant", "deviceProfileExpression": "default"}
    converter = {"type": "json", "deviceInfo": device, "sendDataOnlyOnChange": False, "timeout": 60000}
    mapping = {
        "topicFilter": "data/",
        "subscriptionQos": 1,
        "converter": {**converter, "attributes": [], "timeseries": rows},
    }
    broker = json.loads((defaults / "mqtt.json").read_text("utf-8"))["broker"] | {"host": "127.0.0.1", "port": source}
    folder.mkdir(parents=True)
    (folder / "tb_gateway.json").write_text(json.dumps(config))
    (folder / "mqtt.json").write_text(json.dumps({"broker": broker, "mapping": [mapping]}))
    (folder / "logs.json").write_text((defaults / "logs.json").read_text("utf-8"))


class Source:
    """Publishes at QoS 1, so fast and no faster, over a plain socket (OASIS mqtt-v3.1.1-os)."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x00\x00\x06source")
        self.seq = 0
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while self.socket.recv(65_536):
                pass

    def publish(self) -> None:
        self.seq += 1
        # Without a time of its own, messages that it reads within one millisecond overwrite each other there.
        fields = {"ts": FIRST_MS + self.seq, "seq": str(self.seq), "monous": str(time.monotonic_ns() // 1000)}
        payload = json.dumps(fields).encode()
        body = b"\x00\x05data/" + struct.pack("!H", self.seq % 65_535 + 1) + payload
        self.socket.sendall(b"\x32" + _length(len(body)) + body)


def answer_limits(port: int) -> Client:
    """The one question of the gateway that its server must answer before telemetry flows: no limits here."""
    server = Client(CallbackAPIVersion.VERSION2, "server")

    def asked(client: Client, _: object, message: MQTTMessage) -> None:
        limits = {"maxPayloadSize": 65536, "maxInflightMessages": 1000, "rateLimits": {}, "gatewayRateLimits": {}}
        client.publish(message.topic.replace("request", "response"), json.dumps(limits), qos=1)

    server.on_message = asked
    server.on_connect = lambda client, *_: client.subscribe("v1/devices/me/rpc/request/+", 1)
    server.connect("127.0.0.1", port)
    server.loop_start()
    return server


def measure(folder: Path, ports: tuple[int, int], rate: float, seconds: float) -> dict[str, object]:
    """ports: of the source's broker and of the server's. Figures of the peer; AssertionError where it does not start."""
    program = installed()
    assert program is not None
    settings(folder / "config", *ports)
    environment = {**os.environ, "TB_GW_CONFIG_DIR": str(folder / "config"), "TB_GW_LOGS_PATH": str(folder)}
    environment.pop("PYTHONPATH", None)
    server = answer_limits(ports[1])
    with (folder / "peer.log").open("wb") as log:
        peer = subprocess.Popen([str(program)], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        ear, source = Telemetry(ports[1], "v1/gateway/telemetry"), Source(ports[0])
        began_s = time.monotonic()
        while not ear.received:  # the first that comes through: it is up
            assert time.monotonic() - began_s < START_S, (folder / "peer.log").read_text("utf-8", "replace")[-800:]
            assert peer.poll() is None, (folder / "peer.log").read_text("utf-8", "replace")[-800:]
            source.publish()
            ear.read_until(source.seq, 0.2)
        ear.read_until(source.seq, 2.0)
        ear.late_from = first = source.seq + 1
        feeding = threading.Thread(target=_feed, args=(source, rate, seconds), daemon=True)
        feeding.start()
        ear.read_until(first + round(rate * seconds) - 1, seconds + 30)
        feeding.join()
    finally:
        peer.kill()
        peer.wait()
        server.loop_stop()
    late_ms = [late_us / 1e3 for _, late_us in ear.late_us]
    told = {"p50_ms": round(percentile(late_ms, 0.5), 1), "p99_ms": round(percentile(late_ms, 0.99), 1)}
    return {**told, "facts": source.seq - first + 1, "heard": len(late_ms)}


def _feed(source: Source, rate: float, seconds: float) -> None:
    began_s = time.monotonic()
    for number in range(round(rate * seconds)):
        time.sleep(max(0.0, began_s + number / rate - time.monotonic()))
        source.publish()


if __name__ == "__main__":
    sys.exit(install() or 0)

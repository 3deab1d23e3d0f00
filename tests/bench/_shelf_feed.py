"""The other end of the shelf benchmark's ports: 25 shelf controllers that send at their pace, as a process of its own.

Arguments: rate in Hz, seconds, start (seconds of time.time), then the descriptors of the ports' masters. All frames are
encoded beforehand by the simulated firmware's own codec; afterwards the process only sleeps and writes.
"""

import os
import sys
import time

import numpy as np

from firmware_sim import sdp

CELLS = 8
UNIT_G = 250.0
PER_G, ZERO = 400.0, 10_000.0
PICK_EVERY_S = 4.0
SETTLING = (1 / 24, 11 / 24, 11 / 24, 1 / 24)


def frames(port: int, rate_hz: float, seconds: float) -> list[bytes]:
    """All frames of one port: noise, and one item taken from one cell after the other."""
    rng = np.random.default_rng(port)
    n = int(seconds * rate_hz)
    t_s = np.arange(n) / rate_hz
    load_g = np.full((n, CELLS), 20 * UNIT_G)
    for number in range(picks(seconds)):
        load_g[t_s >= (number + 1) * PICK_EVERY_S + 0.03 * port, number % CELLS] -= UNIT_G
    padded = np.vstack([load_g[:1]] * 3 + [load_g])
    g = sum(w * padded[3 - k : 3 - k + n] for k, w in enumerate(SETTLING)) + rng.normal(0, 0.3, (n, CELLS))
    counts = np.rint(ZERO + PER_G * g).astype(int).tolist()
    identity = sdp.Identity(f"SH-{port:06d}", "SHELF-8", cells=CELLS, rate_tenths_hz=int(rate_hz * 10))
    boot = sdp.encode(sdp.BOOT, 0, 5, identity.packed() + bytes((sdp.BY_POWER,)))
    return [boot] + [
        sdp.encode(sdp.DATA, i + 1, 10 + int(t * 1000), sdp.data_body(row, 2150))
        for i, (t, row) in enumerate(zip(t_s, counts, strict=True))
    ]


def picks(seconds: float) -> int:
    """How many items each port loses so early that they can be told before the end."""
    return int((seconds - 3.0) / PICK_EVERY_S)


def main() -> None:
    rate_hz, seconds, *ports = (float(word) for word in sys.argv[1:])
    fds = [int(fd) for fd in ports]
    queues = [frames(port, rate_hz, seconds) for port in range(len(fds))]
    print("ready", flush=True)
    sys.stdin.readline()
    due = sorted(
        ((index / rate_hz + 0.9 * port / len(fds) / rate_hz, port, index) for port, queue in enumerate(queues)
         for index in range(len(queue)))
    )  # fmt: skip
    start_s = time.monotonic()
    for at_s, port, index in due:
        ahead_s = start_s + at_s - time.monotonic()
        if ahead_s > 0.001:
            time.sleep(ahead_s)
        os.write(fds[port], queues[port][index])
    time.sleep(0.5)


if __name__ == "__main__":
    main()

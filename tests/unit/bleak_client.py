"""A program of its own: an unmodified BleakScanner. Arguments: mode, adapters (comma), seconds. Prints one JSON line.

It runs as a subprocess, so that it shares nothing with the role but the bus.
"""

import asyncio
import json
import sys
from collections.abc import Callable

from bleak import BleakScanner
from bleak.args.bluez import OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData


async def main(mode: str, adapters: list[str], seconds: float) -> dict:
    heard: dict[str, list[int]] = {name: [] for name in adapters}
    addresses: set[str] = set()
    rssi: set[int] = set()

    def listener(name: str) -> Callable[[BLEDevice, AdvertisementData], None]:
        def found(device: BLEDevice, advertisement: AdvertisementData) -> None:
            addresses.add(device.address)
            rssi.add(advertisement.rssi)
            payload = advertisement.manufacturer_data.get(0x004C)
            if payload is not None:
                heard[name].append(int.from_bytes(payload[18:22], "big"))

        return found

    scanners = []
    for name in adapters:
        bluez: dict = {"adapter": name}
        if mode == "passive":
            prefix = OrPattern(0, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, b"\x4c\x00\x02\x15")
            bluez["or_patterns"] = [prefix]
        scanners.append(BleakScanner(listener(name), scanning_mode=mode, bluez=bluez))
    for scanner in scanners:
        await scanner.start()
    print("started", flush=True)
    await asyncio.sleep(seconds)
    errors = []
    for scanner in scanners:
        try:
            async with asyncio.timeout(2):
                await scanner.stop()
        except Exception as error:
            errors.append(type(error).__name__)
    return {"heard": heard, "addresses": sorted(addresses), "rssi": sorted(rssi), "errors": errors}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2].split(","), float(sys.argv[3])))))

"""BLE beacons: what advertisements say, heard by local adapters or by remote scanners."""

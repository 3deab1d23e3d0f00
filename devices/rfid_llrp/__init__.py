"""RFID readers that speak LLRP (EPCglobal Low Level Reader Protocol 1.0.1 and 1.1)."""

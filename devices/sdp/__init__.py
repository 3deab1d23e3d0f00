"""SDP/1, the protocol of our own sensor MCUs (shelf, door array, BLE scanner): codec and session, no device of its own.

A layer like a transport: the families that speak it import it, it imports none of them.
"""

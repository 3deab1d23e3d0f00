"""The shelf MCU: up to 16 load cells over SDP/1."""

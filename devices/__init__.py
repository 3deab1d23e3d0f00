"""Drivers: transport, codec and conversation of each device family; they emit observations."""

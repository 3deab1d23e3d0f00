"""The local API and the technicians' console."""

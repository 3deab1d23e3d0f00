"""The gateway: pure core, journal, runtime, API and the composition root."""

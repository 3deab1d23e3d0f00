"""The bridge to the central platform: contract, uplink, downlink, reference ingest."""

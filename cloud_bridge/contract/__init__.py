"""Contract version 1: topics, envelope, schemas."""

CONTRACT_VERSION = "1.0"

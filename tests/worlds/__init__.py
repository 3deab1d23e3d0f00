"""See ARCHITECTURE.md, rooms."""

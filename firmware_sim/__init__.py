"""The independent witness: devices played from their specifications; imports nothing of ours."""

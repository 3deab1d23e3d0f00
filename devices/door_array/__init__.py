"""The door array: a thermal or depth sensor over SDP/1."""

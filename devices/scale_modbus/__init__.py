"""Weight transmitters on Modbus RTU; each model has its own register map, a profile."""

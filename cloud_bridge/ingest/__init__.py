"""The platform's reference consumer."""

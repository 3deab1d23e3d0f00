"""Everything that can go wrong, as one tree.

::

    GatewayError
    ├── SettingsError            a file, a key, a value, what is expected
    ├── SiteError                the planogram contradicts itself
    ├── DeviceError              a device, by its id
    │   ├── LinkLost             the wire is gone            (ConnectionError)
    │   ├── DeviceTimeout        the wire is there, silent   (TimeoutError)
    │   ├── DeviceRefused        it answered no
    │   └── DeviceMisbehaved     it answered nonsense
    ├── InferenceError           a model or its runner
    ├── UplinkError              the bridge to the platform
    │   └── CommandRejected      a command, with the reason the platform is told
    └── JournalError
        ├── JournalCorrupt
        └── JournalFull

Each leaf tells whether trying again can help (``retryable``) and what a technician does next (``hint``).
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """Root of the tree: an error with a next action for a person."""

    retryable: ClassVar[bool] = False
    hint: ClassVar[str] = "Look at the health page for the cause."


class SettingsError(GatewayError):
    """A settings file that cannot be used: names the file, the key, the value and what is expected."""

    hint = "Correct the named key in that file and start again."

    def __init__(self, file: str, key: str, value: object, expected: str) -> None:
        self.file, self.key, self.value, self.expected = file, key, value, expected
        super().__init__(f"{file}: {key} = {value!r}: expected {expected}")


class SiteError(GatewayError):
    """A planogram that contradicts itself: names the entry, the value and what is expected."""

    hint = "Correct the named entry of the planogram and load it again."

    def __init__(self, entry: str, value: object, expected: str) -> None:
        self.entry, self.value, self.expected = entry, value, expected
        super().__init__(f"planogram: {entry} = {value!r}: expected {expected}")


class DeviceError(GatewayError):
    """Something about one device."""

    retryable = True

    def __init__(self, device_id: str, detail: str) -> None:
        self.device_id, self.detail = device_id, detail
        super().__init__(f"{device_id}: {detail}")


class LinkLost(DeviceError, ConnectionError):
    """The wire to the device is gone or was never there."""

    hint = "Check the cable, the power and the address of the device."


class DeviceTimeout(DeviceError, TimeoutError):
    """The wire is open and the device says nothing."""

    hint = "Power-cycle the device; if it stays silent, replace it."


class DeviceRefused(DeviceError):
    """The device answered, and the answer was no."""

    hint = "Read the device's own status text; another client may hold it."


class DeviceMisbehaved(DeviceError):
    """The device answers with what its protocol forbids."""

    hint = "Check that the device kind in the settings matches the hardware, then its firmware."


class InferenceError(GatewayError):
    """A model file or its runner cannot be used: names the file, what was found and what is expected."""

    hint = "Install the model again; counting goes on with the last good one where there is one."


class UplinkError(GatewayError):
    """The bridge to the central platform."""

    retryable = True
    hint = "Check the network and the broker's address; facts are kept until the platform has them."


class CommandRejected(UplinkError):
    """A command that is not carried out; the reason goes back to the platform."""

    retryable = False
    hint = "The platform is told the reason; nothing was changed."

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


class JournalError(GatewayError):
    """The journal cannot do what it promised."""

    hint = "Check the disk; the gateway restarts on its own."


class JournalCorrupt(JournalError):
    """The journal file fails its integrity check; it is put in quarantine and a new epoch begins."""

    hint = "Keep the quarantined file for analysis and replace the memory card soon."


class JournalFull(JournalError):
    """The quota is used up with facts that must never be dropped."""

    hint = "Restore the link to the platform, or raise the quota."

"""What a technician does next, by the cause that a device or the gateway names."""

from __future__ import annotations

from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost

HINTS = {
    "starting": "Wait a few seconds; if it stays, check power and cable.",
    "LinkLost": LinkLost.hint,
    "DeviceTimeout": DeviceTimeout.hint,
    "DeviceRefused": DeviceRefused.hint,
    "DeviceMisbehaved": DeviceMisbehaved.hint,
    "not_configured": "The planogram has it and the settings do not: set it up, or take it off the planogram.",
    "settings": "Correct the named setting of this device.",
    "crashed": "The driver failed; it is started again. Send the support bundle if it stays.",
    "inference": "This door is not counted: the detail tells the frames or the model to put right.",
    "inference_late": "The gateway is too busy for this door's frames: its count of this quarter is unknown.",
    "model_fallback": "Nothing is lost: an earlier model counts. Install the newest model again.",
    "duty_off": "Nothing to do: the reader rests by its schedule.",
    "silent": "Check the cable between controller and gateway.",
    "heartbeat:loop": "The gateway restarts by itself; send the support bundle if it happens again.",
    "heartbeat:writer": "Check the memory card; the gateway restarts by itself.",
    "heartbeat:inference": "The model hangs; the gateway restarts by itself.",
    "safe_mode": "Drivers start again after ten minutes without the named kind: update it or take it out of service.",
    "quarantined": "It crashed the gateway: set it up anew when the cause is mended.",
    "certificate": "Make room on the disk; browsers warn when the certificate is over.",
    "enrolment": "Look at the enrolment's cause; the link works until the certificate is over.",
    "public_certificate": "Look whether the platform is reached; phones warn when the certificate is over.",
    "erasure": "Make room on the disk: a customer's data wait to be erased, which must be done within a day.",
    "journal_full": "Restore the link to the platform, or raise the quota.",
    "journal_corrupt": "Replace the memory card soon; a new journal began.",
}


def hint_for(cause: str) -> str:
    """The next action for a cause."""
    return HINTS.get(cause, "See the detail; replacing the device keeps its place and settings." if cause else "")

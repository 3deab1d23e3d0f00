"""Named errors of the footfall models.

FootfallError(InferenceError, ValueError)
├── FrameSizeError      frames of a size no supported sensor has
├── FrameRateError      fewer than 5 or more than 30 frames a second
├── BadPixelsError      frames most of whose pixels are dead or saturated
├── FrameUnitError      a unit that is neither centi-°C nor mm
├── InwardError         an inward direction other than +x -x +y -y
├── RecordingError      a recording that cannot be read or lacks what was asked for
├── ManifestError       a manifest without a needed key, or with a wrong one
├── ModelError          a model file that is missing, tampered with or of another shape
├── WalkError           too few walks for a mount check or a walk test
└── RecorderError       a technician's recording that may not begin or go on

Each carries `retryable` and `hint`, the technician's next action.
"""

from __future__ import annotations

from edge.core.errors import InferenceError


class FootfallError(InferenceError, ValueError):
    """Base of all errors of this package; the message names the thing, the value and what is expected."""

    hint = "Read the message and correct the named value."


class FrameSizeError(FootfallError):
    """Frames of a size that no supported door sensor has."""

    hint = "Set the sensor's rows and columns to 8x8 (Grid-EYE, VL53L5CX) or 24x32 (MLX90640)."


class FrameRateError(FootfallError):
    """A frame rate outside 5 to 30 frames a second."""

    hint = "Set the door sensor to 8, 10, 15 or 16 frames a second."


class BadPixelsError(FootfallError):
    """Frame after frame has more dead or saturated pixels than can be filled."""

    hint = "Look at the heat view, clean the sensor, check its cable and supply; else change the sensor."


class FrameUnitError(FootfallError):
    """A frame unit that is neither centi-°C nor mm."""

    hint = "The sensor reports its unit in HELLO: 1 is centi-°C, 2 is mm."


class InwardError(FootfallError):
    """An inward direction other than +x, -x, +y, -y."""

    hint = "Run the mount check: ten walks through the door tell the inward direction."


class RecordingError(FootfallError):
    """A recording that cannot be read, or lacks what was asked for."""

    hint = "A recording is an .npz file with centi_celsius int16 (frames, rows, columns)."


class ManifestError(FootfallError):
    """A model manifest that lacks a key or holds a wrong value."""

    hint = "Install the model package again; the last good model keeps counting."


class ModelError(FootfallError):
    """A model file that is missing, tampered with, or of another shape than its manifest says."""

    hint = "Install the model package again; the last good model keeps counting."


class WalkError(FootfallError):
    """Too few walks for a mount check or a walk test."""

    hint = "Walk through the door again, pressing the button for each walk."


class RecorderError(FootfallError):
    """A technician's recording that may not begin or go on."""

    hint = "Start a new recording with the notice shown at the door; it ends on its own after its time limit."

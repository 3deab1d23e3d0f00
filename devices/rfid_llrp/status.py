"""What a reader's LLRPStatus means to a person (LLRP 1.1, 15.2.1 and 15.2.2)."""

from __future__ import annotations

from devices.rfid_llrp.parameters import Parameter
from devices.rfid_llrp.tables import PARAMETERS

SUCCESS = 0
_NAMES = {
    100: "M_ParameterError",
    101: "M_FieldError",
    102: "M_UnexpectedParameter",
    103: "M_MissingParameter",
    104: "M_DuplicateParameter",
    105: "M_OverflowParameter",
    106: "M_OverflowField",
    107: "M_UnknownParameter",
    108: "M_UnknownField",
    109: "M_UnsupportedMessage",
    110: "M_UnsupportedVersion",
    111: "M_UnsupportedParameter",
    200: "P_ParameterError",
    201: "P_FieldError",
    202: "P_UnexpectedParameter",
    203: "P_MissingParameter",
    204: "P_DuplicateParameter",
    205: "P_OverflowParameter",
    206: "P_OverflowField",
    207: "P_UnknownParameter",
    208: "P_UnknownField",
    209: "P_UnsupportedParameter",
    300: "A_Invalid",
    301: "A_OutOfRange",
    401: "R_DeviceError",
}
_ADVICE_BY_PARAMETER = {
    "RFTransmitter": "check tx_power_dbm and the antenna ports against what the reader offers",
    "AntennaConfiguration": "check the antenna ports in the settings",
    "AISpec": "check the antenna ports in the settings",
    "C1G2RFControl": "check mode against the reader's table of modes",
    "C1G2SingulationControl": "check session and tag_population",
    "KeepaliveSpec": "update the reader's firmware: it does not offer keepalive",
    "ROReportSpec": "lower tags_a_report",
}
_ADVICE_BY_CODE = {
    105: "another client left its reading plan on the reader: set take_over = true",
    106: "another client left its reading plan on the reader: set take_over = true",
    109: "update the reader's firmware: it does not know this message",
    110: "update the reader's firmware: it does not speak LLRP 1.0.1",
    401: "power-cycle the reader; if it stays, its radio is broken",
}


def refusal(request: str, answer: Parameter) -> str:
    """What is wrong by the answer's LLRPStatus, in words with a next action; "" for success."""
    status = answer.child("LLRPStatus")
    if status is None:
        return f"{request}: the answer has no LLRPStatus"
    code = status.number("StatusCode")
    if code == SUCCESS:
        return ""
    words = [f"{request}: {_NAMES.get(code, 'status')} ({code})"]
    if status.text("ErrorDescription"):
        words.append(f"“{status.text('ErrorDescription').strip()}”")
    place = _place(status)
    if place:
        words.append(f"at {' → '.join(place)}")
    advice = next((_ADVICE_BY_PARAMETER[name] for name in reversed(place) if name in _ADVICE_BY_PARAMETER), None)
    advice = advice or _ADVICE_BY_CODE.get(code)
    return " ".join(words) + (f"; {advice}" if advice else "")


def _place(status: Parameter) -> list[str]:
    """Names of the parameters that the reader blames, from the outside in, and the field."""
    names = []
    at: Parameter | None = status
    while at is not None:
        field = at.child("FieldError")
        if field is not None:
            names.append(f"field {field.number('FieldNum')}")
        at = at.child("ParameterError")
        if at is not None:
            number = at.number("ParameterType")
            row = PARAMETERS.get(number)
            names.append(row.name if row else f"parameter {number}")
    return names

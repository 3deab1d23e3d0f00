"""Who a reader is: the identity that stays when its address changes."""

from __future__ import annotations

from devices.rfid_llrp.link import LlrpLink

IDENTIFICATION = 1  # RequestedData of GET_READER_CONFIG (LLRP 1.1, 13.1.1)


async def read_identity(link: LlrpLink) -> str:
    """The reader's own identity (MAC address or EPC) as lower-case hex; "" where it does not tell."""
    answer = await link.ask("GET_READER_CONFIG", {"RequestedData": IDENTIFICATION})
    row = answer.child("Identification")
    reader_id = row.fields.get("ReaderID") if row else None
    return normal_identity(reader_id.hex()) if isinstance(reader_id, bytes) else ""


def normal_identity(text: str) -> str:
    """An identity as a person or a reader writes it: hex digits; an EUI-64 made of a MAC address becomes that again."""
    digits = "".join(char for char in text.lower() if char.isalnum())
    return digits[:6] + digits[10:] if len(digits) == 16 and digits[6:10] in ("ffff", "fffe") else digits

"""Secrets: claim codes, tokens and PINs. Tokens are kept as SHA-256 only, PINs as argon2id only."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

from edge.access.errors import AccessDenied

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
CODE_LENGTH = 10  # 50 bits: with throttling, guessing takes longer than the hardware lives
PIN_MIN, PIN_MAX = 6, 128
TIME_COST, MEMORY_KIB, PARALLELISM = 2, 19 * 1024, 1  # OWASP's argon2id minimum: about 0.1 s on a Pi-class core
_LOOKALIKES = str.maketrans("ILOU", "110V")


def new_code() -> str:
    """A claim code of 10 Crockford characters."""
    return "".join(secrets.choice(CROCKFORD) for _ in range(CODE_LENGTH))


def normalized(code: str) -> str:
    """A code as a person types it: any case, with spaces and hyphens, I and L for 1, O for 0."""
    return "".join(code.upper().split()).replace("-", "").translate(_LOOKALIKES)


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def new_token() -> str:
    """An opaque token of 256 bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Under what a token is kept. A plain hash is enough: 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_pin(pin: str) -> None:
    """Raises AccessDenied for a PIN that is too short, too long, or one repeated character."""
    if not PIN_MIN <= len(pin) <= PIN_MAX or len(set(pin)) < 3:
        detail = f"a PIN of {len(pin)} characters: expected {PIN_MIN} to {PIN_MAX}, at least 3 of them different"
        raise AccessDenied("weak_pin", detail, "Choose a longer PIN or a short sentence.")


class PinHasher:
    """argon2id in a worker thread; made when first needed, because the library and its memory are."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._decoy = ""

    async def hash(self, pin: str) -> str:
        """The PHC string of a PIN."""
        return await self._run(_hash, pin)

    async def verify(self, stored: str, pin: str) -> bool:
        """Whether the PIN is the one; an account that does not exist ("") takes as long as one that does."""
        if not stored:
            self._decoy = self._decoy or await self.hash(new_token())
        matches = await self._run(_verify, stored or self._decoy, pin)
        return bool(stored) and matches == "yes"

    async def _run(self, work: object, *arguments: str) -> str:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "argon2")
        assert callable(work)
        return str(await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments))

    def close(self) -> None:
        """End the worker."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def _hash(pin: str) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415 (only who sets a PIN pays for it)

    return PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM).hash(pin)


def _verify(stored: str, pin: str) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415

    try:
        PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM).verify(stored, pin)
    except (VerificationError, InvalidHashError):
        return "no"
    return "yes"

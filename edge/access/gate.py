"""The gate: claims the gateway, lets people and scripts in, and says who a token belongs to."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edge.access.audit import Audit, Keyed
from edge.access.errors import AccessDenied
from edge.access.roles import Role
from edge.access.secret import PinHasher, check_pin, new_code, new_token, normalized, same, token_hash
from edge.access.throttle import Throttle
from edge.core.fact import Fact, JsonValue
from edge.core.facts import Claimed, SignedIn
from edge.core.instant import US_PER_HOUR, US_PER_MIN, US_PER_S
from edge.core.ports import Clock

IDLE_US = 15 * US_PER_MIN
ABSOLUTE_US = 8 * US_PER_HOUR
TOUCH_US = 60 * US_PER_S  # the last use of a session is written at most so often: a card wears
SESSIONS_LIMIT = 200
PEOPLE_LIMIT = 100
_NAME = re.compile(r"[\w.@ -]{1,40}\Z")
_CLAIM, _PERSON, _SESSION, _API = "access/claim", "access/person/", "access/session/", "access/token/"


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts: a name, a role, and whether it is a script with an API token."""

    name: str
    role: Role
    script: bool = False


@dataclass(slots=True)
class _Session:
    person: Person
    began_us: int
    used_us: int
    written_us: int


class Access:
    """Lives on the loop. Times are engine times: setting the clock neither ends nor prolongs a session."""

    def __init__(self, keyed: Keyed, clock: Clock, record: Callable[[Fact], Awaitable[object]]) -> None:
        self._keyed, self._clock, self._record = keyed, clock, record
        self._pins = PinHasher()
        self._throttle = Throttle()
        self._sessions: dict[str, _Session] = {}
        self._tokens: dict[str, Person] = {}
        self.audit = Audit(keyed, clock, record)
        self._load()

    def _load(self) -> None:
        if not isinstance(self._keyed.get(_CLAIM), dict):
            self._keyed.put(_CLAIM, {"code": new_code()})
        for key in self._keyed.keys(_SESSION):
            row = self._keyed.get(key)
            person = self._person(row)
            if person is not None and isinstance(row, dict):
                began_us, used_us = int(str(row["began_us"])), int(str(row["used_us"]))
                self._sessions[key.removeprefix(_SESSION)] = _Session(person, began_us, used_us, used_us)
        for key in self._keyed.keys(_API):
            row = self._keyed.get(key)
            if isinstance(row, dict):
                self._tokens[str(row["hash"])] = Person(str(row["name"]), Role(str(row["role"])), script=True)

    def _person(self, row: JsonValue) -> Person | None:
        known = self._keyed.get(f"{_PERSON}{row['name']}") if isinstance(row, dict) else None
        return Person(str(known["name"]), Role(str(known["role"]))) if isinstance(known, dict) else None

    # --- claiming -----------------------------------------------------------------------------------------------------

    @property
    def claimed(self) -> bool:
        """Whether the gateway has an owner."""
        row = self._keyed.get(_CLAIM)
        return isinstance(row, dict) and "code" not in row

    @property
    def claim_code(self) -> str:
        """The code on the label and the screen; "" once it was used."""
        row = self._keyed.get(_CLAIM)
        return str(row.get("code", "")) if isinstance(row, dict) else ""

    async def claim(self, code: str, name: str, pin: str, address: str) -> str:
        """Make `name` the first admin, with the code from the label; returns a session token. Raises AccessDenied."""
        now = self._clock.now()
        keys = ("claim", f"address:{address}")
        self._throttle.check(keys, now.mono_us)
        if self.claimed:
            raise AccessDenied("already_claimed", "this gateway has an owner", "Sign in, or reset it at the device.")
        if not same(normalized(code), self.claim_code):
            self._throttle.failed(keys, now.mono_us)
            await self._record(Claimed(at_us=now.mono_us, actor=address, ok=False, detail="wrong code"))
            raise AccessDenied("wrong_code", "the claim code is not the one of this gateway", "Read the label again.")
        check_name(name)
        check_pin(pin)
        # Single use: taken before the slow hash, so that two who claim at once cannot both win.
        taken = self._keyed.put(_CLAIM, {"claimed_us": now.wall_us, "by": name})
        self._throttle.succeeded(keys)
        await self._keep_person(name, Role.ADMIN, pin)
        await taken
        await self._record(Claimed(at_us=now.mono_us, actor=name, ok=True))
        await self.audit.add(name, "claim", "gateway", f"from {address}")
        return await self._begin(Person(name, Role.ADMIN))

    async def reset(self, cause: str) -> None:
        """Forget the owner, everybody and every token: who stands at the device may claim it anew."""
        for prefix in (_PERSON, _SESSION, _API):
            for key in self._keyed.keys(prefix):
                self._keyed.put(key, None)
        self._sessions.clear()
        self._tokens.clear()
        self._keyed.put(_CLAIM, {"code": new_code()})
        await self.audit.add("at the device", "reset", "gateway", cause)

    # --- people -------------------------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Everybody with a PIN."""
        rows = (self._person(self._keyed.get(key)) for key in self._keyed.keys(_PERSON))
        return [person for person in rows if person is not None]

    async def set_person(self, actor: Person, name: str, role: Role, pin: str) -> None:
        """Add somebody, or change role and PIN; ends the sessions of that name. Raises AccessDenied."""
        check_name(name)
        check_pin(pin)
        known = [person.name for person in self.people()]
        if name not in known and len(known) >= PEOPLE_LIMIT:
            raise AccessDenied("too_many_people", f"{len(known)} people: expected at most {PEOPLE_LIMIT}")
        self._keep_an_admin(name, role)
        await self._keep_person(name, role, pin)
        self._end_sessions(name)
        await self.audit.add(actor.name, "set_person", name, role.value)

    async def remove_person(self, actor: Person, name: str) -> None:
        """Take somebody out. Raises AccessDenied for an unknown name and for the last admin."""
        if name not in [person.name for person in self.people()]:
            raise AccessDenied("unknown_person", f"name = {name!r}: nobody of this name", "See the list of people.")
        self._keep_an_admin(name, None)
        self._keyed.put(_PERSON + name, None)
        self._end_sessions(name)
        await self.audit.add(actor.name, "remove_person", name)

    def _keep_an_admin(self, name: str, role: Role | None) -> None:
        others = [person for person in self.people() if person.role is Role.ADMIN and person.name != name]
        was_admin = any(person.name == name and person.role is Role.ADMIN for person in self.people())
        if was_admin and role is not Role.ADMIN and not others:
            raise AccessDenied("last_admin", f"{name} is the last admin", "Make somebody else admin first.")

    async def _keep_person(self, name: str, role: Role, pin: str) -> None:
        await self._keyed.put(_PERSON + name, {"name": name, "role": role.value, "pin": await self._pins.hash(pin)})

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def sign_in(self, name: str, pin: str, address: str) -> str:
        """A session token for a name and its PIN. Raises AccessDenied (wrong_pin, throttled)."""
        now = self._clock.now()
        keys = (f"account:{name[:40]}", f"address:{address}")
        self._throttle.check(keys, now.mono_us)
        self._throttle.failed(keys, now.mono_us)  # before the slow check: guesses in parallel count as well
        row = self._keyed.get(_PERSON + name)
        stored = str(row["pin"]) if isinstance(row, dict) else ""
        if not await self._pins.verify(stored, pin[:200]) or not isinstance(row, dict):
            await self._record(SignedIn(at_us=now.mono_us, actor=name[:40], role="", ok=False, address=address))
            raise AccessDenied("wrong_pin", "name or PIN is wrong", "Try again; an admin can set a new PIN.")
        self._throttle.succeeded(keys)
        person = Person(str(row["name"]), Role(str(row["role"])))
        signed = SignedIn(at_us=now.mono_us, actor=person.name, role=person.role.value, ok=True, address=address)
        await self._record(signed)
        return await self._begin(person)

    async def _begin(self, person: Person) -> str:
        now_us = self._clock.now().mono_us
        for key in [key for key, session in self._sessions.items() if self._over(session, now_us)]:
            self._drop(key)
        while len(self._sessions) >= SESSIONS_LIMIT:
            self._drop(min(self._sessions, key=lambda key: self._sessions[key].used_us))
        token = new_token()
        self._sessions[token_hash(token)] = session = _Session(person, now_us, now_us, now_us)
        await self._write(token_hash(token), session)
        return token

    def _write(self, key: str, session: _Session) -> Awaitable[object]:
        session.written_us = session.used_us
        row: JsonValue = {"name": session.person.name, "began_us": session.began_us, "used_us": session.used_us}
        return self._keyed.put(_SESSION + key, row)

    @staticmethod
    def _over(session: _Session, now_us: int) -> bool:
        return now_us - session.used_us > IDLE_US or now_us - session.began_us > ABSOLUTE_US

    def _drop(self, key: str) -> None:
        self._sessions.pop(key, None)
        self._keyed.put(_SESSION + key, None)

    def _end_sessions(self, name: str) -> None:
        for key in [key for key, session in self._sessions.items() if session.person.name == name]:
            self._drop(key)

    def who(self, token: str, *, touch: bool = True) -> Person | None:
        """Who this token belongs to, None where it is unknown or over. touch=False: asking does not prolong it."""
        key = token_hash(token)
        script = self._tokens.get(key)
        if script is not None:
            return script
        session = self._sessions.get(key)
        if session is None:
            return None
        now_us = self._clock.now().mono_us
        if self._over(session, now_us):
            self._drop(key)
            return None
        if touch:
            session.used_us = now_us
            if now_us - session.written_us > TOUCH_US:
                self._write(key, session)
        return session.person

    async def sign_out(self, token: str) -> None:
        """End a session."""
        key = token_hash(token)
        if key in self._sessions:
            self._sessions.pop(key)
            await self._keyed.put(_SESSION + key, None)

    # --- tokens of scripts --------------------------------------------------------------------------------------------

    def tokens(self) -> list[Person]:
        """Scripts that have an API token."""
        return list(self._tokens.values())

    async def make_token(self, actor: Person, name: str, role: Role) -> str:
        """A token for a script, shown this once. Raises AccessDenied for a name that is taken, and for role admin."""
        check_name(name)
        if role is Role.ADMIN:
            raise AccessDenied("role", "role = 'admin': expected viewer, staff or technician for a script")
        if self._keyed.get(_API + name) is not None or len(self._tokens) >= PEOPLE_LIMIT:
            raise AccessDenied("token_exists", f"name = {name!r}: expected one that no token has", "Revoke it first.")
        token = new_token()
        self._tokens[token_hash(token)] = Person(name, role, script=True)
        await self._keyed.put(_API + name, {"name": name, "role": role.value, "hash": token_hash(token)})
        await self.audit.add(actor.name, "make_token", name, role.value)
        return token

    async def revoke_token(self, actor: Person, name: str) -> None:
        """Take a script's token back. Raises AccessDenied for an unknown name."""
        row = self._keyed.get(_API + name)
        if not isinstance(row, dict):
            raise AccessDenied("unknown_token", f"name = {name!r}: no token of this name", "See the list of tokens.")
        self._tokens.pop(str(row["hash"]), None)
        await self._keyed.put(_API + name, None)
        await self.audit.add(actor.name, "revoke_token", name)

    def close(self) -> None:
        """End the worker thread."""
        self._pins.close()


def check_name(name: str) -> None:
    """Raises AccessDenied for what is no name of a person or script."""
    if not _NAME.match(name) or not name.strip():
        raise AccessDenied("name", f"name = {name[:60]!r}: expected 1 to 40 letters, digits, '.', '@', ' ' or '-'")

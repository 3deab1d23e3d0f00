"""The gate: claim once, roles, PINs, throttling, time-outs, tokens, audit chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edge.access import Access, AccessDenied, LocalAuthority, Role, verify
from edge.access.audit import KEPT_ROWS, Audit
from edge.access.gate import Person
from edge.access.secret import CROCKFORD, normalized
from edge.journal import Store
from tests.unit.api_support import PIN, Bench, HandClock, gateway, run

BOSS = Person("admin", Role.ADMIN)


def test_a_code_is_ten_crockford_characters_and_is_read_as_people_write_it() -> None:
    async def test(bench: Bench) -> None:
        code = bench.services.access.claim_code
        assert len(code) == 10
        assert set(code) <= set(CROCKFORD)
        typed = f" {code[:5].lower()}-{code[5:].replace('0', 'o').replace('1', 'l')} "
        assert await bench.services.access.claim(typed, "Yuki", PIN, "10.0.0.1")
        assert bench.services.access.claim_code == ""

    assert normalized("oIl-2 3") == "01123"
    run(test, claimed=False)


def test_only_one_of_two_who_claim_at_once_wins() -> None:
    async def test(bench: Bench) -> None:
        access = bench.services.access
        code = access.claim_code
        both = (access.claim(code, name, PIN, "10.0.0.1") for name in ("a", "b"))
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["AccessDenied", "str"]
        assert len(access.people()) == 1

    run(test, claimed=False)


def test_ten_thousand_guesses_get_nowhere() -> None:
    async def test(bench: Bench) -> None:
        access, causes = bench.services.access, []
        for number in range(10_000):
            with pytest.raises(AccessDenied) as denied:
                await access.claim(f"{number:010d}", "eve", PIN, f"10.0.{number % 4}.1")
            causes.append(denied.value.cause)
            bench.clock.advance(0.1)
        # 1,000 s of guessing as fast as it goes: the doubling wait lets through a handful
        assert causes.count("wrong_code") <= 20
        assert not access.claimed

    run(test, claimed=False)


def test_a_wrong_pin_is_throttled_per_account_and_address_and_an_unknown_name_is_no_other_answer() -> None:
    async def test(bench: Bench) -> None:
        access = bench.services.access
        answers = []
        for name, address in [("admin", "10.0.0.2")] * 5 + [("nobody", "10.0.0.9")] * 5:
            with pytest.raises(AccessDenied) as denied:
                await access.sign_in(name, "wrong pin", address)
            answers.append((denied.value.cause, denied.value.detail))
        assert len(set(answers)) == 1
        with pytest.raises(AccessDenied, match="throttled"):  # the account, from elsewhere, with the right PIN
            await access.sign_in("admin", PIN, "10.0.0.3")
        bench.clock.advance(2)
        assert await access.sign_in("admin", PIN, "10.0.0.3")

    run(test)


def test_sessions_end_idle_after_15_minutes_and_always_after_8_hours() -> None:
    async def test(bench: Bench) -> None:
        access, clock = bench.services.access, bench.clock
        idle, busy = await access.sign_in("admin", PIN, "a"), await access.sign_in("admin", PIN, "a")
        for _ in range(48):
            assert access.who(busy) == BOSS
            clock.advance(600)
        assert access.who(idle) is None
        clock.advance(1)
        assert access.who(busy) is None

    run(test)


def test_people_sessions_and_tokens_outlive_a_restart_and_the_journal_has_no_secret(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "journal.db"
        async with gateway(store=Store(path)) as bench:
            tokens = dict(bench.tokens)
            await bench.services.runtime.journal.close()
        raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert PIN.encode() not in raw
        assert not [role for role, token in tokens.items() if token.encode() in raw]
        async with gateway(store=Store(path), claimed=False) as again:
            found = {role: again.services.access.who(token) for role, token in tokens.items()}
            assert {role: person.role for role, person in found.items() if person} == {r: Role(r) for r in tokens}
            await again.services.runtime.journal.close()

    asyncio.run(test())


def test_the_last_admin_stays_and_a_changed_person_is_signed_out() -> None:
    async def test(bench: Bench) -> None:
        access = bench.services.access
        await access.set_person(BOSS, "Aiko", Role.STAFF, PIN)
        token = await access.sign_in("Aiko", PIN, "a")
        await access.set_person(BOSS, "Aiko", Role.VIEWER, PIN)
        assert access.who(token) is None
        for change in (access.remove_person(BOSS, "admin"), access.set_person(BOSS, "admin", Role.STAFF, PIN)):
            with pytest.raises(AccessDenied, match="last_admin"):
                await change
        with pytest.raises(AccessDenied, match="weak_pin"):
            await access.set_person(BOSS, "Bad", Role.STAFF, "111111")

    run(test)


def test_a_reset_at_the_device_forgets_everybody_but_not_the_audit() -> None:
    async def test(bench: Bench) -> None:
        access = bench.services.access
        await access.reset("button")
        assert not access.claimed
        assert access.people() == []
        assert all(access.who(token) is None for token in bench.tokens.values())
        assert access.audit.rows()[0]["action"] == "reset"
        assert access.audit.verify()[1] == ""

    run(test)


class Memory(dict):
    """Keyed values without a journal."""

    def put(self, key: str, value: object) -> asyncio.Future[int]:
        self[key] = json.loads(json.dumps(value))
        if value is None:
            del self[key]
        future = asyncio.get_running_loop().create_future()
        future.set_result(0)
        return future

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in dict.keys(self) if key.startswith(prefix))


async def _nothing(*facts: object) -> None:
    return None


def _audit(rows: int) -> Memory:
    memory = Memory()

    async def fill() -> None:
        audit = Audit(memory, HandClock(), _nothing)
        for number in range(rows):
            await audit.add("me", "change", f"thing {number}")

    asyncio.run(fill())
    return memory


def test_every_tampering_with_the_audit_is_found() -> None:
    whole = _audit(6)
    assert verify(whole) == (6, "")
    for name in whole.keys("audit/"):
        for change in ({"actor": "eve"}, {"at_us": 1}, {"hash": "0" * 64}):
            broken = {**whole, name: whole[name] | change}
            assert verify(broken)[1], (name, change)
        assert verify({key: value for key, value in whole.items() if key != name})[1], name
    swapped = {**whole, "audit/000000002": whole["audit/000000003"], "audit/000000003": whole["audit/000000002"]}
    assert verify(swapped)[1]


def test_old_audit_rows_leave_and_the_chain_goes_on_from_the_anchor() -> None:
    memory = _audit(KEPT_ROWS + 3)
    assert verify(memory) == (KEPT_ROWS, "")
    assert memory["audit-anchor"]["row"] == 3
    assert verify({**memory, "audit-anchor": {"row": 3, "hash": "0" * 64}})[1]


def test_the_local_ca_signs_a_leaf_that_is_renewed_at_two_thirds(tmp_path: Path) -> None:
    from cryptography import x509

    day_us = 86_400_000_000
    start_us = 1_790_000_000_000_000
    authority = LocalAuthority(tmp_path / "tls")
    names = ("localhost", "192.168.1.5")
    fingerprint = authority.ensure(names, start_us)
    first = authority.leaf.read_bytes()
    leaf, ca = x509.load_pem_x509_certificates(first)
    leaf.verify_directly_issued_by(ca)
    assert len(fingerprint) == 64
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert authority.ensure(names, start_us + 59 * day_us) == fingerprint
    assert authority.leaf.read_bytes() == first
    assert authority.ensure(names, start_us + 61 * day_us) == fingerprint
    assert authority.leaf.read_bytes() != first
    before = authority.leaf.read_bytes()
    authority.ensure((*names, "gw.local"), start_us + 61 * day_us)
    assert authority.leaf.read_bytes() != before


def test_access_is_usable_without_anything_else() -> None:
    """Its ports are the journal's keyed values, a clock and a way to tell facts."""

    async def test() -> None:
        access = Access(Memory(), HandClock(), _nothing)
        token = await access.claim(access.claim_code, "Yuki", PIN, "x")
        person = access.who(token)
        assert person is not None
        assert person.role.may(Role.TECHNICIAN)
        await access.sign_out(token)
        assert access.who(token) is None
        access.close()

    asyncio.run(test())

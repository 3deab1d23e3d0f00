"""What could be linked to a customer is forgotten after the days of ``[retention]``, and the notice tells these days."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from devices.beacon_ble.hearing import FORGET_US
from edge.api.desk import Desk
from edge.core.errors import SettingsError
from edge.core.instant import US_PER_DAY, US_PER_MIN
from edge.core.presence.ledger import Entry, Ledger, TagState
from edge.core.presence.places import Places
from edge.core.proximity.heat import K_ANONYMITY
from edge.core.retention import Retention
from edge.main import Gateway
from edge.offers.consent import PURPOSES
from edge.plan import read_plan
from tests.unit.api_support import SITE, Bench, run
from tests.unit.presence_support import store

DAY_S = 86_400
NOTICE = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")
ENGLISH, _, JAPANESE = NOTICE.partition("# プライバシー")


def test_the_notice_tells_the_days_and_bounds_that_the_gateway_keeps_to() -> None:
    kept = Retention()
    english = [
        rf"\b{kept.sold_tag_days:g} days after its sale",
        rf"\b{kept.departed_tag_days:g} day after it left",
        rf"an offer {kept.offer_days:g} days after",
        rf"or after {kept.consent_days:g} days",
        rf"at most {FORGET_US // US_PER_MIN} minutes, in memory",
        rf"at least {K_ANONYMITY} people",
    ]
    japanese = [
        rf"販売後{kept.sold_tag_days:g}日",
        rf"商品は{kept.departed_tag_days:g}日",
        rf"期限後{kept.offer_days:g}日",
        rf"同意は{kept.consent_days:g}日で終了",
        rf"最長{FORGET_US // US_PER_MIN}分",
        rf"{K_ANONYMITY}人以上",
    ]
    for text, figures in ((ENGLISH, english), (JAPANESE, japanese)):
        flat = text.replace("\n", " ")
        assert [figure for figure in figures if not re.search(figure, flat)] == []
        assert [purpose for purpose in PURPOSES if f"`{purpose}`" not in text] == []
    for law in ("GDPR", "APPI", "電気通信事業法第27条の12"):
        assert law in ENGLISH
    assert "外部送信" in JAPANESE


def test_tags_that_were_sold_or_left_are_forgotten_after_their_days() -> None:
    site = store()
    ledger = Ledger(site, Places(site), lambda row: bytes([row]))
    for row, state in enumerate((TagState.SOLD, TagState.DEPARTED, TagState.PRESENT)):
        ledger.entries[row] = Entry(f"urn:{row}", "gtin", state=state, since_us=0)
    kept = Retention(sold_tag_days=3, departed_tag_days=0.5)
    assert ledger.forgettable(US_PER_DAY // 2, kept) == []
    assert ledger.forgettable(US_PER_DAY // 2 + 1, kept) == [1]
    assert ledger.forgettable(3 * US_PER_DAY + 1, kept) == [0, 1]


def test_a_consent_ends_after_its_days() -> None:
    async def main(bench: Bench) -> None:
        bench.services.retention = Retention(consent_days=7)
        desk = Desk(bench.services)
        now = bench.clock.now()
        await desk.offers.give_consent(["offers"], "1", [], now)
        assert len(desk.offers.consents) == 1
        bench.clock.advance(6 * DAY_S)
        await desk.offers.keep_promises(bench.clock.now())
        assert len(desk.offers.consents) == 1
        bench.clock.advance(2 * DAY_S)
        await desk.offers.keep_promises(bench.clock.now())
        assert len(desk.offers.consents) == 0

    run(main)


def test_the_days_come_from_the_settings_file_and_are_checked(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text(json.dumps(SITE), encoding="utf-8")
    head = '[gateway]\nplanogram = "site.json"\n[api]\nport = 0\n[retention]\n'
    (tmp_path / "gateway.toml").write_text(f"{head}sold_tag_days = 30\n", encoding="utf-8")

    async def main() -> None:
        gateway = Gateway(read_plan(tmp_path / "gateway.toml"), lambda _: None)
        assert gateway.engine.parts.presence.retention.sold_tag_days == 30
        gateway.listener.close()

    asyncio.run(main())
    (tmp_path / "gateway.toml").write_text(f"{head}consent_days = 0\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"retention.consent_days = 0.*days from 1 to 1100"):
        read_plan(tmp_path / "gateway.toml")

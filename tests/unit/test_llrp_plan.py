"""The plan of reading: what the settings ask for stands in the bytes, what the reader lacks is named."""

from __future__ import annotations

import pytest

from devices.rfid_llrp.capabilities import Capabilities
from devices.rfid_llrp.parameters import Parameter, decode, encode
from devices.rfid_llrp.plan import OUR_ROSPEC, PlanFault, reader_configuration, rospec, starts_by_itself
from devices.rfid_llrp.settings import Duty, GpiTrigger, Settings
from edge.core.plain import PlainError, build

READER = Capabilities(max_antennas=4, inputs=2, power_levels={1: 10.0, 2: 20.0, 3: 30.0}, modes=(0, 1002), hop_table=1)


def planned(settings: Settings, capabilities: Capabilities = READER, duty: Duty | None = None) -> Parameter:
    """The ROSpec after a trip over the wire."""
    tree = decode(encode("ADD_ROSPEC", 1, {}, rospec(settings, capabilities, duty or Duty())))
    assert isinstance(tree, Parameter)
    return tree.children[0]


def test_power_is_never_more_than_asked_and_differs_by_antenna():
    settings = Settings("x", antennas=(1, 3), tx_power_dbm=29.9, tx_power_by_antenna_dbm={"3": 30.0})
    spec = planned(settings)
    assert spec.fields["ROSpecID"] == OUR_ROSPEC
    assert spec.child("AISpec").fields["AntennaIDs"] == (1, 3)
    inventory = spec.find("InventoryParameterSpec")
    by_port = {row.number("AntennaID"): row.child("RFTransmitter") for row in inventory.children}
    assert {port: row.number("TransmitPower") for port, row in by_port.items()} == {1: 2, 3: 3}
    assert {row.number("HopTableID") for row in by_port.values()} == {1}


def test_what_is_not_asked_for_is_left_to_the_reader():
    spec = planned(Settings("x"))
    assert spec.child("AISpec").fields["AntennaIDs"] == (0,)
    assert spec.find("RFTransmitter") is None
    assert spec.find("C1G2RFControl") is None
    assert spec.find("ImpinjTagReportContentSelector") is None


def test_impinj_extensions_only_where_they_are_understood():
    impinj = Capabilities(manufacturer=25882, max_antennas=4)
    settings = Settings("x", phase=True, search_mode=2)
    spec = planned(settings, impinj)
    assert spec.find("ImpinjEnablePeakRSSI").number("PeakRSSIMode") == 1
    assert spec.find("ImpinjEnableRFPhaseAngle").number("RFPhaseAngleMode") == 1
    assert spec.find("ImpinjInventorySearchMode").number("InventorySearchMode") == 2
    assert planned(settings).find("ImpinjInventorySearchMode") is None
    names = [row.name for row in reader_configuration(settings, impinj)]
    assert names[-1] == "ImpinjLinkMonitorConfiguration"
    assert "ImpinjLinkMonitorConfiguration" not in [row.name for row in reader_configuration(settings, READER)]


@pytest.mark.parametrize(
    ("settings", "duty", "start", "stop_ms", "by_itself"),
    [
        (Settings("x"), Duty(), {"ROSpecStartTriggerType": 0}, 0, False),
        (Settings("x"), Duty(10, 50), {"ROSpecStartTriggerType": 2, "Period": 60_000}, 10_000, True),
        (
            Settings("x", trigger=GpiTrigger(2, high=False, seconds=5)),
            Duty(),
            {"ROSpecStartTriggerType": 3, "GPIPortNum": 2, "GPIEvent": 0},
            5_000,
            True,
        ),
    ],
)
def test_triggers(settings, duty, start, stop_ms, by_itself):
    boundary = planned(settings, duty=duty).child("ROBoundarySpec")
    trigger = boundary.child("ROSpecStartTrigger")
    fields = {**trigger.fields, **(trigger.children[0].fields if trigger.children else {})}
    assert start.items() <= fields.items()
    stop = boundary.child("ROSpecStopTrigger")
    assert stop.number("DurationTriggerValue") == stop_ms
    assert stop.number("ROSpecStopTriggerType") == int(stop_ms > 0)
    assert starts_by_itself(settings, duty) is by_itself


def test_input_of_a_trigger_is_enabled():
    rows = reader_configuration(Settings("x", trigger=GpiTrigger(1)), READER)
    [state] = [row for row in rows if row.name == "GPIPortCurrentState"]
    assert state.fields == {"GPIPortNum": 1, "Config": 1, "State": 2}


@pytest.mark.parametrize(
    ("settings", "capabilities", "words"),
    [
        (Settings("x", antennas=(5,)), READER, "antennas = 5: expected a port from 1 to 4"),
        (Settings("x", antennas=(0,)), READER, "antennas = 0"),
        (Settings("x", tx_power_dbm=9.0), READER, "tx_power_dbm = 9.0: expected 10 to 30 dBm"),
        (Settings("x", tx_power_dbm=20.0), Capabilities(), "no value: the reader has none"),
        (Settings("x", tx_power_by_antenna_dbm={"9": 20.0}), READER, "antennas = 9"),
        (Settings("x", mode=7), READER, "mode = 7: expected one of 0, 1002"),
        (Settings("x", trigger=GpiTrigger(3)), READER, "trigger.port = 3: expected an input from 1 to 2"),
    ],
)
def test_what_the_reader_does_not_offer_is_named(settings, capabilities, words):
    with pytest.raises(PlanFault) as caught:
        rospec(settings, capabilities, Duty())
    assert words in str(caught.value)


def test_settings_as_a_technician_writes_them():
    written = {
        "moniker": "tcp:10.0.0.5:5084",
        "antennas": [1, 2],
        "tx_power_by_antenna_dbm": {"1": 27.5},
        "closed_hours": {"on_s": 10, "off_s": 590},
        "trigger": {"port": 1},
    }
    settings = build(Settings, written)
    assert settings.closed_hours == Duty(10, 590)
    assert settings.trigger == GpiTrigger(1)
    with pytest.raises(PlainError, match="tx_power = 30: expected one of the keys antennas"):
        build(Settings, {"moniker": "x", "tx_power": 30})


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"session": 4}, "session = 4: expected a Gen2 session from 0 to 3"),
        ({"tags_a_report": 0}, "tags_a_report = 0: expected tags from 1 to 10000"),
        ({"batch_ms": 0}, "batch_ms = 0: expected ms from 1 to 250"),
        ({"antennas": [1, 0]}, "antennas[1] = 0: expected an antenna port from 1 to 255"),
        (
            {"tx_power_by_antenna_dbm": {"one": 20.0}},
            "tx_power_by_antenna_dbm = 'one': expected an antenna port from 1",
        ),
        ({"tx_power_by_antenna_dbm": {"1": 99.0}}, "tx_power_by_antenna_dbm.1 = 99.0: expected dBm from -20 to 40"),
        ({"trigger": {"port": 1, "seconds": 0}}, "trigger.seconds = 0: expected seconds from 1 to 86400"),
        ({"open_hours": {"off_s": -5}}, "open_hours.off_s = -5: expected seconds from 0"),
        ({"identity": "my reader"}, "identity = 'my reader': expected hex digits"),
        ({"moniker": "tcp:10.0.0.5"}, "moniker = 'tcp:10.0.0.5': expected tcp:HOST:PORT with a port from 1 to 65535"),
    ],
)
def test_what_no_reader_could_do_is_refused_before_any_is_asked(written, words):
    with pytest.raises(PlainError) as caught:
        build(Settings, {"moniker": "tcp:10.0.0.5:5084"} | written)
    assert words in str(caught.value)

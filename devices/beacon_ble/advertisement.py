"""org.bluez.LEAdvertisement1: one advertisement as BlueZ reads it from us (doc/org.bluez.LEAdvertisement.rst)."""

# No postponed annotations: dbus-fast reads them when the class is made.
from typing import Annotated

from dbus_fast import PropertyAccess, Variant
from dbus_fast.annotations import DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

Services = Annotated[list[str], DBusSignature("as")]
ServiceData = Annotated[dict[str, Variant], DBusSignature("a{sv}")]
ManufacturerData = Annotated[dict[int, Variant], DBusSignature("a{qv}")]


class Advertisement(ServiceInterface):
    """A broadcast (nobody may connect) of manufacturer data, or of service data with its UUID."""

    def __init__(
        self,
        services: list[str] | None = None,
        service_data: dict[str, Variant] | None = None,
        manufacturer: dict[int, Variant] | None = None,
    ) -> None:
        super().__init__("org.bluez.LEAdvertisement1")
        self._services, self._service_data = services or [], service_data or {}
        self._manufacturer = manufacturer or {}

    @dbus_method()
    def Release(self) -> None:  # noqa: N802 (BlueZ's name)
        """BlueZ has taken it off the air; the driver's next look finds that."""

    @dbus_property(access=PropertyAccess.READ)
    def Type(self) -> DBusStr:  # noqa: N802
        """Broadcast: not connectable."""
        return "broadcast"

    @dbus_property(access=PropertyAccess.READ)
    def ServiceUUIDs(self) -> Services:  # noqa: N802
        """UUIDs in full length."""
        return self._services

    @dbus_property(access=PropertyAccess.READ)
    def ServiceData(self) -> ServiceData:  # noqa: N802
        """UUID → bytes."""
        return self._service_data

    @dbus_property(access=PropertyAccess.READ)
    def ManufacturerData(self) -> ManufacturerData:  # noqa: N802
        """Company → bytes."""
        return self._manufacturer

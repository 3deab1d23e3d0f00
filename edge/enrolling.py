"""The composition root's share of enrolment: signatures, HTTPS to the platform, and what it means for the uplink."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from cloud_bridge.causes import reason_of
from cloud_bridge.contract.signed import is_genuine
from cloud_bridge.keys import KeyRing
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.proxy import Proxy, open_tunnel
from cloud_bridge.settings import UplinkSettings
from edge.access import AccessDenied
from edge.access.enrolment import Enrolment
from edge.core.errors import UplinkError
from edge.core.fact import JsonValue

BUNDLE_TOPIC = "smartstore/enrolment/v1"
TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 64 * 1024
REACH_IT = "Check network and address, then try again; the bundle stays good until it expires."


class HttpsDoor:
    """`PlatformDoor` over HTTPS (TLS 1.3, the bundle's CA and no other), by the uplink's proxy where it has one."""

    def __init__(self, settings: Callable[[], UplinkSettings] | None = None) -> None:
        """settings: of the uplink, as they are when the platform is called."""
        self._settings = settings

    def genuine(self, document: Mapping[str, JsonValue], keys: Mapping[str, str]) -> bool:
        """Whether the key that the bundle names signed it."""
        ring = KeyRing({name: base64.b64decode(text) for name, text in keys.items()})
        return is_genuine(BUNDLE_TOPIC, document, ring)

    async def call(self, url: str, body: Mapping[str, str], ca: str) -> dict[str, Any]:
        """POST and read the answer, in a thread. Raises AccessDenied."""
        try:
            proxy = PahoLinks(self._settings()).proxy() if self._settings is not None else None
            status, content = await asyncio.to_thread(_post, url, json.dumps(body).encode(), ca, proxy)
            answer = json.loads(content)
        except ssl.SSLCertVerificationError as error:
            detail = f"{url}: its certificate is not good: {error.verify_message}"
            hint = "Is the clock of this gateway right? Else the bundle is of another platform."
            raise AccessDenied("platform_certificate", detail, hint) from None
        except UplinkError as error:
            raise AccessDenied("platform_unreachable", str(error), "Put the file there, or change the key.") from None
        except (OSError, ValueError) as error:
            raise AccessDenied("platform_unreachable", f"{url}: {reason_of(error)}", REACH_IT) from None
        if status >= 300 or not isinstance(answer, dict):
            told = answer.get("detail") if isinstance(answer, dict) else answer
            raise AccessDenied("platform_refused", f"{url}: {str(told)[:300]}", "Ask the platform for a new bundle.")
        return answer


def _post(url: str, body: bytes, ca: str, proxy: Proxy | None) -> tuple[int, bytes]:
    """Status and content. Raises OSError (also for an answer that is no HTTP), ValueError."""
    import http.client  # noqa: PLC0415 (a megabyte that is needed once in 60 days)

    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca)
    host, port = parts.hostname or "", parts.port or 443
    link = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        if proxy is not None:
            tunnel = open_tunnel(proxy, host, port, TIMEOUT_S)
            link.sock = context.wrap_socket(tunnel, server_hostname=host)
        link.request("POST", parts.path, body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None
    finally:
        link.close()


def enrolled_settings(settings: UplinkSettings, enrolment: Enrolment) -> UplinkSettings:
    """The uplink's settings with what enrolment brought, which goes before the settings file."""
    row = enrolment.row
    if row is None:
        return settings
    return replace(
        settings,
        hosts=tuple(row["hosts"]),
        client_id=settings.client_id or f"{row['tenant']}-{row['store']}",
        ca_file=str(enrolment.file("ca")),
        cert_file=str(enrolment.file("certificate")),
        key_file=str(enrolment.file("key")),
        platform_keys={**row["keys"], **settings.platform_keys},
    )

"""Why a broker cannot be reached, as each real failure of a socket, a name or a handshake is told."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from cloud_bridge.causes import reason_of
from cloud_bridge.proxy import Proxy, open_tunnel


def failure(attempt: Callable[[], object]) -> Exception:
    with pytest.raises((OSError, ssl.SSLError)) as caught:
        attempt()
    return caught.value


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_refused_connection_an_unknown_name_and_a_silence() -> None:
    refused = failure(lambda: socket.create_connection(("127.0.0.1", closed_port()), 1))
    assert reason_of(refused) == "connection refused: nothing listens there"
    unknown = failure(lambda: socket.create_connection(("no-such-host.invalid", 1883), 1))
    assert reason_of(unknown).startswith("name not known")
    with socket.create_server(("127.0.0.1", 0)) as server:
        quiet = socket.create_connection(server.getsockname(), 0.05)
        silence = failure(lambda: quiet.recv(1))
        quiet.close()
    assert reason_of(silence).startswith("no answer")


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.EPERM, "IPAddressAllow"), (errno.ENETUNREACH, "no network"), (errno.ECONNRESET, "reset"),
     (errno.EHOSTUNREACH, "no machine"), (errno.ENOSPC, "No space")],
)  # fmt: skip
def test_what_the_kernel_says(number: int, says: str) -> None:
    assert says in reason_of(OSError(number, "No space left on device"))


def test_what_has_no_words_is_named_by_its_kind() -> None:
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(ValueError("no MQTT")) == "no MQTT"


def test_tls_with_something_that_does_not_speak_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            other, _ = server.accept()
            with other:
                other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                other.recv(4096)

        thread = threading.Thread(target=talk)
        thread.start()
        raw = socket.create_connection(server.getsockname(), 5)
        with raw:
            error = failure(lambda: ssl.create_default_context().wrap_socket(raw, server_hostname="localhost"))
        thread.join()
    assert reason_of(error).startswith("TLS: what listens there does not speak TLS")


@pytest.mark.parametrize(
    ("name", "says"),
    [("TLSV13_ALERT_CERTIFICATE_REQUIRED", "refuses this gateway's certificate"),
     ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "has ended there"),
     ("TLSV1_ALERT_PROTOCOL_VERSION", "does not speak TLS 1.3"), ("NO_SHARED_CIPHER", "NO_SHARED_CIPHER")],
)  # fmt: skip
def test_alerts_of_the_other_side(name: str, says: str) -> None:
    error = ssl.SSLError(1, name)
    error.reason = name
    assert says in reason_of(error)


def test_a_proxy_that_is_away_is_named_not_the_broker_behind_it() -> None:
    port = closed_port()
    error = failure(lambda: open_tunnel(Proxy("127.0.0.1", port), "broker.example", 8883, 1))
    assert reason_of(error) == f"proxy 127.0.0.1:{port}: connection refused: nothing listens there"

"""Access lists for brokers, made of the contract's own lists of what a store writes and reads.

mosquitto needs one file for all stores: its patterns put the user's name (the certificate's common name,
``tenant/store``) into the topic. NATS needs one entry a certificate: it knows no revocation lists, so a certificate is
revoked by leaving it out (`Enrolments` writes the file, ``nats-server --signal reload`` ends its connections). MQTT's
``/`` is NATS's ``.``, ``+`` is ``*``.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud_bridge.contract.topics import ROOT, STORE_READS, STORE_WRITES, Topics

PLATFORM_USER = "smartstore-platform"
INGEST_USER = "smartstore-ingest"


def mosquitto_acl() -> str:
    """The ``acl_file``: one pattern line a topic."""
    lines = [
        "# Made by cloud_bridge.ingest.access; the user is the certificate's common name, tenant/store.",
        *(f"pattern write {ROOT}/%u/{suffix}" for suffix in STORE_WRITES),
        *(f"pattern read {ROOT}/%u/{suffix}" for suffix in STORE_READS),
        "",
        "# The platform reads what stores write and writes what they read.",
        f"user {PLATFORM_USER}",
        *(f"topic read {ROOT}/+/+/{suffix}" for suffix in STORE_WRITES),
        *(f"topic write {ROOT}/+/+/{suffix}" for suffix in STORE_READS),
    ]
    return "\n".join(lines) + "\n"


def _subject(topic: str) -> str:
    """An MQTT topic as NATS subject (NATS documentation, "MQTT topics and NATS subjects")."""
    return topic.replace("/", ".").replace("+", "*")


def nats_store(tenant: str, store: str, user: str) -> str:
    """The permissions of one certificate of a store, as an entry of ``users``: see `authority.certificate_user`."""
    topics = Topics(tenant, store)
    writes = [_subject(topics.of(suffix)) for suffix in STORE_WRITES]
    reads = [_subject(topics.of(suffix)) for suffix in STORE_READS]
    return _nats_user(user, writes, reads)


def nats_platform() -> str:
    """The permissions of the platform's MQTT client."""
    writes = [_subject(f"{ROOT}/+/+/{suffix}") for suffix in STORE_READS]
    reads = [_subject(f"{ROOT}/+/+/{suffix}") for suffix in STORE_WRITES]
    return _nats_user(f"CN={PLATFORM_USER}", [*writes, "smartstore.platform.>"], reads)


def nats_ingest() -> str:
    """The permissions of ingest workers: NATS clients that pull from JetStream and speak as the platform."""
    writes = [_subject(f"{ROOT}/+/+/{suffix}") for suffix in STORE_READS]
    return _nats_user(f"CN={INGEST_USER}", [*writes, "$JS.API.>", "$JS.ACK.>"], ["_INBOX.>"])


def _nats_user(user: str, writes: Iterable[str], reads: Iterable[str]) -> str:
    # A QoS 1 subscription of an MQTT client is delivered on $MQTT.sub.…, which is the server's own subject per session.
    allowed_reads = [*reads, "$MQTT.sub.>"]
    quoted = [", ".join(f'"{subject}"' for subject in subjects) for subjects in (writes, allowed_reads)]
    return (
        f'{{ user: "{user}", permissions: {{ publish: {{ allow: [{quoted[0]}] }}, '
        f"subscribe: {{ allow: [{quoted[1]}] }} }} }}"
    )


def nats_authorization(stores: Iterable[tuple[str, str, str]]) -> str:
    """The ``authorization`` block for certificates of stores (tenant, store, user), the platform and its workers."""
    users = ",\n  ".join([nats_platform(), nats_ingest(), *(nats_store(*store) for store in stores)])
    return f"authorization {{ users: [\n  {users}\n] }}\n"

"""Settings of the mirror: where it comes from, where it lies, when it is too old."""

from __future__ import annotations

from typing import Final

from appliance.config.keys import NAME, ORIGIN, PATH, ItemList, Key, Setting, TextList
from appliance.config.kinds import (
    Count,
    Duration,
    Flag,
    Number,
    OrWord,
    Size,
    SourceUrl,
    Text,
    Threshold,
    Url,
    Word,
)

AT_LEAST_A_SECOND: Final = Duration(1000)

# What divergenceDetection sets for all logs, and a backend for its own.
THRESHOLDS: Final = {
    "staleCheckpointThreshold": "alert when it has not answered for longer, or never",
    "staleTreeSizeThreshold": "alert when it has not grown for longer, or never",
    "degradedCheckpointAgeThreshold": "DEGRADED beyond this age, or never",
    "unhealthyCheckpointAgeThreshold": "UNHEALTHY beyond this age, or never",
}

BACKENDS: Final = ItemList(
    fields={
        "id": Key(NAME, None, "your name for it"),
        "origin": Key(ORIGIN, None, "the log's identity", "null"),
        "baseUrl": Key(SourceUrl(), None, "the log's API; not needed on an isolated site", "null"),
        "readUrl": Key(SourceUrl(), None, "where tiles are read, if not below baseUrl", "null"),
        "publicKeyPath": Key(PATH, None, "PEM or DER; copied into the store", "null"),
        "apiVersion": Key(
            Word((1, 2)), None, "Rekor v1 or v2; null: as origin and first answer say", "null"
        ),
        "enabled": Key(Flag(), True, "whether sync visits it"),
        "mirrorOf": Key(NAME, None, "id of the backend whose log this one copies", "null"),
        "policyFile": Key(PATH, None, "a C2SP tlog-policy to require", "null"),
        "tokenFile": Key(PATH, None, "a bearer token it asks for, to read and to write", "null"),
        **{
            name: Key(Threshold(), None, f"{what}; null: as divergenceDetection says", "null")
            for name, what in THRESHOLDS.items()
        },
    },
    comment="The logs, and where they are reached. An id that is here already is changed.",
    example=(
        "- id: primary\n"
        "  origin: log.example.org\n"
        "  baseUrl: https://log.example.org\n"
        "  publicKeyPath: /etc/attestor/log.pem\n"
        "  apiVersion: 2\n"
    ),
    identity="id",
)

SYNC_KEYS: Final[dict[str, Setting]] = {
    "rekorSync.enabled": Key(Flag(), True, "Whether `sync` does anything."),
    "rekorSync.syncInterval": Key(AT_LEAST_A_SECOND, "5m", "Pause between cycles of --watch."),
    "rekorSync.initialDelay": Key(Duration(), "30s", "Pause before the first cycle of --watch."),
    "rekorSync.enableTileSync": Key(Flag(), True, "Fetch hash tiles: proofs need them."),
    "rekorSync.enableEntrySync": Key(Flag(), False, "Fetch entries too: search needs them."),
    "rekorSync.maxTilesPerSync": Key(Count(1), 100, "Most new tiles of a log in one cycle."),
    "rekorSync.backendTimeout": Key(
        AT_LEAST_A_SECOND, "5m", "Most time for one log in one cycle; the next goes on."
    ),
    "rekorSync.discoverInterval": Key(
        AT_LEAST_A_SECOND,
        None,
        "How often `sync` updates the trusted root by TUF, and adds the logs it names.",
        "off",
        "24h",
    ),
    "rekorSync.backends": BACKENDS,
    "http.connections": Key(Count(1, 32), 16, "Most requests at a time to one server."),
    "http.maxRequestsPerSecond": Key(
        Number(0.001, 100_000), None, "Most requests in a second.", "off", "10"
    ),
    "http.contact": Key(
        Text("printable ASCII, 200 characters at most", "[!-~](?:[ -~]{0,198}[!-~])?"),
        None,
        "Whom a log's operator can reach, sent in User-Agent.",
        "null",
        "ops@example.org",
    ),
    "http.proxy": Key(
        OrWord(Url(("http",)), "direct"),
        None,
        "HTTP proxy, or direct for none; null: as HTTPS_PROXY, HTTP_PROXY or ALL_PROXY say.",
        "null",
        "http://proxy.example.org:3128",
    ),
    "http.proxyCredentialsFile": Key(
        PATH, None, "USER:PASSWORD for http.proxy, read at each run.", "null", "/etc/attestor/proxy"
    ),
    "http.noProxy": TextList(
        Text("a host, a domain, an address or a network, perhaps with a port", r"[^\s,]{1,255}"),
        "Reached without the proxy; empty: as NO_PROXY says.",
        "[log.internal.example, 10.0.0.0/8]",
    ),
    "http.caFile": Key(
        PATH,
        None,
        "PEM: the only authorities whose certificates servers may have; null: the system's.",
        "null",
        "/etc/attestor/ca.pem",
    ),
    "http.clientCertificateFile": Key(
        PATH, None, "PEM: shown to servers that ask who we are.", "null", "/etc/attestor/us.pem"
    ),
    "http.clientKeyFile": Key(
        PATH,
        None,
        "PEM, not encrypted: its key, if it is not there.",
        "null",
        "/etc/attestor/us.key",
    ),
    "checkpointStore.connectionString": Key(
        PATH, "attestor.db", "This home's own file; nothing else is accepted."
    ),
    "checkpointStore.schema": Key(
        Text("a name", ".{1,64}"), None, "Accepted and ignored: one file, one schema.", "null", "x"
    ),
    "checkpointStore.autoInitializeSchema": Key(
        Flag(), True, "Bring an older schema up to date when writing."
    ),
    "tileCache.basePath": Key(PATH, "blobs", "Where the blobs are: here, or on any local disk."),
    "tileCache.maxCacheSizeBytes": Key(Size(), 0, "Sync prunes entry bundles beyond it; 0: never."),
    "tileCache.autoPruneAfter": Key(
        AT_LEAST_A_SECOND, None, "Sync prunes entry bundles this old.", "off", "720h"
    ),
    "divergenceDetection.enabled": Key(Flag(), True, "Raise alerts for what logs do."),
    "divergenceDetection.staleCheckpointThreshold": Key(
        AT_LEAST_A_SECOND, "1h", "Alert when a log has not answered for longer."
    ),
    "divergenceDetection.staleTreeSizeThreshold": Key(
        AT_LEAST_A_SECOND, "2h", "Alert when a log has not grown for longer."
    ),
    "divergenceDetection.degradedCheckpointAgeThreshold": Key(
        AT_LEAST_A_SECOND, "30m", "Health is DEGRADED beyond this age."
    ),
    "divergenceDetection.unhealthyCheckpointAgeThreshold": Key(
        AT_LEAST_A_SECOND, "2h", "Health is UNHEALTHY beyond this age."
    ),
    "divergenceDetection.enableCrossLogChecks": Key(Flag(), True, "Compare mirrors with logs."),
    "divergenceDetection.mirrorOrigins": TextList(
        ORIGIN, "Origins whose checkpoints are compared with the primary's.", "[mirror.example.org]"
    ),
}

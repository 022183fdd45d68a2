"""Configurations and files that the tests of this package share."""

from __future__ import annotations

from appliance.config.changes import apply_file, parse_config
from appliance.config.configuration import Configuration, restore

HOME = "/srv/attestor"
FILE = "site.yaml"


def applied(text: str, current: Configuration | None = None) -> Configuration:
    """Apply a file to a configuration, else to the defaults of a connected site."""
    before = current or restore("connected", {})
    return apply_file(before, parse_config(text, FILE, HOME))[0]


FULL = """\
attestor:
  rekorSync:
    enabled: false
    syncInterval: 10m
    initialDelay: 0s
    enableTileSync: false
    enableEntrySync: true
    maxTilesPerSync: 7
    backendTimeout: 2m
    discoverInterval: 12h
    backends:
      - id: primary
        origin: log.example.org
        baseUrl: https://log.example.org/
        publicKeyPath: /etc/attestor/log.pem
      - id: copy
        origin: log.example.org
        readUrl: http://[::1]:3000/tiles
        publicKeyPath: keys/log.pem
        apiVersion: 1
        enabled: false
        mirrorOf: primary
        policyFile: /etc/attestor/policy
        tokenFile: /etc/attestor/copy.token
      - id: old-shard
        origin: rekor.example.org - 2605736670972794746
        publicKeyPath: k.pem
        baseUrl: https://rekor.example.org:8443/api
  http:
    connections: 4
    maxRequestsPerSecond: 2.5
    contact: Ops <ops@example.org>
    proxy: http://proxy.example.org:3128
    proxyCredentialsFile: /etc/attestor/proxy
    noProxy: [log.internal.example, 10.0.0.0/8]
    caFile: /etc/attestor/ca.pem
    clientCertificateFile: /etc/attestor/us.pem
    clientKeyFile: /etc/attestor/us.key
  checkpointStore:
    connectionString: /srv/attestor/attestor.db
    schema: public
    autoInitializeSchema: false
  tileCache:
    basePath: /srv/attestor/blobs/
    maxCacheSizeBytes: 10GB
    autoPruneAfter: 720h
  divergenceDetection:
    enabled: false
    staleCheckpointThreshold: 3h
    staleTreeSizeThreshold: 4h
    degradedCheckpointAgeThreshold: "01:30:00"
    unhealthyCheckpointAgeThreshold: 1.02:03:04
    enableCrossLogChecks: false
    mirrorOrigins: [log.example.org, "with space"]
  alerts:
    enabled: false
    defaultTenant: acme
    alertOnHighSeverity: false
    alertOnWarning: false
    alertOnInfo: true
    stream: acme.alerts
    sinks:
      - {type: webhook, url: "https://a.example.org/x", secretFile: /etc/secret, timeout: 250ms}
      - {type: command, argv: [/bin/alert, "--flag", ""]}
      - {type: file, path: /var/log/a b.jsonl}
      - {type: syslog, address: log.example.org:514}
      - {type: syslog, address: /dev/log}
      - {type: smtp, address: ops@example.org, url: "smtps://mail.example.org:465"}
  rekor:
    enabled: false
    serverUrl: https://log.example.org
    tier: with-edges
    budget: {hourlyLimit: 1, burstLimit: 2, burstWindow: "00:20:00", edgeBundleDailyLimit: 3}
    edgeBundles:
      enabled: false
      dailyLimit: 3
      triggers: [{cvssThreshold: 7}, {manualEscalation: false}]
    retry: {maxAttempts: 9, initialDelay: 1s, maxDelay: 1h, backoffMultiplier: 1}
    offline: {queueEnabled: false, maxQueueSize: 5, drainOnConnect: false}
    aggregate: {enabled: true, minItems: 2, log: build}
  publish: {rekorUrl: "https://LOG.example.org/", everyEvents: 1, everySeconds: 60}
  entryIndex: {enabled: true, maxSizeBytes: 1GB}
  watch:
    {defaultSeverity: info, unvouched: same, grace: 1h, maxEntriesPerAlert: 5, regexTimeout: 2s}
  privateLog:
    hosted:
      - {log: build, host: build.example.org, tokensFile: /etc/attestor/build.tokens}
      - log: release
        path: /release
        clientCertificates: ["dns:release.example.org"]
        reads: restricted
        hourlyLimit: 7
    accessLog: /var/log/attestor/access.log
    metrics: anybody
    trustedProxies: [127.0.0.1, "10.1.0.0/16"]
    clientCertificateHeader: Client-Cert
  verify:
    maxTrustRootAge: {warn: off, fail: "off"}
    maxCheckpointAge: 30d
    requireMirror: true
    requireProof: true
  transfer: {volumeSize: 3900M, overlap: 1, threshold: 2}
  witness: {logs: [log.example.org], timeout: 500ms}
  keys: {passphraseFile: /etc/attestor/passphrase}
"""

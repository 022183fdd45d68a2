from __future__ import annotations

import pytest

from appliance.config.changes import apply_file, parse_config
from appliance.config.configuration import restore
from appliance.config.rules import Places, verify_rules
from appliance.errors import ConfigError
from tests.config.configurations import FILE, FULL, HOME, applied

ONE_BACKEND = """\
attestor:
  rekorSync:
    backends:
      - {id: a, origin: o, baseUrl: https://a.example, publicKeyPath: a.pem}
"""

BAD = {
    "degraded later than unhealthy": (
        "attestor:\n  divergenceDetection:\n    degradedCheckpointAgeThreshold: 3h\n",
        "site.yaml:3: divergenceDetection.degradedCheckpointAgeThreshold is 3h, longer than"
        " divergenceDetection.unhealthyCheckpointAgeThreshold, 2h",
    ),
    "unhealthy sooner than degraded": (
        "attestor:\n  divergenceDetection:\n    unhealthyCheckpointAgeThreshold: 10m\n",
        "site.yaml:3: divergenceDetection.degradedCheckpointAgeThreshold is 30m, longer than",
    ),
    "root refused before it is warned about": (
        "attestor:\n  verify:\n    maxTrustRootAge:\n      warn: 20d\n      fail: 19d23h\n",
        "site.yaml:5: verify.maxTrustRootAge.warn is 20d, longer than verify.maxTrustRootAge.fail",
    ),
    "first delay longer than the longest": (
        "attestor:\n  rekor:\n    retry: {initialDelay: 10m}\n",
        "site.yaml:3: rekor.retry.initialDelay is 10m, longer than rekor.retry.maxDelay, 5m",
    ),
    "server that is no backend": (
        ONE_BACKEND + "  rekor:\n    serverUrl: https://b.example\n",
        "site.yaml:6: rekor.serverUrl: expected the baseUrl of a configured backend"
        " (https://a.example), got https://b.example",
    ),
    "server without any backend": (
        "attestor:\n  rekor:\n    serverUrl: https://b.example\n",
        "site.yaml:3: rekor.serverUrl: expected the baseUrl of a configured backend"
        " (none has one), got https://b.example",
    ),
    "publishing to no backend": (
        ONE_BACKEND + "  publish:\n    rekorUrl: https://a.example/other\n",
        "site.yaml:6: publish.rekorUrl: expected the baseUrl of a configured backend",
    ),
    "two primaries": (
        ONE_BACKEND + "      - {id: b, origin: o, publicKeyPath: b.pem}\n",
        "site.yaml:5: backends a and b have the same origin 'o'",
    ),
    "mirror of nobody": (
        ONE_BACKEND + "      - {id: b, origin: o, publicKeyPath: b.pem, mirrorOf: c}\n",
        "site.yaml:5: mirrorOf of backend b: expected a backend that is no mirror itself (a),",
    ),
    "mirror of itself": (
        "attestor:\n  rekorSync:\n    backends:\n"
        "      - {id: b, origin: o, publicKeyPath: b.pem, mirrorOf: b}\n",
        "site.yaml:4: mirrorOf of backend b: expected a backend that is no mirror itself (none)",
    ),
    "backend without origin": (
        "attestor:\n  rekorSync:\n    backends:\n      - {id: b, publicKeyPath: b.pem}\n",
        "site.yaml:4: backend b needs origin",
    ),
    "new backend without key": (
        "attestor:\n  rekorSync:\n    backends:\n      - {id: b, origin: o}\n",
        "site.yaml:4: backend b needs publicKeyPath",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_do_not_agree_with_themselves(case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(ConfigError) as caught:
        applied(text)
    assert caught.value.message.startswith(message)


def test_what_the_file_does_not_name_is_the_stores_fault() -> None:
    site = restore("connected", {"rekor.serverUrl": "https://gone.example"})
    with pytest.raises(ConfigError, match=r"^the store: rekor\.serverUrl: expected"):
        verify_rules(site, Places())
    with pytest.raises(ConfigError, match=r"^site\.yaml: rekor\.serverUrl: expected"):
        applied("attestor:\n  http: {connections: 1}\n", site)


def test_thresholds_may_be_equal_or_off() -> None:
    applied("attestor: {verify: {maxTrustRootAge: {warn: 14d, fail: 336h}}}")
    applied("attestor: {verify: {maxTrustRootAge: {warn: off, fail: 1h}}}")


def test_a_server_is_compared_in_its_one_form() -> None:
    applied(ONE_BACKEND + "  rekor:\n    serverUrl: https://A.example/\n")


def test_mirror_origins_without_a_key_are_warned_about() -> None:
    file = parse_config("attestor: {divergenceDetection: {mirrorOrigins: [m]}}", FILE, HOME)
    _, warnings = apply_file(restore("connected", {}), file)
    assert warnings == (
        "site.yaml:1: divergenceDetection.mirrorOrigins names 'm', which no backend has:"
        " without its key it is not compared with anything",
    )


def test_a_backend_nobody_can_reach_is_warned_about_where_there_is_a_network() -> None:
    text = "attestor:\n  rekorSync:\n    backends: [{id: b, origin: o, publicKeyPath: k}]\n"
    file = parse_config(text, FILE, HOME)
    _, warnings = apply_file(restore("connected", {}), file)
    assert warnings == (
        "site.yaml:3: backend b has neither baseUrl nor readUrl, so sync cannot reach it",
    )
    assert apply_file(restore("isolated", {}), file)[1] == ()


def test_a_full_file_warns_of_the_alias_the_schema_and_an_unknown_mirror() -> None:
    _, warnings = apply_file(restore("connected", {}), parse_config(FULL, FILE, HOME))
    assert [warning.partition(" ")[0] for warning in warnings] == [
        "site.yaml:41:",
        "site.yaml:76:",
        "site.yaml:54:",
    ]


HOSTED = """\
attestor:
  privateLog:
    hosted:
      - {log: build, path: /build}
      - {log: release, %s}
"""


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ("path: /build", "same-place", "build and release are asked for at the same place"),
        ("reads: restricted", "bad-hosted", "restricted to nobody"),
        ("path: /api", "bad-hosted", "where a log at the root"),
        ("path: /metrics/x", "bad-hosted", "where a log at the root"),
        ("path: build", "bad-value", "expected a path such as /build"),
        ("path: /build/", "bad-value", "expected a path such as /build"),
        ("host: LOG.example", "bad-value", "a host name in lower case"),
        ("host: 'log.example:80'", "bad-value", "a host name in lower case"),
        ("hourlyLimit: 0", "bad-value", "a whole number from 1"),
        ("clientCertificates: [ci.example]", "bad-value", "expected sha256:"),
        ("clientCertificates: ['dns:ci.example']", "no-certificate-header", "no proxy says them"),
    ],
)
def test_a_hosted_log_that_cannot_be_is_refused(fields: str, reason: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        applied(HOSTED % fields)
    assert refused.value.reason == reason
    assert said in refused.value.message
    assert refused.value.message.startswith(f"{FILE}:5: ")


def test_a_header_that_anybody_could_send_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        applied("attestor:\n  privateLog:\n    clientCertificateHeader: Client-Cert\n")
    assert refused.value.reason == "untrusted-header"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "localhost", "1.2.3", "::1/129"])
def test_a_proxy_is_an_address_or_a_network(network: str) -> None:
    with pytest.raises(ConfigError) as refused:
        applied(f"attestor:\n  privateLog:\n    trustedProxies: ['{network}']\n")
    assert refused.value.reason == "bad-value"

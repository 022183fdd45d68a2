"""The files that tell clients about a log, read back by our own parsers."""

from __future__ import annotations

import json

from appliance.rekor.client_files import signing_config, trusted_root
from appliance.sigstore.trusted_root import parse_trusted_root
from tests.pki.bundles import Instance, managed, verify
from tests.pki.logs import V2Log

START = "2026-01-01T00:00:00Z"


def test_a_logs_own_root_verifies_managed_keys() -> None:
    log = V2Log()
    raw = trusted_root(log.key.verifier, START)
    root = parse_trusted_root(raw)
    assert [one.log_id for one in root.logs] == [log.log_id]
    assert root.logs[0].origins == (log.origin,)
    instance = Instance(v2_log=log)
    signed = instance.sign_artifact(managed=True)
    verify(instance.v2_bundle(signed), json.loads(raw), managed(signed))


def test_a_signing_config_names_one_log_and_nothing_else() -> None:
    config = json.loads(signing_config("https://log.example", START, "operator.example"))
    (service,) = config["rekorTlogUrls"]
    assert (service["url"], service["majorApiVersion"]) == ("https://log.example", 2)
    assert service["validFor"] == {"start": START}
    assert not config["caUrls"] + config["oidcUrls"] + config["tsaUrls"]

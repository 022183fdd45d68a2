"""The defaults that commands read are those of the schema."""

from __future__ import annotations

from appliance.config.operation_keys import OPERATION_KEYS
from appliance.config.sync_keys import SYNC_KEYS
from appliance.runs.settings import DEFAULTS, Settings


def test_the_defaults_are_the_schemas() -> None:
    schema = SYNC_KEYS | OPERATION_KEYS
    assert {key: schema[key].default for key in DEFAULTS} == dict(DEFAULTS)


def test_stored_settings_win() -> None:
    settings = Settings({"rekorSync.syncInterval": "1h", "transfer.threshold": 2})
    assert (settings.sync_interval, settings.threshold, settings.overlap) == (3600.0, 2, 3)
    assert settings.fail_trust_root_age is None
    assert settings.warn_trust_root_age == 14 * 86400

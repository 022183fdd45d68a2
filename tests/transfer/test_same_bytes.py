"""The members of an export, and their order, stay what they were: so does every byte of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.jobs.transfer.export import Selection, export
from appliance.tlog.note import sign_note
from bundles.reader import peek
from tests.mirror.mirrors import NOW, sync_from
from tests.rig.uniform_log import UniformLog
from tests.transfer.test_memory import mirror_of
from tests.transfer.test_transfer import SITE_KEY

SELECTIONS = {
    "all": (
        Selection(),
        [
            "7abcc04c46e54800b5729e996a3f66c1878a6083c554157e3d4687ddf919aa06",
        ],
    ),
    "a delta": (
        Selection(since_size=300),
        [
            "25e55130cf6571ad76e40af9de3e0fe5f19fc92bd8eae1de3faa2daea324d727",
        ],
    ),
    "what proves the head": (
        Selection(since_size=70_000, tiles=False),
        [
            "7feff58601b0045c1bcbb49fead576f4e3c3405ce8fe77f42867f1009f639bf5",
        ],
    ),
    "volumes": (
        Selection(volume_bytes=900_000),
        [
            "ebfdb2b35f479f2bff23f466d6d5940ab7a9dea2e6ad674c2183b012e8db849d",
            "3e746ed3108b9066d5e8281baa7d3d25b43a371be5692de5c06ab6ed198f128e",
            "5e7726a9b47bd7c1911fa94bbcb83ef5d1911aac5e1c66ee2fa52cb707a67cef",
        ],
    ),
}


@pytest.mark.parametrize("what", SELECTIONS)
def test_sha256sums_are_what_they_were(tmp_path: Path, what: str) -> None:
    selection, expected = SELECTIONS[what]
    mirror = mirror_of(tmp_path / "home", 3)
    sync_from(mirror, UniformLog(70_123))
    sign = lambda text: sign_note(text, [SITE_KEY])  # noqa: E731
    report = export(mirror.store, [mirror.log], selection, tmp_path / "stick.tar", sign, NOW)
    digests = []
    for volume in report.volumes:
        with volume.path.open("rb") as file:
            digests.append(peek(file).header.sums_sha256.hex())
    assert digests == expected

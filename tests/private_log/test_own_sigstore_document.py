"""docs/own-sigstore.md is typed from its first line to its last, as far as the commands are ours.

What cosign and sigstore-python make of it is in tests/interop.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.documents import adapted, blocks
from tests.interop.own_sigstore import web_server
from tests.pki.authorities import CtLog, new_authority, new_timestamp_authority, spki
from tests.pki.bundles import pem

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_document_is_typed_in_order(tmp_path: Path) -> None:
    place, served = tmp_path / "place", tmp_path / "served"
    place.mkdir()
    served.mkdir()
    root = new_authority("test CA")
    for name, chain in (
        ("fulcio.pem", (root.certificate,)),
        ("tsa.pem", new_timestamp_authority().chain),
    ):
        (place / name).write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    (place / "ct.pem").write_bytes(pem("PUBLIC KEY", spki(CtLog().key)))
    with web_server(served) as url:
        here = {"/srv/tuf": str(served / "tuf"), "http://127.0.0.1:8080": f"{url}/tuf"}
        # What a courier brings is for a site without a network; the rest is typed here.
        every = [one for one in blocks("docs/own-sigstore.md", "sh") if "/media/stick" not in one]
        lines = adapted("\n".join(every), here)
        others = re.findall(r"(?m)^(?:cosign|sigstore) .*\n", lines)
        assert len(others) == 2
        for line in others:
            lines = lines.replace(line, "")
        # Over another channel comes the first root, before the clients.
        copied = f"cp {served}/tuf/1.root.json .\nattestor trust update"
        run(place, adapted(lines, {"attestor trust update": copied}))
    told = json.loads((place / "clients" / "client_trust_config.json").read_text())
    assert [one["url"] for one in told["signingConfig"]["rekorTlogUrls"]] == [
        "http://127.0.0.1:3000"
    ]
    assert (served / "tuf" / "2.root.json").is_file()  # the online key was replaced
    status = json.loads(run(place, "attestor log status --json"))["data"]["logs"]
    assert [one["treeSize"] for one in status] == [1]
    shutil.rmtree(served)


def run(place: Path, text: str) -> str:
    """Type lines in a directory, in a home with a log; return what was printed."""
    home = place / "home"
    attestor = f'attestor() {{ {sys.executable} -m appliance.cli.main "$@"; }}\n'
    if not home.exists():
        attestor += "attestor init --site here.example\n"
        attestor += "attestor log create build --origin log.example\n"
    done = subprocess.run(
        ["sh", "-euc", attestor + text],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ATTESTOR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

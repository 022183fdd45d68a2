"""The lab of the Vagrantfile by its own scripts: two bare Debians, a FAT stick, no network.

The connected one has a loopback interface and nothing else, so that its log can be
reached; the other has not even that.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.provision.machines import (
    PROVISION,
    ROOT,
    FatImage,
    Machine,
    require_root,
    require_tools,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """A connected machine and one without a network, both bare."""
    require_root()
    require_tools("debootstrap", "unshare", "ip", "mcopy")
    directory = tmp_path_factory.mktemp("machines")
    made = []
    for name, loopback in (("online", True), ("airgapped", False)):
        done = subprocess.run(
            [PROVISION / "bare-debian", directory / name],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"no bare Debian can be had here: {done.stderr.strip()[-300:]}")
        made.append(Machine(directory / name, loopback=loopback))
    yield made[0], made[1]


def test_the_same_commit_makes_the_same_kit(kit: Path, tmp_path: Path) -> None:
    command = [ROOT / "scripts" / "offline-kit", tmp_path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    again = (tmp_path / kit.name).read_bytes()
    assert again == kit.read_bytes()
    assert done.stdout.splitlines()[-1] == f"{sha256(again).hexdigest()}  {kit.name}"


def carry(image: FatImage, stick: Path, arrived: Path) -> None:
    """Write what is on one side's stick onto the FAT image, and read it on the other."""
    image.write(sorted(stick.iterdir()))
    for file in image.read_all(arrived):
        left = stick / file.name
        assert not left.exists() or file.read_bytes() == left.read_bytes(), file.name


def test_two_days_in_the_lab(machines: tuple[Machine, Machine], kit: Path, tmp_path: Path) -> None:
    online, airgapped = machines
    for bare in machines:
        for tool in ("pip", "pip3", "attestor"):
            bare.run(tmp_path, "sh", "-c", f"! command -v {tool}")
        bare.run(tmp_path, "python3", "-c", "import sys; assert sys.version_info[:2] == (3, 11)")
        bare.run(tmp_path, "sh", "-c", "! python3 -c 'import ensurepip, pip' 2>/dev/null")
    stick, arrived = tmp_path / "stick", tmp_path / "arrived"
    stick.mkdir()
    arrived.mkdir()
    image = FatImage(tmp_path / "stick.img")
    (stick / kit.name).write_bytes(kit.read_bytes())

    printed = online.run(stick, "/opt/provision/with-stick", "/opt/provision/online")
    _, _, paper = printed.partition("by hand, not by stick\n")
    assert [line.split()[0] for line in paper.splitlines()] == ["kit", "log", "exporter", "signer"]
    carry(image, stick, arrived)
    words = ["/opt/provision/with-stick", "/opt/provision/airgapped"]
    assert "nothing was carried here yet" in airgapped.run(arrived, *words)
    sheet = {"ATTESTOR_PAPER": paper}
    first = airgapped.run(arrived, *words, environment=sheet)
    assert "no-network: no route, no names" in first
    assert "VERIFIED: signed by outside.lab.example" in first
    assert "bit-rot          passed" in first
    assert "nothing -> 1" in first and "all that came is verified, with no network" in first

    # The receipt goes back the same way, and the line that makes it believed by hand.
    reply = {"ATTESTOR_REPLY": first.strip().splitlines()[-1]}
    assert reply["ATTESTOR_REPLY"].startswith("inside.lab.example+")
    carry(image, arrived, stick)
    again = online.run(
        stick, "/opt/provision/with-stick", "/opt/provision/online", environment=reply
    )
    assert "accepted" in again and "from 1 to 2" in again
    carry(image, stick, arrived)
    second = airgapped.run(arrived, *words, environment=sheet)
    assert "1 -> 2" in second and "all that came is verified" in second
    assert sorted(path.name for path in arrived.glob("app-*.bin")) == ["app-1.bin", "app-2.bin"]

    # A sheet that says otherwise, and nothing is installed from that stick or believed.
    for line, wrong in (("kit", f"kit {'0' * 64}"), ("signer", f"signer {'0' * 64}")):
        lines = [wrong if one.startswith(line) else one for one in paper.splitlines()]
        refused = {"ATTESTOR_PAPER": "\n".join(lines)}
        said = airgapped.run(arrived, *words, environment=refused, expect=1)
        assert "on the sheet" in said


def test_a_damaged_kit_installs_nothing(
    machines: tuple[Machine, Machine], kit: Path, tmp_path: Path
) -> None:
    _, airgapped = machines
    script = (
        "cd /tmp && rm -rf kit && mkdir kit && tar -xf /media/stick/*.tar -C kit && cd kit/*/"
        " && for wheel in wheels/click-[0-9]*.whl; do printf x >> $wheel; done"
        " && ./install.sh --prefix /opt/other --bin /opt/other/bin"
    )
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / kit.name).write_bytes(kit.read_bytes())
    assert "this kit is damaged" in airgapped.run(stick, "sh", "-c", script, expect=1)
    # Whoever can change SHA256SUMS as well still meets the hashes in requirements.txt.
    resigned = script.replace(
        " && ./install.sh",
        " && sha256sum $(cut -c 67- SHA256SUMS) > new && mv new SHA256SUMS && ./install.sh",
    )
    said = airgapped.run(stick, "sh", "-c", resigned, expect=1)
    assert "DO NOT MATCH THE HASHES" in said
    airgapped.run(stick, "sh", "-c", "! test -e /opt/other/bin/attestor")
    # Neither that nor a kill keeps the good kit from being installed by the same command.
    good = (
        "cd /tmp && rm -rf kit && mkdir kit && tar -xf /media/stick/*.tar -C kit && cd kit/*/"
        " && { timeout -s KILL 2 ./install.sh --prefix /opt/other --bin /opt/other/bin; true; }"
        " && ./install.sh --prefix /opt/other --bin /opt/other/bin && /opt/other/bin/attestor drill"
    )
    assert "bit-rot          passed" in airgapped.run(stick, "sh", "-c", good)

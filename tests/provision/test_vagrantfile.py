"""The real vagrant judges the Vagrantfile, by itself and with its libvirt provider.

Whether the machines start is for somebody with KVM and a box; what they run is tested in
test_machines.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.provision.machines import ROOT, require_tools

pytestmark = pytest.mark.interop


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What vagrant looks at, in a directory that it may write to."""
    require_tools("vagrant")
    project = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    shutil.copy(ROOT / "Vagrantfile", project)
    return project


def validate(project: Path, *, provider: bool) -> subprocess.CompletedProcess[str]:
    words = [] if provider else ["--ignore-provider"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(project.parent),
        "VAGRANT_HOME": str(project.parent / "vagrant"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        **({"VAGRANT_DEFAULT_PROVIDER": "libvirt"} if provider else {}),
    }
    return subprocess.run(
        ["vagrant", "validate", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=project,
        env=environment,
        timeout=120,
    )


@pytest.fixture
def with_libvirt(project: Path) -> Path:
    listed = subprocess.run(
        ["dpkg-query", "-W", "vagrant-libvirt"], check=False, capture_output=True
    )
    if listed.returncode:
        pytest.skip("not installed: vagrant-libvirt; see scripts/provision/peers")
    return project


def test_vagrant_takes_it(project: Path) -> None:
    done = validate(project, provider=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for machine in ("online", "airgapped"):
        assert f"==> {machine}: " in done.stdout


def test_the_libvirt_provider_takes_it(with_libvirt: Path) -> None:
    done = validate(with_libvirt, provider=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_script_that_is_not_there_is_noticed(project: Path) -> None:
    shutil.rmtree(project / "scripts" / "provision")
    done = validate(project, provider=False)
    assert done.returncode != 0 and "scripts/provision" in done.stdout + done.stderr


def test_a_misspelled_setting_of_the_provider_is_noticed(with_libvirt: Path) -> None:
    file = with_libvirt / "Vagrantfile"
    file.write_text(file.read_text().replace("lv.memory =", "lv.memry ="))
    assert validate(with_libvirt, provider=True).returncode != 0


def test_every_script_that_it_names_is_there() -> None:
    text = (ROOT / "Vagrantfile").read_text()
    for name in ("with-stick", "online", "airgapped", "cut-network"):
        assert f"provision/{name}" in text
        assert os.access(ROOT / "scripts" / "provision" / name, os.X_OK)


def test_the_second_machine_has_no_network_and_the_same_stick() -> None:
    text = (ROOT / "Vagrantfile").read_text()
    _, _, airgapped = text.partition('config.vm.define "airgapped"')
    assert 'management_network_mode = "none"' in airgapped
    assert "machine.vm.network" not in airgapped and "synced_folder" not in airgapped
    assert '"cut-network", type: "shell", run: "always"' in airgapped
    assert 'bus: "usb"' in text and "shareable: true" in text

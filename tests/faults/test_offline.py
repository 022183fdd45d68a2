"""What must work without a network does not so much as ask for a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.sites import Sites, copied, succeed
from tests.faults.strace import ROOT, Finished, environment, require_strace, run
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request

ARTIFACT = b"release 1\n"


class Release:
    """An artifact that is in a log, and the sites that mirror it."""

    def __init__(self, sites: Sites, directory: Path) -> None:
        self.sites = sites
        self.artifact, self.key = directory / "app.bin", directory / "signer.pem"
        self.artifact.write_bytes(ARTIFACT)
        self.key.write_bytes(SIGNER_PEM)
        self.entry = directory / "entry"
        request = sign_request(ARTIFACT)
        self.entry.write_bytes(request.canonical_body)
        self.index = log_request(sites.log, request)
        bundle = bundle_of(sites.log, request, self.index)
        Path(f"{self.artifact}.sigstore.json").write_bytes(bundle)


@pytest.fixture(scope="module")
def release(quick_directory: Path) -> Iterator[Release]:
    directory = quick_directory / "offline"
    directory.mkdir()
    sites = Sites(directory, before=300)
    sites.set_up()
    try:
        made = Release(sites, directory)
        sites.grow(600)
        yield made
    finally:
        sites.close()


def offline_commands(release: Release, place: Path) -> list[tuple[Path, list[str | Path]]]:
    """List homes and commands in the order of a release that crosses the gap."""
    sites = release.sites
    outside, inside = copied(sites.ahead, place / "outside"), copied(sites.inside, place / "inside")
    stick, proof = place / "stick.tar", place / "app.tlog-proof"
    volumes = place / "volumes"
    volumes.mkdir()
    handed = ["--action", "handed-over", "--who", "a courier", "--medium", "stick-07"]
    signed = f"{release.artifact}.sigstore.json"
    pinned = ["--origin", sites.log.origin, "--index", str(release.index)]
    receipt = receipt_of(sites, place)
    return [
        (outside, sites.exporting(stick)),
        (outside, ["key", "generate", "second.example"]),
        (outside, ["countersign", stick, "--key", "second.example"]),
        (outside, ["export", "--for", signed, "--output", place / "proof.tar"]),
        (outside, ["export", "--full", "--volume-size", "64K", "--output", volumes]),
        (outside, ["custody", "add", *handed]),
        (outside, ["custody", "show"]),
        (inside, ["inspect", stick]),
        (inside, ["import", "--dry-run", stick]),
        (inside, ["import", stick]),
        (inside, ["receipt", "list"]),
        (inside, ["trust", "arrived"]),
        (inside, ["exporters", "list"]),
        (inside, ["export", "--no-tiles", "--output", place / "back.tar"]),
        (outside, ["import", place / "back.tar"]),
        (outside, ["receipt", "show", receipt]),
        (outside, ["receipt", "verify", receipt]),
        (outside, ["receipt", "accept", receipt]),
        (inside, ["verify", release.artifact, "--key", release.key, "--require-mirror"]),
        (inside, ["prove", *pinned, "--output", proof]),
        (inside, ["proof", "verify", proof, "--entry", release.entry]),
        (inside, ["tiles", "verify"]),
        (inside, ["store", "check", "--read-data"]),
        (inside, ["sync-status"]),
        (inside, ["checkpoint", "show", "--origin", sites.log.origin]),
        (inside, ["checkpoint", "verify", "--backend", "sim"]),
        (inside, ["entries", "show", *pinned]),
        (inside, ["exporters", "list"]),
        (inside, ["receipt", "list"]),
        (inside, ["alerts", "list"]),
        (inside, ["quarantine", "list"]),
        (inside, ["journal", "verify"]),
        (inside, ["queue", "list"]),
        (inside, ["metrics"]),
        (inside, ["doctor"]),
        (inside, ["drill", "--attack", "none", "--attack", "fork", "--directory", place]),
    ]


def receipt_of(sites: Sites, place: Path) -> Path:
    """Have the inside import something, and return the receipt that it hands the courier."""
    inside, stick, receipts = copied(sites.inside, place / "first"), place / "1.tar", place / "r"
    receipts.mkdir()
    succeed(copied(sites.ahead, place / "exporter"), *sites.exporting(stick))
    succeed(inside, "import", "--receipt-dir", receipts, stick)
    [receipt] = receipts.iterdir()
    return receipt


def sockets(finished: Finished) -> list[str]:
    return [line for line in finished.trace.splitlines() if "socket(" in line]


def test_no_command_but_sync_opens_a_socket(release: Release, place: Path) -> None:
    require_strace()
    for home, words in offline_commands(release, place):
        finished = run(["--home", home, *words], place / "trace", "trace=network")
        assert finished.code == 0, (words, finished.err)
        assert sockets(finished) == [], words
    behind = copied(release.sites.outside, place / "behind")
    online = ["--home", behind, *release.sites.syncing()]
    assert any("AF_INET" in line for line in sockets(run(online, place / "trace", "trace=network")))


@pytest.fixture
def without_network() -> Sequence[str]:
    """What to put before a command so that it runs where there is no network, not even lo."""
    words = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    if shutil.which("unshare") is None:
        pytest.skip("a namespace without network needs unshare (util-linux)")
    tried = subprocess.run([*words, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"the kernel lets us make no network namespace: {tried.stderr.strip()}")
    return words


def program(*words: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "appliance.cli.main", *words]


def test_the_whole_way_inside_works_where_there_is_no_network(
    release: Release, place: Path, without_network: Sequence[str]
) -> None:
    for home, words in offline_commands(release, place):
        command = [*without_network, *program("--home", home, *words)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment()
        )
        assert done.returncode == 0, (words, done.stderr)
    behind = copied(release.sites.outside, place / "behind")
    online = program("--home", behind, *release.sites.syncing())
    cut_off = subprocess.run(
        [*without_network, *online],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert cut_off.returncode == 7, cut_off.stderr
    succeed(behind, *release.sites.syncing())


def test_the_tests_of_verify_pass_where_there_is_no_network(
    place: Path, without_network: Sequence[str]
) -> None:
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp"]
    done = subprocess.run(
        [*without_network, *tests, str(place / "tests"), "tests/verify/test_verify.py"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout

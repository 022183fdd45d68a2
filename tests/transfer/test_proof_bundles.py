"""export --for: a few kilobytes, after which the far side proves an entry by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.transfer.sites import INSIDE, OUTSIDE, Sites


class Release:
    """An artifact with its Sigstore bundle, logged somewhere in a large log."""

    def __init__(self, sites: Sites, name: str) -> None:
        self.artifact = sites.stick(name)
        self.artifact.write_bytes(name.encode())
        self.key = sites.stick("signer.pem")
        self.key.write_bytes(SIGNER_PEM)
        request = self.request = sign_request(name.encode())
        index = self.index = log_request(sites.log, request)
        self.bundle = Path(f"{self.artifact}.sigstore.json")
        self.bundle.write_bytes(bundle_of(sites.log, request, index))

    @property
    def verifying(self) -> tuple[str | Path, ...]:
        """The command that demands our own view of the log."""
        return ("verify", self.artifact, "--key", self.key, "--require-mirror")


@pytest.mark.parametrize("before", [0, 70_000])
def test_a_few_kilobytes_prove_an_entry(sites: Sites, before: int) -> None:
    sites.grow(70_000)
    if before:
        sites.json(OUTSIDE, "export", "--output", sites.stick("first.tar"))
        sites.json(INSIDE, "import", sites.stick("first.tar"))
    sites.grow(1_000)
    release = Release(sites, "app.bin")
    sites.grow(1_000)
    stick = sites.stick("proof.tar")
    done = sites.json(OUTSIDE, "export", "--for", release.bundle, "--output", stick)
    assert done["bytes"] < 80 * 1024, done["bytes"]
    sites.json(INSIDE, *release.verifying, expect=5)
    answer = sites.answer(INSIDE, "import", stick)
    assert answer["exitCode"] == 0
    verdict = sites.json(INSIDE, *release.verifying)
    assert verdict["artifacts"][0]["ownView"]["coverage"] == "covered"
    # It is no base of later deltas: they bring everything from the last whole one.
    sites.grow(10)
    delta = sites.stick("delta.tar")
    done = sites.json(OUTSIDE, "export", "--overlap", "1", "--output", delta)
    assert done["logs"][0]["baseSize"] == (before or None)
    sites.json(INSIDE, "import", delta)
    assert sites.head(INSIDE) == sites.log.head


def test_with_the_entry_itself_if_that_is_wanted(sites: Sites) -> None:
    sites.grow(1_000)
    release = Release(sites, "app.bin")
    sites.grow(1_000)
    stick = sites.stick("proof.tar")
    words = ("export", "--for", release.bundle, "--include-entries", "--output", stick)
    assert sites.json(OUTSIDE, *words)["logs"][0]["entries"] == [768, 1024]
    sites.json(INSIDE, "import", stick)
    sites.json(INSIDE, *release.verifying)


def test_what_is_no_sigstore_bundle_is_refused(sites: Sites) -> None:
    sites.grow(10)
    wrong = sites.stick("wrong.json")
    wrong.write_text("{}")
    for words in (("--for", wrong), ("--for", sites.stick("absent"))):
        answer = sites.answer(OUTSIDE, "export", *words, "--output", sites.stick("x.tar"))
        assert answer["exitCode"] in (3, 5) and str(words[1]) in answer["error"]["message"]
    assert not sites.stick("x.tar").exists()


def test_an_entry_that_is_not_mirrored_yet_is_said_so(sites: Sites) -> None:
    sites.grow(1_000)
    release = Release(sites, "app.bin")  # logged, and not synced
    words = ("export", "--for", release.bundle, "--output", sites.stick("x.tar"))
    error = sites.json(OUTSIDE, *words, expect=5)
    assert error["reason"] == "not-covered" and "sync" in error["next"]
    # Its checkpoint is ahead, even if the entry is not: over there it would not be covered.
    sites.grow(0)
    index = sites.log.tree_size - 1
    sites.log.grow(50)
    release.bundle.write_bytes(bundle_of(sites.log, release.request, index))
    assert sites.json(OUTSIDE, *words, expect=5)["reason"] == "not-covered"


def test_an_entry_that_is_another_one_in_our_tree_is_refused(sites: Sites) -> None:
    sites.grow(300)
    release = Release(sites, "app.bin")
    sites.grow(300)
    # Signed again: the same artifact, and an entry that nobody logged.
    release.bundle.write_bytes(bundle_of(sites.log, sign_request(b"app.bin"), release.index))
    words = ("export", "--for", release.bundle, "--output", sites.stick("x.tar"))
    error = sites.json(OUTSIDE, *words, expect=3)
    assert error["reason"] == "other-entry" and "app.bin.sigstore.json" in error["message"]
    assert not sites.stick("x.tar").exists()


def test_a_bundle_of_a_log_that_contradicts_ours_is_evidence_and_no_export(sites: Sites) -> None:
    sites.grow(300)
    twin = sites.log.fork(at=200)
    sites.grow(300)
    request = sign_request(b"app.bin")
    bundle = sites.stick("fork.sigstore.json")
    bundle.write_bytes(bundle_of(twin, request, log_request(twin, request)))
    words = ("export", "--for", bundle, "--output", sites.stick("x.tar"))
    error = sites.json(OUTSIDE, *words, expect=4)
    assert "contradicts itself" in error["message"] and "evidence" in error["next"]
    assert not sites.stick("x.tar").exists()
    assert sites.json(OUTSIDE, "quarantine", "list")["quarantines"]


@pytest.mark.parametrize("content", [b"\x7fELF", b"{}", b"header\0"])
def test_what_is_no_sigstore_bundle_is_said_so(sites: Sites, content: bytes) -> None:
    sites.grow(300)
    other = sites.stick("app.bin")
    other.write_bytes(content)
    error = sites.json(OUTSIDE, "export", "--for", other, "--output", sites.stick("x"), expect=3)
    assert ".sigstore.json" in error["next"]


def test_an_entry_of_another_log_is_a_mistake(sites: Sites) -> None:
    sites.grow(10)
    release = Release(sites, "app.bin")
    sites.grow(0)
    text = release.bundle.read_text().replace("log.example", "log.else.net")
    release.bundle.write_text(text)
    words = ("export", "--for", release.bundle, "--output", sites.stick("x.tar"))
    assert sites.answer(OUTSIDE, *words)["exitCode"] in (5, 9)
    pinned = (*words, "--origin", sites.log.origin)
    assert sites.json(OUTSIDE, *pinned, expect=9)["reason"] == "other-log"

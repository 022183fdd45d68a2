"""alerts export: the pack proves itself on a bare Python, and no doctored one does."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.divergence import evidence_check
from appliance.errors import DivergenceError, IncompleteError
from appliance.jobs.divergence.gossip import compare_note
from appliance.tlog.tile import Tile
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.mirror.mirrors import sync_from
from tests.simulator import SimulatedLog

SIZES = (1, 2, 3, 64, 100, 255, 256, 257)
CHECK = Path(evidence_check.__file__)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def caught(home: MirroredHome, liar: SimulatedLog) -> None:
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        sync_from(mirror, liar)


def exported(home: MirroredHome, to: Path, alert: int = 1) -> Path:
    home.json("alerts", "export", str(alert), "--output", to)
    return to


def checked(pack: Path, *arguments: Path, bare: bool = False) -> tuple[int, str]:
    """Run a pack's own check.py; bare: with nothing of ours to import."""
    flags = ["-I"] if bare else []
    done = subprocess.run(
        [sys.executable, *flags, str(pack / "check.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def judged(pack: Path) -> int:
    """Judge a pack by the same code, without a new process each time."""
    with redirect_stdout(io.StringIO()):
        return evidence_check._main([pack])


def forks(home: MirroredHome, tmp_path: Path) -> Path:
    """A home with one fork at a larger size, exported."""
    home.sync(100)
    twin = home.log.fork(at=60)
    twin.grow(30)
    caught(home, twin)
    return exported(home, tmp_path / "pack")


def test_check_py_is_short_and_needs_only_cryptography() -> None:
    lines = CHECK.read_text().splitlines()
    assert len(lines) < 130
    imports = [line.split() for line in lines if line.startswith(("import ", "from "))]
    imported = {words[1].partition(".")[0] for words in imports}
    assert imported <= {"base64", "hashlib", "json", "os", "sys", "pathlib", "cryptography"}


def test_a_fork_is_proven_on_a_bare_python(home: MirroredHome, tmp_path: Path) -> None:
    pack = forks(home, tmp_path)
    code, said = checked(pack, bare=True)
    assert (code, "CONTRADICTION" in said) == (0, True), said
    assert "size 130" in said and "size 100" in said
    key = tmp_path / "log.pem"
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_der_public_key,
    )

    public = load_der_public_key(home.log.key.spki)
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert checked(pack, pack, key, bare=True)[0] == 0
    other = load_der_public_key(SimulatedLog("other.example").key.spki)
    key.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    code, said = checked(pack, key, bare=True)
    assert code == 1 and "none of the keys signed it" in said


def test_a_key_that_cannot_be_read_never_means_that_any_key_will_do(
    home: MirroredHome, tmp_path: Path
) -> None:
    pack = forks(home, tmp_path)
    junk = tmp_path / "junk.pem"
    junk.write_text("no key")
    for named in (junk, tmp_path / "mistyped.pem"):
        code, said = checked(pack, named)
        assert code == 1 and said.startswith("NO: "), said


def test_a_pack_holds_the_notes_byte_for_byte_and_all_that_was_known(
    home: MirroredHome, tmp_path: Path
) -> None:
    home.sync(100)
    twin = home.log.fork(at=60)
    twin.grow(30)
    caught(home, twin)
    archive = tmp_path / "incident.tar"
    home.json("alerts", "export", "1", "--output", archive)
    with tarfile.open(archive) as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert held["incident/ours.note"] == home.log.checkpoint()
    assert held["incident/theirs.note"] == twin.checkpoint()
    facts: dict[str, Any] = json.loads(held["incident/evidence.json"])
    assert facts["previousState"]["acceptedSize"] == 100
    assert (facts["rule"], facts["site"]) == ("TreeFork", "site.example")
    assert facts["consistencyProof"]["oldSize"] == 100
    assert json.loads(held["incident/alert.json"])["eventType"] == "rekor.checkpoint.divergence"
    assert (
        home.json("alerts", "export", "1", "--output", archive, expect=6)["reason"] == "file-exists"
    )


@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_contradiction_is_proven(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (growth, back) in enumerate([(0, 0), (1, 0), (200, 0), (0, 1), (0, size // 2)]):
        if back >= size:
            continue
        home = MirroredHome(tmp_path / f"home{number}", capsys, "connected")
        home.sync(size)
        twin = home.log.fork(at=0)
        twin.grow(growth)
        if back:
            twin.roll_back(to=size - back)
        caught(home, twin)
        assert judged(exported(home, tmp_path / f"pack{number}")) == 0


def test_a_note_seen_elsewhere_and_a_broken_freeze_are_proven(
    home: MirroredHome, tmp_path: Path
) -> None:
    home.sync(300)
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        compare_note(mirror.store, home.log.fork(at=5).checkpoint_at(77), "a mail", NOW)
    assert judged(exported(home, tmp_path / "seen")) == 0
    home.json("quarantine", "lift", "1", "--reason", "test")
    home.log.freeze()
    home.sync(0)
    home.log.grow(1)
    home.log.extensions = ()
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        sync_from(mirror, home.log)
    assert judged(exported(home, tmp_path / "grown", alert=2)) == 0


def test_what_nothing_places_is_no_alert(home: MirroredHome) -> None:
    home.sync(70_000)
    home.json("tiles", "clear", "--backend", "sim")
    home.log.roll_back(to=2_999)
    home.log.lose(Tile(0, 11))
    with home.mirror() as mirror, pytest.raises(IncompleteError, match="show whether it is"):
        sync_from(mirror, home.log)
    assert home.json("alerts", "list")["alerts"] == []
    assert home.json("quarantine", "list") == {"quarantines": []}


def test_an_alert_without_evidence_is_a_clear_5(home: MirroredHome, tmp_path: Path) -> None:
    home.sync(3, now=NOW - 90_000)
    home.sync(0, now=NOW)
    error = home.json("alerts", "export", "1", "--output", tmp_path / "pack", expect=5)
    assert error["reason"] == "no-evidence"
    assert not (tmp_path / "pack").exists()


def test_no_doctored_pack_is_believed(home: MirroredHome, tmp_path: Path) -> None:
    pack = forks(home, tmp_path)
    assert judged(pack) == 0
    for name in ("ours.note", "theirs.note"):
        whole = (pack / name).read_bytes()
        for at in range(len(whole)):
            (pack / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert judged(pack) == 1, f"{name}: byte {at}"
        for cut in range(0, len(whole), 7):
            (pack / name).write_bytes(whole[:cut])
            assert judged(pack) == 1, f"{name}: cut at {cut}"
        (pack / name).write_bytes(whole)
    facts = json.loads((pack / "evidence.json").read_text())
    for change in _doctored(facts):
        (pack / "evidence.json").write_text(json.dumps(change))
        assert judged(pack) != 0, change
    (pack / "evidence.json").write_text(json.dumps(facts))
    assert judged(pack) == 0
    shutil.copy(pack / "ours.note", pack / "theirs.note")
    code, said = checked(pack)
    assert (code, "both notes say the same" in said) == (1, True)


def test_an_honest_continuation_made_up_as_a_fork_is_refused(
    home: MirroredHome, tmp_path: Path
) -> None:
    pack = forks(home, tmp_path)
    grown = home.log.fork(at=100)
    grown.grow(30)
    (pack / "theirs.note").write_bytes(grown.checkpoint())
    facts = json.loads((pack / "evidence.json").read_text())
    facts["consistencyProof"] |= {
        "oldRootHash": f"sha256:{home.log.head_at(100).root_hash.hex()}",
        "hashes": [one.hex() for one in grown.consistency_proof(100)],
    }
    (pack / "evidence.json").write_text(json.dumps(facts))
    code, said = checked(pack)
    assert (code, "no contradiction" in said) == (1, True)


def _doctored(facts: dict[str, Any]) -> list[dict[str, Any]]:
    proof, key = facts["consistencyProof"], facts["keys"][0]
    hashes, places = proof["hashes"], range(len(proof["hashes"]))
    other = "0" * 64
    proofs = [
        proof | {"oldRootHash": f"sha256:{other}"},
        *(proof | {"hashes": [*hashes[:at], other, *hashes[at + 1 :]]} for at in places),
        *(proof | {"hashes": [*hashes[:at], *hashes[at + 1 :]]} for at in places),
        proof | {"hashes": [*hashes, other]},
        proof | {"hashes": list(reversed(hashes))},
        proof | {"hashes": []},
    ]
    stranger = SimulatedLog("other.example").key
    keys = [
        key | {"publicKey": "MCowBQYDK2VwAyEA" + "A" * 43 + "="},
        key | {"name": "other.example"},
        key | {"keyId": stranger.key_id.hex()},
    ]
    return [
        *(facts | {"consistencyProof": one} for one in proofs),
        *(facts | {"keys": [one]} for one in keys),
        facts | {"keys": []},
        facts | {"consistencyProof": None},
    ]


def test_hashes_cut_at_other_places_prove_nothing_against_an_honest_log(
    home: MirroredHome, tmp_path: Path
) -> None:
    """The bytes under a hash are the same wherever they are cut; a hash has 32 of them."""
    pack = forks(home, tmp_path)
    grown = home.log.fork(at=100)
    grown.grow(30)
    (pack / "theirs.note").write_bytes(grown.checkpoint())
    facts = json.loads((pack / "evidence.json").read_text())
    honest = [one.hex() for one in grown.consistency_proof(100)]
    root = home.log.head_at(100).root_hash.hex()
    for cut in (2, 62):  # hex digits
        for at in range(len(honest) - 1):
            both = honest[at] + honest[at + 1]
            moved = [*honest[:at], both[: 64 + cut - 32], both[64 + cut - 32 :], *honest[at + 2 :]]
            facts["consistencyProof"] |= {"oldRootHash": f"sha256:{root}", "hashes": moved}
            (pack / "evidence.json").write_text(json.dumps(facts))
            assert judged(pack) == 1
    for wrong in (honest[0][:-2], honest[0] + "00", honest[0].upper(), " " + honest[0], ""):
        with pytest.raises(ValueError, match=r"64 hex digits|non-hexadecimal"):
            evidence_check._hash(wrong)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b"\n100\n", b"\n+100\n"),
        lambda text: text.replace(b"\n100\n", b"\n0100\n"),
        lambda text: text.replace(b"\n100\n", b"\n1_00\n"),
        lambda text: text.replace(b"=\n\n", b"AAAA\n\n"),
        lambda text: text.replace(b"=\n\n", b"\n\n"),
    ],
)
def test_a_signed_note_in_another_spelling_is_none(
    home: MirroredHome, tmp_path: Path, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if whoever holds the key had signed it: other readers would refuse it."""
    pack = forks(home, tmp_path)
    monkeypatch.setattr(evidence_check, "_signed", lambda *_: True)
    assert judged(pack) == 0
    whole = (pack / "ours.note").read_bytes()
    (pack / "ours.note").write_bytes(spoil(whole))
    assert (pack / "ours.note").read_bytes() != whole
    assert judged(pack) == 1


def test_what_lies_beside_check_py_is_not_run_and_its_digest_is_told(
    home: MirroredHome, tmp_path: Path
) -> None:
    from hashlib import sha256

    home.sync(100)
    twin = home.log.fork(at=60)
    twin.grow(30)
    caught(home, twin)
    pack = tmp_path / "pack"
    told = home.json("alerts", "export", "1", "--output", pack)["checkSha256"]
    assert told == sha256((pack / "check.py").read_bytes()).hexdigest()
    for name in ("json", "base64", "hashlib", "cryptography"):
        (pack / f"{name}.py").write_text("import sys\nsys.stderr.write('taken over')\n")
    code, said = checked(pack)  # checked() wants an empty stderr
    assert (code, "CONTRADICTION" in said) == (0, True)


def test_a_hostile_origin_reaches_the_terminal_as_text(
    home: MirroredHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = forks(home, tmp_path)
    monkeypatch.setattr(evidence_check, "_signed", lambda *_: True)
    for name in ("ours.note", "theirs.note"):
        text = (pack / name).read_bytes().partition(b"\n")[2]
        (pack / name).write_bytes("log\x1b[2J\u202e\x9b".encode() + b"\n" + text)
    shown = io.StringIO()
    with redirect_stdout(shown):
        evidence_check._check(pack, [])
    assert all(line.isprintable() for line in shown.getvalue().splitlines())

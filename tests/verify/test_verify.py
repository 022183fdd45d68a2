"""attestor verify, driven as a user drives it: every answer with its code, text and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.divergence.alerts import NewAlert, raise_alert
from appliance.store.mirror.logs import all_logs
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.simulator import SimulatedLog

ARTIFACT = b"release 1\n"


class Site:
    """A home that mirrors a log in which one artifact of ours is logged."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.directory = directory
        self.log = SimulatedLog()
        self.log.grow(300)
        request = sign_request(ARTIFACT)
        self.index = log_request(self.log, request)
        self.request = request
        self.mirror = make_mirror(directory / "home", self.log)
        self.artifact = directory / "app.bin"
        self.artifact.write_bytes(ARTIFACT)
        self.key = directory / "signer.pem"
        self.key.write_bytes(SIGNER_PEM)
        self.bundle = directory / "app.bin.sigstore.json"
        self.write_bundle()

    def write_bundle(self) -> None:
        self.bundle.write_bytes(bundle_of(self.log, self.request, self.index))

    def sync(self) -> None:
        sync_from(self.mirror, self.log)

    def run(self, *arguments: str | Path, now: int = NOW) -> tuple[int, str, str]:
        app = Session(home=self.directory / "home", now=lambda: now)
        code = run(list(map(str, arguments)), app)
        out, err = self.capsys.readouterr()
        return code, out, err

    def verify(self, *more: str | Path) -> tuple[int, dict[str, Any], str]:
        code, out, err = self.run("verify", self.artifact, "--key", self.key, "--json", *more)
        return code, json.loads(out), err


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def test_a_mirrored_artifact_verifies_and_says_everything(site: Site) -> None:
    site.sync()
    code, out, err = site.run("verify", site.artifact, "--key", site.key, "--require-mirror")
    assert (code, err) == (0, "")
    assert f"{site.artifact}: VERIFIED" in out
    assert "covered by our mirror up to 301: it holds entry 300" in out
    assert "network  none" in out
    code, answer, _ = site.verify()
    assert (code, answer["ok"], answer["exitCode"], answer["command"]) == (0, True, 0, "verify")
    (one,) = answer["data"]["artifacts"]
    assert one["verified"] and one["network"] == "none"
    assert one["ownView"]["coverage"] == "covered"
    assert one["log"]["entryIndex"] == 300


def test_another_artifact_is_a_no_and_says_where_to_look(site: Site) -> None:
    site.sync()
    site.artifact.write_bytes(b"something else\n")
    code, out, err = site.run("verify", site.artifact, "--key", site.key)
    assert code == 3
    assert "NOT VERIFIED" in out and "look at  the bundle or the artifact" in out
    assert "  signer " not in out  # nobody's signature was found good
    assert err.startswith("Error: ") and err.count("\n") == 1
    code, answer, _ = site.verify()
    assert (code, answer["ok"], answer["error"]["reason"]) == (3, False, "artifact-digest")


def test_another_key_is_a_no(site: Site, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    site.key.write_bytes(stranger.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert site.verify()[0] == 3


def test_what_the_mirror_does_not_reach_is_said_and_refused_on_demand(site: Site) -> None:
    site.sync()
    site.log.grow(500)
    site.write_bundle()
    code, answer, _ = site.verify()
    assert (code, answer["data"]["artifacts"][0]["ownView"]["coverage"]) == (0, "newer")
    code, answer, _ = site.verify("--require-mirror")
    assert (code, answer["error"]["reason"]) == (5, "not-covered")
    site.sync()
    assert site.verify("--require-mirror")[0] == 0


def test_a_log_never_synced_is_not_covered(site: Site) -> None:
    code, answer, _ = site.verify()
    assert (code, answer["data"]["artifacts"][0]["ownView"]["coverage"]) == (0, "unknown-log")
    assert site.verify("--require-mirror")[0] == 5


def test_a_bundle_whose_checkpoint_contradicts_our_tree_is_a_split_view(site: Site) -> None:
    twin = site.log.fork(at=7)
    index = log_request(twin, site.request)
    site.bundle.write_bytes(bundle_of(twin, site.request, index))
    site.log.grow(10)
    site.sync()
    code, answer, _ = site.verify()
    assert (code, answer["error"]["reason"]) == (4, "split-view")
    view = answer["data"]["artifacts"][0]["ownView"]
    assert view["coverage"] == "contradiction" and view["expectedRootHash"]
    evidence = answer["data"]["artifacts"][0]["evidence"]
    rows = site.mirror.store.rows("SELECT rule, ours, theirs FROM evidence")
    assert [tuple(row) for row in rows] == [
        ("RootHashMismatch", evidence["ours"].encode(), evidence["theirs"].encode())
    ]
    with Session(home=site.directory / "home").locked():  # nothing can be stored; same answer
        code, answer, _ = site.verify()
    assert code == 4 and any("could not be stored" in one for one in answer["warnings"])


def test_a_log_with_an_unknown_key_cannot_be_decided(site: Site) -> None:
    stranger = SimulatedLog(origin="other.example")
    stranger.grow(3)
    index = log_request(stranger, site.request)
    site.bundle.write_bytes(bundle_of(stranger, site.request, index))
    code, answer, _ = site.verify()
    assert (code, answer["error"]["reason"]) == (5, "no-log-key")


def test_an_old_view_of_the_log_is_refused_on_demand(site: Site) -> None:
    site.sync()
    arguments: list[str | Path] = ["verify", site.artifact, "--key", site.key, "--max-age", "1h"]
    assert site.run(*arguments, now=NOW + 3600)[0] == 0
    code, out, err = site.run(*arguments, now=NOW + 3601)
    assert code == 8 and "1h 0m old" in err
    assert "NOT VERIFIED\n  failed   " in out  # a no says why, also where stderr is not read


def test_verify_needs_no_lock_and_no_writable_store(site: Site) -> None:
    site.sync()
    app = Session(home=site.directory / "home")
    with app.locked():
        assert site.verify("--require-mirror")[0] == 0


def test_without_a_home_a_root_and_a_key_are_asked_for(site: Site, tmp_path: Path) -> None:
    app = Session(home=tmp_path / "nowhere")
    code = run(["verify", str(site.artifact), "--key", str(site.key)], app)
    assert code == 5
    assert "key" in site.capsys.readouterr().err


def test_a_digest_can_stand_for_the_artifact(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hashlib import sha256

    site.sync()
    digest = f"sha256:{sha256(ARTIFACT).hexdigest()}"
    command: list[str | Path] = ["verify", digest, "--key", site.key, "--bundle", site.bundle]
    assert site.run(*command)[0] == 0
    command[1] = f"sha256:{sha256(b'other').hexdigest()}"
    assert site.run(*command)[0] == 3
    # A file of that name, with the very bytes that were signed, answers no other question.
    monkeypatch.chdir(tmp_path)
    (tmp_path / str(command[1])).write_bytes(ARTIFACT)
    assert site.run(*command)[0] == 3
    assert site.run("verify", f"./{command[1]}", *command[2:])[0] == 0


def test_several_artifacts_are_judged_and_the_worst_outcome_is_the_code(
    site: Site, tmp_path: Path
) -> None:
    site.sync()
    forged = tmp_path / "forged.bin"
    forged.write_bytes(b"forged")
    absent = tmp_path / "absent.bin"
    listed = tmp_path / "list"
    names = (site.artifact, forged, absent)
    listed.write_text("".join(f"{name}\t{site.bundle}\n" for name in names))
    code, out, err = site.run("verify", "--from-file", listed, "--key", site.key, "--jsonl")
    assert code == 3
    lines = [json.loads(line) for line in out.splitlines()]
    assert [one["ok"] for one in lines] == [True, False, False]
    assert lines[2]["reason"] == "no-file"
    assert err.count("Error: ") == 2


def test_a_damaged_tile_is_our_stores_fault(site: Site) -> None:
    site.sync()
    for path in (site.directory / "home" / "blobs").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    code, answer, _ = site.verify()
    assert code == 6 and answer["error"]["reason"] == "corrupt"
    assert "attestor sync" in answer["error"]["next"]


def test_a_deleted_tile_is_no_reason_to_verify(site: Site) -> None:
    site.sync()
    for path in (site.directory / "home" / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    code, answer, _ = site.verify()
    assert code == 6 and answer["error"]["reason"] == "blob-missing"


def test_verdicts_are_recorded_and_judged_again(site: Site) -> None:
    site.sync()
    assert site.verify("--record")[0] == 0
    code, out, _ = site.run("verdicts", "list", "--json")
    (one,) = json.loads(out)["data"]["verdicts"]
    assert (code, one["exitCode"], one["coverage"]) == (0, 0, "covered")
    code, out, _ = site.run("verdicts", "recheck")
    assert (code, out) == (0, "1 verdicts judged again, 0 changed\n")
    store = open_store(site.directory / "home", write=True)
    store.execute("DELETE FROM log_key")
    store.close()
    code, out, err = site.run("verdicts", "recheck")
    assert code == 5 and "verified -> no-log-key" in out and err
    # The journal has each answer, and no line for one that did not change.
    _, out, _ = site.run("journal", "list", "--event", "verdict.recorded", "--json")
    told = [one["details"] for one in json.loads(out)["data"]["lines"]]
    assert [one["code"] for one in told] == [0, 5]
    assert told[1]["reason"] == "no-log-key" and told[0]["artifact"] == told[1]["artifact"]


def test_recorded_verdicts_are_forgotten_by_age_and_not_while_a_log_is_quarantined(
    site: Site,
) -> None:
    site.sync()
    assert site.verify("--record")[0] == 0

    def listed() -> int:
        return len(json.loads(site.run("verdicts", "list", "--json")[1])["data"]["verdicts"])

    prune = ("verdicts", "prune", "--older-than")
    assert site.run(*prune, "1h")[:2] == (0, "0 verdicts forgotten\n")
    later = NOW + 7200
    found = site.run(*prune, "1h", "--dry-run", now=later)
    assert found[:2] == (0, "1 verdicts would be forgotten\n")
    assert listed() == 1
    store = open_store(site.directory / "home", write=True)
    log = all_logs(store)[0]
    with store.atomic():
        number, _ = raise_alert(store, NewAlert("c", "T", "e", "critical", {}, log), [], NOW)
        store.execute(
            "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
            " VALUES (?, 0, ?, 0)",
            [log.id, number],
        )
    code, _, err = site.run(*prune, "1h", now=later)
    assert (code, listed()) == (8, 1) and "is quarantined" in err
    with store.atomic():
        store.execute("UPDATE quarantine SET lifted_at = 1")
    store.close()
    assert site.run(*prune, "1h", now=later)[:2] == (0, "1 verdicts forgotten\n")
    assert listed() == 0
    _, out, _ = site.run("journal", "list", "--event", "verdict.pruned", "--json")
    assert [one["details"]["count"] for one in json.loads(out)["data"]["lines"]] == [1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "x"],
        ["verify", "x", "--key", "k", "--certificate-identity", "me"],
        ["verify", "x", "--key", "k", "--bundle", "a", "--bundle", "b"],
        ["verify", "x", "--key", "k", "--max-age", "5"],
        ["verify", "--no-such-option"],
    ],
)
def test_wrong_usage_is_code_two_in_text_and_in_json(site: Site, arguments: list[str]) -> None:
    site.key.rename(site.directory / "k")
    named = [str(site.directory / word) if word in ("x", "k") else word for word in arguments]
    code, out, err = site.run(*named)
    assert (code, out) == (2, "") and "Error" in err
    code, out, _ = site.run(*named, "--json")
    assert code == 2 and json.loads(out)["error"]["reason"] == "usage"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"nonsense", b"\xff", b"[" * 100000])
def test_a_malformed_bundle_is_one_clear_line(site: Site, content: bytes) -> None:
    site.bundle.write_bytes(content)
    code, _, err = site.run("verify", site.artifact, "--key", site.key)
    assert code == (8 if content.startswith(b"[[") else 3)  # a limit is no judgement
    assert err.startswith("Error: ") and err.count("\n") == 1 and "Traceback" not in err


def test_a_policy_demands_witnesses(site: Site, tmp_path: Path) -> None:
    from appliance.tlog.checkpoint import open_checkpoint
    from appliance.tlog.cosignature import cosign, cosigner_key
    from appliance.tlog.note import SigningKey

    witness = SigningKey("witness.example", bytes(range(32)))
    policy = tmp_path / "policy"
    policy.write_text(
        f"log {site.log.key.vkey}\nwitness w {cosigner_key(witness).vkey}\nquorum w\n"
    )
    site.sync()
    code, answer, _ = site.verify("--policy", policy)
    assert (code, answer["error"]["reason"]) == (8, "quorum")
    bundle = json.loads(site.bundle.read_bytes())
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    note = proof["checkpoint"]["envelope"]
    signed = open_checkpoint(note.encode(), [site.log.key], site.log.origin)
    proof["checkpoint"]["envelope"] = note + cosign(signed, witness, NOW).line
    site.bundle.write_text(json.dumps(bundle))
    code, answer, _ = site.verify("--policy", policy)
    assert code == 0
    assert answer["data"]["artifacts"][0]["cosigners"][0]["name"] == "witness.example"

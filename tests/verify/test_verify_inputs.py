"""attestor verify, asked in the ways people ask: links, pipes, lists, streams, claims, opt-ins."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance import api as attestor
from appliance.cli.main import run
from appliance.runs.session import Session
from tests.mirror.mirrors import NOW
from tests.pki.authorities import IDENTITY, ISSUER, LeafPlan, SigningKey
from tests.pki.bundles import ARTIFACT, Instance
from tests.pki.logs import base64
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.simulator import SimulatedLog
from tests.standard_input import standard_input

ATTESTOR = [sys.executable, "-m", "appliance.cli.main"]
KEYLESS = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]
MADE = Instance()


class Desk:
    """A directory with an artifact, its Sigstore bundle and a trusted root; no store."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capsys = directory, capsys
        self.artifact = directory / "app-1.2.tar.gz"
        self.artifact.write_bytes(ARTIFACT)
        self.root = directory / "trusted_root.json"
        self.root.write_text(json.dumps(MADE.root()), "utf-8")
        self.bundle = directory / "app-1.2.tar.gz.sigstore.json"
        self.write(MADE.v2_bundle())

    def write(self, bundle: Any, name: str = "") -> Path:
        path = self.directory / name if name else self.bundle
        path.write_text(json.dumps(bundle), "utf-8")
        return path

    def verify(self, *arguments: str | Path, keyless: bool = True) -> tuple[int, str, str]:
        session = Session(home=self.directory / "home", now=lambda: NOW)
        more = [*KEYLESS, "--trusted-root", str(self.root)] if keyless else []
        code = run(["verify", *map(str, arguments), *more], session)
        return (code, *self.capsys.readouterr())

    @property
    def keyless(self) -> list[str]:
        return KEYLESS

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        session = Session(home=self.directory / "home", now=lambda: NOW)
        code = run(list(map(str, words)), session)
        return (code, *self.capsys.readouterr())

    def listed(self, lines: str, how: str, *words: str) -> tuple[int, str, str]:
        """Verify a list, from a file ("file") or from standard input ("-")."""
        path = self.directory / "list"
        path.write_text(lines, "utf-8")
        if how == "file":
            return self.verify("--from-file", path, *words)
        with standard_input(path):
            return self.verify("--from-file", "-", *words)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_links_to_artifact_bundle_and_root(desk: Desk) -> None:
    """As a release directory has app-latest, and a cluster mounts its secrets."""
    mounted = desk.directory / "..data"
    mounted.mkdir()
    desk.root.rename(mounted / "root")
    desk.root.symlink_to("..data/root")
    latest = desk.directory / "app-latest.tar.gz"
    latest.symlink_to(desk.artifact.name)
    beside = desk.directory / "app-latest.tar.gz.sigstore.json"
    beside.symlink_to(desk.bundle.name)
    code, out, err = desk.verify(latest)
    assert (code, err) == (0, "")
    assert f"{latest}: VERIFIED" in out


def test_a_link_that_leads_nowhere_says_where_it_leads(desk: Desk) -> None:
    desk.artifact.unlink()
    desk.artifact.symlink_to("app-1.1.tar.gz")
    code, _, err = desk.verify(desk.artifact, "--bundle", desk.bundle)
    assert code == 5
    assert "leads to app-1.1.tar.gz, which is not there" in err


def test_pipes(desk: Desk) -> None:
    pipes = {}
    for file in (desk.artifact, desk.bundle, desk.root):
        pipe = desk.directory / f"{file.name}.pipe"
        os.mkfifo(pipe)
        pipes[pipe] = threading.Thread(target=pipe.write_bytes, args=(file.read_bytes(),))
    artifact, bundle, desk.root = pipes
    for writer in pipes.values():
        writer.start()
    code, _, err = desk.verify(artifact, "--bundle", bundle)
    for writer in pipes.values():
        writer.join()
    assert (code, err) == (0, "")


@pytest.mark.parametrize("which", ["artifact", "bundle", "root", "list"])
def test_standard_input(desk: Desk, which: str) -> None:
    files = {"artifact": desk.artifact, "bundle": desk.bundle, "root": desk.root}
    names = {one: "-" if one == which else str(file) for one, file in files.items()}
    words = [names["artifact"], "--bundle", names["bundle"]]
    sent = files.get(which, desk.artifact).read_bytes()
    if which == "list":
        words, sent = ["--from-file", "-"], f"{desk.artifact}\t{desk.bundle}\n".encode()
    done = subprocess.run(
        [
            *(*ATTESTOR, "--home", str(desk.directory / "home"), "verify", *words, *KEYLESS),
            *("--trusted-root", names["root"]),
        ],
        input=sent,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # It was named, so somebody expects a store there.
    assert done.stderr.startswith(b"Warning: no store at ") and done.stderr.count(b"\n") == 1
    assert b": VERIFIED" in done.stdout


def test_standard_input_is_there_once_and_has_nothing_beside_it(desk: Desk) -> None:
    assert desk.verify("-", "--bundle", "-")[0] == 2
    assert desk.verify("-")[0] == 2


def test_a_directory_is_wrong_usage(desk: Desk) -> None:
    code, _, err = desk.verify(desk.directory)
    assert code == 2
    assert "is a directory" in err
    assert desk.verify(desk.artifact, "--bundle", desk.directory)[0] == 2


def test_a_digest_is_a_digest_whatever_lies_there_under_that_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.directory)
    digest = "sha256:" + "ab" * 32  # nobody signed this
    Path(digest).write_bytes(ARTIFACT)
    code, _, err = desk.verify(digest, "--bundle", desk.bundle)
    assert code == 3
    assert "the artifact is sha256:abab" in err
    assert desk.verify(f"./{digest}", "--bundle", desk.bundle)[0] == 0


def test_a_list_with_windows_line_ends(desk: Desk) -> None:
    names = desk.directory / "list"
    names.write_bytes(f"{desk.artifact}\t{desk.bundle}\r\n\r\n".encode() * 2)
    code, out, err = desk.verify("--from-file", names, "--jsonl")
    assert (code, err) == (0, "")
    assert [json.loads(line)["ok"] for line in out.splitlines()] == [True, True]


def test_questions_are_answered_as_they_come_in_order(desk: Desk) -> None:
    """One process, a question, its answer, the next: flushed, whatever is wrong with one."""
    other = desk.directory / "other"
    other.write_bytes(b"not signed")
    asked = [*ATTESTOR, "--home", str(desk.directory / "home"), "verify", "--from-file", "-"]
    asked += ["--jsonl", *KEYLESS, "--trusted-root", str(desk.root)]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for artifact, ok in [(desk.artifact, True), (other, False), ("none", False)] * 3:
            process.stdin.write(f"{artifact}\t{desk.bundle}\n".encode())
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert (answer["file"], answer["ok"]) == (str(artifact), ok)
        process.stdin.close()
        assert process.wait() == 3


def test_a_stream_for_people_ends_with_the_worst(desk: Desk) -> None:
    lines = f"none\t{desk.bundle}\n{desk.artifact}\t{desk.bundle}\n"
    code, out, err = desk.listed(lines, "-")
    assert code == 5
    assert out.count(": VERIFIED") == 1
    assert err.startswith("Error: none is not there; look at the name")
    assert "1 of 2 are not verified" in err


def test_claims_can_be_demanded_by_name_by_number_and_as_cosign_does(desk: Desk) -> None:
    raw = {f"1.3.6.1.4.1.57264.1.{arc}": text.encode() for arc, text in _WORKFLOW.items()}
    plan = LeafPlan(claims={"12": "https://example.com/repo", "20": "push"}, raw_extensions=raw)
    desk.write(MADE.v2_bundle(MADE.sign_artifact(plan=plan)))
    good = [
        *("--oid", "source-repository-uri=https://example.com/repo"),
        *("--oid", "1.3.6.1.4.1.57264.1.20=push"),
        *("--certificate-github-workflow-trigger", "push"),
        *("--certificate-github-workflow-sha", "abc"),
        *("--certificate-github-workflow-name", "release"),
        *("--certificate-github-workflow-repository", "example/repo"),
        *("--certificate-github-workflow-ref", "refs/heads/main"),
    ]
    code, _, err = desk.verify(desk.artifact, *good)
    assert (code, err) == (0, "")
    for position in range(1, len(good), 2):
        bad = [*good]
        bad[position] += "x"
        code, out, _ = desk.verify(desk.artifact, *bad, "--json")
        assert (code, json.loads(out)["error"]["reason"]) == (3, "claim")
    code, _, err = desk.verify(desk.artifact, "--oid", "build-config-uri=x")
    assert code == 3
    assert "expected 'x', got none" in err
    code, _, err = desk.verify(desk.artifact, "--oid", "1.2.3.4=x")
    assert code == 3


_WORKFLOW = {"2": "push", "3": "abc", "4": "release", "5": "example/repo", "6": "refs/heads/main"}


@pytest.mark.parametrize(
    "words",
    [
        ["--oid", "nonsense=x"],
        ["--oid", "build-trigger"],
        ["--oid", "build-trigger="],
        ["--oid", "1..2=x"],
        ["--oid", "build-trigger=a", "--oid", "build-trigger=b"],
    ],
)
def test_a_claim_that_nobody_makes_is_wrong_usage(desk: Desk, words: list[str]) -> None:
    code, _, err = desk.verify(desk.artifact, *words)
    assert code == 2
    assert "--oid" in err


def test_claims_are_of_certificates(desk: Desk) -> None:
    key = desk.directory / "key"
    key.write_bytes(SIGNER_PEM)
    words: list[str | Path] = [desk.artifact, "--key", key, "--oid", "build-trigger=push"]
    assert desk.verify(*words, keyless=False)[0] == 2


def _key_file(desk: Desk, secret: SigningKey) -> Path:
    key = desk.directory / "key.pem"
    public = secret.public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def test_a_wrong_ed25519_key_is_not_the_key_that_signed(desk: Desk) -> None:
    """A P-256 key signed SHA-256; that an Ed25519 key signs SHA-512 leaves nothing open."""
    bundle = MADE.v2_bundle(MADE.sign_artifact(managed=True))
    desk.write(bundle)
    key = _key_file(desk, Ed25519PrivateKey.generate())
    root = ("--trusted-root", str(desk.root))
    digest = f"sha256:{hashlib.sha256(ARTIFACT).hexdigest()}"
    for artifact in (desk.artifact, digest):
        words: list[str | Path] = [artifact, "--bundle", desk.bundle, "--key", key, *root]
        code, out, _ = desk.verify(*words, "--json", keyless=False)
        assert (code, json.loads(out)["error"]["reason"]) == (3, "bad-signature")
        _, _, err = desk.verify(*words, keyless=False)
        assert "another key made it" in err
    # One of its own length beside a SHA-256 digest: the file has what it takes, a digest has not.
    bundle["messageSignature"]["signature"] = base64(bytes(64))
    desk.write(bundle)
    words = ["--bundle", desk.bundle, "--key", key, *root, "--json"]
    code, out, _ = desk.verify(desk.artifact, *words, keyless=False)
    assert (code, json.loads(out)["error"]["reason"]) == (3, "bad-signature")
    code, out, _ = desk.verify(digest, *words, keyless=False)
    assert (code, json.loads(out)["error"]["reason"]) == (5, "digest-algorithm")


@pytest.mark.parametrize(
    ("option", "pattern", "step"),
    [
        ("identity", f"^{IDENTITY[:9]}", "end the pattern with .*"),
        ("identity", f"x|{IDENTITY[:9]}", "end the pattern with .*"),
        ("identity", f"{IDENTITY[:9]}|x", "write a pattern for all of its name"),
        ("identity", f"{IDENTITY[3:]}$", "write a pattern for all of its name"),
        ("oidc-issuer", "^https://", "end the pattern with .*"),
    ],
)
def test_a_pattern_that_matches_only_a_part_says_so(
    desk: Desk, option: str, pattern: str, step: str
) -> None:
    both = {"identity": IDENTITY, "oidc-issuer": ISSUER}
    del both[option]
    (other, value), *_ = both.items()
    words: list[str | Path] = [desk.artifact, f"--certificate-{other}", value]
    words += ["--trusted-root", desk.root]
    name = f"--certificate-{option}-regexp"
    code, _, err = desk.verify(*words, name, pattern, keyless=False)
    assert code == 3
    assert f"the pattern {pattern!r} matches only a part; it has to match all of it" in err
    assert step in err
    code, _, err = desk.verify(*words, name, f"(?:{pattern.rstrip('$')}).*", keyless=False)
    assert code == (3 if IDENTITY[3:] in pattern else 0)
    code, _, err = desk.verify(*words, name, "^evil", keyless=False)
    assert code == 3
    assert "expected '^evil'" in err
    assert "only a part" not in err


def test_an_attestation_of_another_type_is_not_what_was_asked_for(desk: Desk) -> None:
    ours, option = "https://example.com/predicate", "--predicate-type"
    said = f"expected an attestation of type '{ours}', got a signature of the artifact"
    code, _, err = desk.verify(desk.artifact, option, ours)
    assert (code, said in err) == (3, True)
    desk.write(MADE.v2_bundle(MADE.sign_statement()))
    code, out, err = desk.verify(desk.artifact, option, ours)
    assert (code, err) == (0, "")
    assert f"\n  predicate  {ours}\n" in out
    for other in (ours + "/", ours.upper(), ours[:-1], ".*"):
        code, out, _ = desk.verify(desk.artifact, option, other, "--json")
        assert (code, json.loads(out)["error"]["reason"]) == (3, "predicate-type")
    assert desk.verify(desk.artifact, option, "")[0] == 2  # an unset variable demands nothing
    asked: dict[str, Any] = {"identity": IDENTITY, "issuer": ISSUER, "trusted_root": desk.root}
    assert attestor.verify(desk.artifact, **asked, predicate_type=ours).ok
    verdict = attestor.verify(desk.artifact, **asked, predicate_type="other")
    assert (verdict.code, verdict.reason) == (3, "predicate-type")
    desk.bundle.write_bytes(b"c2sp.org/tlog-proof@v1\n")
    policy = desk.directory / "policy"
    policy.write_text("quorum none\n", "utf-8")
    words: list[str | Path] = [desk.artifact, "--policy", policy, "--json"]
    code, out, _ = desk.verify(*words, option, ours, keyless=False)
    assert (code, json.loads(out)["error"]["reason"]) == (8, "no-signature")


def test_what_is_not_logged_is_not_covered_by_any_mirror(desk: Desk) -> None:
    desk.write(MADE.bundle(MADE.sign_artifact(), None))
    assert desk.verify(desk.artifact)[0] == 8
    code, out, _ = desk.verify(desk.artifact, "--allow-unlogged")
    assert code == 0
    assert "it was never logged" in out
    code, out, _ = desk.verify(desk.artifact, "--allow-unlogged", "--require-mirror", "--json")
    assert (code, json.loads(out)["error"]["reason"]) == (5, "not-covered")


def test_several_entries_one_of_them_mirrored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.mirror.mirrors import make_mirror, sync_from

    desk = Desk(tmp_path, capsys)
    log = SimulatedLog()
    request = sign_request(ARTIFACT)
    index = log_request(log, request)
    mirror = make_mirror(tmp_path / "home", log)
    bundle = json.loads(bundle_of(log, request, index))
    sync_from(mirror, log)
    unknown = json.loads(json.dumps(bundle["verificationMaterial"]["tlogEntries"][0]))
    unknown["logId"]["keyId"] = "A" * 43 + "="
    bundle["verificationMaterial"]["tlogEntries"].insert(0, unknown)
    desk.write(bundle)
    key = tmp_path / "key"
    key.write_bytes(SIGNER_PEM)
    words: list[str | Path] = [desk.artifact, "--key", key]
    code, out, _ = desk.verify(*words, "--json", keyless=False)
    assert (code, json.loads(out)["error"]["reason"]) == (8, "log-entry-count")
    more = ["--allow-several-entries", "--require-mirror"]
    code, out, err = desk.verify(*words, *more, keyless=False)
    assert (code, err) == (0, "")
    assert "covered by our mirror" in out


def test_a_recorded_signature_over_the_file_itself_is_judged_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, capsys)
    session = Session(home=tmp_path / "home", now=lambda: NOW)
    assert run(["init"], session) == 0
    assert run(["trust", "import", str(desk.root)], session) == 0
    secret = Ed25519PrivateKey.generate()
    signed = MADE.sign_artifact(secret, algorithm="sha512", managed=True)
    desk.write(MADE.v2_bundle(signed))
    key = _key_file(desk, secret)
    capsys.readouterr()
    assert run(["verify", str(desk.artifact), "--key", str(key), "--record"], session) == 0
    assert run(["verdicts", "recheck"], session) == 0
    assert "1 verdicts judged again, 0 changed" in capsys.readouterr().out


GOOD = "{good}\t{bundle}\n"
LINES = f"{GOOD}# comment\n\n  \nno-tab\n\tno-artifact\nsha256:abc\tb\nnul\0\tb\n{GOOD}"


@pytest.mark.parametrize("how", ["file", "-"])
@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_a_malformed_line_is_an_outcome_and_the_next_is_judged(
    desk: Desk, how: str, form: str
) -> None:
    code, out, _ = desk.listed(LINES.format(good=desk.artifact, bundle=desk.bundle), how, form)
    found = [json.loads(line) for line in out.splitlines()]
    if form == "--json":
        assert found[0]["error"]["reason"] == "malformed"
        found = found[0]["data"]["artifacts"]
    assert code == 2
    assert [one["ok"] for one in found] == [True, *[False] * 5, True]
    assert [one["exitCode"] for one in found] == [0, *[2] * 5, 0]
    bad = found[1:-1]
    assert {one["reason"] for one in bad} == {"malformed"}
    name = desk.directory / "list" if how == "file" else "-"
    for number, one in zip((2, 5, 6, 7, 8), bad, strict=True):
        assert one["message"].startswith(f"{name}:{number}: expected ")
        assert one["next"] == "look at what writes the list: a line is ARTIFACT <tab> BUNDLE"
        assert (one["artifact"], one["file"], one["bundle"]) == (None, None, None)
    assert bad[0]["message"].endswith("expected ARTIFACT <tab> BUNDLE, got '# comment'")


def test_what_is_worse_than_a_malformed_line_is_the_code(desk: Desk) -> None:
    lines = f"# comment\nnone\t{desk.bundle}\n{desk.artifact}\t{desk.bundle}\n"
    code, out, err = desk.listed(lines, "-")
    assert code == 5
    assert "-:1: expected ARTIFACT <tab> BUNDLE, got '# comment'; look at" in err
    assert out.count(": VERIFIED") == 1


@pytest.mark.parametrize("how", ["file", "-"])
@pytest.mark.parametrize("line", ["-\t{bundle}", "{artifact}\t-"])
def test_a_list_does_not_eat_itself(desk: Desk, how: str, line: str) -> None:
    """Standard input may be the list, and of two lines the second would find nothing there."""
    bad = line.format(artifact=desk.artifact, bundle=desk.bundle)
    lines = f"{bad}\n{bad}\n{desk.artifact}\t{desk.bundle}\n"
    code, out, _ = desk.listed(lines, how, "--jsonl")
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, [one["exitCode"] for one in found]) == (2, [2, 2, 0])
    assert found[0]["reason"] == "malformed" and "a list names files" in found[0]["message"]


def test_what_did_not_verify_was_compared_with_nothing(desk: Desk) -> None:
    desk.artifact.write_bytes(b"another")
    code, out, _ = desk.verify(desk.artifact, "--json")
    (found,) = json.loads(out)["data"]["artifacts"]
    assert (code, found["exitCode"], found["ownView"]["coverage"]) == (3, 3, "not-compared")


def test_a_list_with_a_byte_order_mark_says_so_and_the_next_line_is_judged(desk: Desk) -> None:
    line = f"{desk.artifact}\t{desk.bundle}\n"
    code, out, _ = desk.listed(f"\ufeff{line}{line}", "file", "--jsonl")
    first, second = map(json.loads, out.splitlines())
    assert (code, first["reason"], second["ok"]) == (8, "text-encoding", True)
    assert "without a byte order mark" in first["message"]


def test_a_line_that_is_too_long_ends_the_list_and_loses_no_verdict(desk: Desk) -> None:
    lines = f"{desk.artifact}\t{desk.bundle}\n{'x' * 70_000}\n"
    code, out, _ = desk.listed(lines, "file", "--json")
    found = json.loads(out)["data"]["artifacts"]
    assert (code, [one["ok"] for one in found]) == (8, [True, False])
    assert found[1]["reason"] == "limit"
    assert found[1]["next"].endswith("nothing after line 1 was read")


def test_a_line_without_a_bundle_means_the_one_beside_the_artifact(desk: Desk) -> None:
    alone = desk.directory / "alone"
    alone.write_bytes(ARTIFACT)
    lines = f"{desk.artifact}\t\n{alone}\t\n{desk.directory}/none\t\n{'x' * 300}\t\n"
    code, out, _ = desk.listed(lines, "file", "--jsonl")
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["reason"] for one in found] == ["", "no-bundle", "no-file", "no-file"]
    assert found[0]["ok"] and not found[0]["next"] and found[0]["bundle"] == str(desk.bundle)
    assert code == 5


def test_what_cannot_be_verified_says_what_to_do_next(desk: Desk) -> None:
    damaged, empty = desk.directory / "damaged", desk.directory / "empty"
    damaged.write_bytes(b"damaged")
    empty.touch()
    missing = desk.directory / "missing"
    for words, expected, message, step in (
        ([damaged, "--bundle", desk.bundle], 3, "bundle is for sha256:", "do not use it; get the"),
        ([missing], 5, "missing is not there", "look at the name, and whether the medium is"),
        ([desk.artifact, "--bundle", empty], 3, f"{empty}: the file is empty", "get it again"),
    ):
        code, out, _ = desk.verify(*words, "--json")
        answer = json.loads(out)
        [found] = answer["data"]["artifacts"]
        assert code == expected
        assert message in answer["error"]["message"]
        assert answer["error"]["next"].startswith(step)
        assert found["next"] == answer["error"]["next"]

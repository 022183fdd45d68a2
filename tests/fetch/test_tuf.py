"""Following a real TUF repository: what is walked, what is refused, and whose fault it is."""

from __future__ import annotations

import json
import tempfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey
from tuf.api.metadata import Metadata, Root

from appliance.errors import (
    ApplianceError,
    DigestError,
    LimitError,
    MalformedError,
    RemoteError,
    SignatureError,
    StoreError,
    VerificationError,
)
from appliance.fetch.http import HttpClient
from appliance.fetch.public_good import PUBLIC_GOOD, STAGING, Instance
from appliance.fetch.tuf import BoundedFetcher, Followed, fetch_root, follow, over_http
from appliance.fetch.tuf_metadata import verify_chain
from tests.fetch.conftest import OpenClient
from tests.fetch.hostile_server import (
    HostileServer,
    Reply,
    chunked,
    close,
    drip,
    flood,
    ok,
    raw,
    reset,
    status,
)
from tests.fetch.tuf_repository import Repository, days_from_now, signed

ROOT = b'{"trusted": "root"}'
CONFIG = b'{"signing": "config"}'


@pytest.fixture
def repository(tmp_path: Path, server: HostileServer) -> Repository:
    files = {"trusted_root.json": ROOT, "signing_config.v0.2.json": CONFIG, "artifact.pub": b"no"}
    made = Repository(tmp_path / "tuf", files)
    server.directory = made.directory
    return made


@pytest.fixture(autouse=True)
def no_trace_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


def known(followed: Followed) -> dict[str, bytes]:
    newest = (followed.timestamp, followed.snapshot, followed.targets)
    return {one.role: one.raw for one in newest}


def refused(
    client: HttpClient,
    server: HostileServer,
    root: bytes,
    before: Followed | None = None,
) -> ApplianceError:
    with pytest.raises(ApplianceError) as caught:
        follow(over_http(client), server.url, root, {} if before is None else known(before))
    return caught.value


def test_the_first_time_everything_is_walked_and_returned(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    first = repository.read("1.root.json")
    followed = follow(over_http(client), server.url, first, {})
    assert [(one.role, one.version, one.raw) for one in followed.roots] == [("root", 1, first)]
    assert followed.timestamp.raw == repository.read("timestamp.json")
    assert followed.snapshot.raw == repository.read("1.snapshot.json")
    assert followed.targets.raw == repository.read("1.targets.json")
    assert followed.files == (("signing_config.v0.2.json", CONFIG), ("trusted_root.json", ROOT))
    assert followed.timestamp.expires_at == pytest.approx(days_from_now(7).timestamp(), abs=60)


def test_roots_are_walked_over_several_rotations_and_all_returned(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    first = repository.read("1.root.json")
    repository.rotate("root")
    repository.rotate("targets", days=-3)  # one between may have run out
    repository.rotate("root", "timestamp", "snapshot")
    repository.publish()
    followed = follow(over_http(client), server.url, first, {})
    assert [one.version for one in followed.roots] == [1, 2, 3, 4]
    assert [one.raw for one in followed.roots] == [
        repository.read(f"{version}.root.json") for version in (1, 2, 3, 4)
    ]


def test_what_is_known_is_not_fetched_again(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    root = repository.read("1.root.json")
    before = follow(over_http(client), server.url, root, {})
    server.requests.clear()
    assert follow(over_http(client), server.url, root, known(before)) == before
    assert [target for target in server.targets if "targets/" not in target] == [
        "/2.root.json",
        "/timestamp.json",
    ]


def test_an_older_timestamp_than_was_stored_is_a_rollback(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    root, old = repository.read("1.root.json"), repository.read("timestamp.json")
    repository.publish()
    before = follow(over_http(client), server.url, root, {})
    repository.write("timestamp.json", old)
    error = refused(client, server, root, before)
    assert (type(error), error.reason) == (VerificationError, "tuf-rollback")
    assert "must be >= 2" in error.message
    follow(over_http(client), server.url, root, {})  # whoever knows nothing cannot tell


def test_a_new_timestamp_over_an_older_snapshot_is_a_rollback(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    root = repository.read("1.root.json")
    repository.publish()
    before = follow(over_http(client), server.url, root, {})
    repository.versions |= {"timestamp": 3, "snapshot": 1}
    repository.publish_timestamp()
    assert refused(client, server, root, before).reason == "tuf-rollback"


def test_an_older_targets_version_under_new_signatures_is_a_rollback(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    root = repository.read("1.root.json")
    repository.publish()
    before = follow(over_http(client), server.url, root, {})
    repository.versions |= {"timestamp": 3, "snapshot": 3, "targets": 1}
    repository.publish_snapshot(repository.read("1.targets.json"))
    repository.publish_timestamp()
    assert refused(client, server, root, before).reason == "tuf-rollback"


def test_after_new_timestamp_keys_the_old_floor_is_void(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    root = repository.read("1.root.json")
    repository.versions |= {"timestamp": 1000}  # somebody stole the key and ran ahead
    repository.publish()
    before = follow(over_http(client), server.url, root, {})
    repository.rotate("timestamp", "snapshot")
    repository.versions |= {"timestamp": 5}
    repository.publish()
    assert follow(over_http(client), server.url, root, known(before)).timestamp.version == 6


@pytest.mark.parametrize("days", [{"timestamp_days": -1}, {"snapshot_days": -1}])
def test_what_ran_out_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient, days: dict[str, float]
) -> None:
    repository.publish(**days)
    error = refused(client, server, repository.read("1.root.json"))
    assert (type(error), error.reason) == (VerificationError, "tuf-expired")
    assert "clock" in error.next_step


def test_a_newest_root_that_ran_out_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    repository.rotate("root", days=-1)
    error = refused(client, server, repository.read("1.root.json"))
    assert error.reason == "tuf-expired" and "root" in error.message


@pytest.mark.parametrize(
    "signers", ["too few of the old", "too few of the new", "one of the old, twice", "strangers"]
)
def test_a_new_root_without_enough_signatures_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient, signers: str
) -> None:
    first, old = repository.read("1.root.json"), repository.signers["root"]
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    repository.signers["root"] = new
    repository.publish_root(
        {
            "too few of the old": [old[0], *new],
            "too few of the new": [*old, new[0]],
            "one of the old, twice": [old[0], old[0], *new],
            "strangers": [CryptoSigner.generate_ed25519() for _ in range(4)],
        }[signers]
    )
    error = refused(client, server, first)
    assert (type(error), error.reason) == (SignatureError, "tuf-signature")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_signed_by_a_stranger_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient, role: str
) -> None:
    repository.with_digests = False  # else the hash would tell first
    n_keys = len(repository.signers[role])
    repository.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(n_keys)]
    repository.publish()
    error = refused(client, server, repository.read("1.root.json"))
    assert (error.reason, role in error.message) == ("tuf-signature", True)


def test_one_signature_of_two_is_not_enough_for_targets(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    repository.signers["targets"] = repository.signers["targets"][:1]
    repository.publish()
    assert refused(client, server, repository.read("1.root.json")).reason == "tuf-signature"


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [(0, "", ""), (0, " ", "\n"), (1, "", "\n"), (1, "\n", ""), (1, "a note\n", "")],
    ids=["hex", "hex and space", "PEM", "PEM after a line", "PEM after a note"],
)
def test_one_key_under_two_ids_is_one_signer(
    repository: Repository,
    server: HostileServer,
    client: HttpClient,
    key: int,
    before: str,
    after: str,
) -> None:
    """python-tuf counts key ids; whoever edits a root could give one signer two of them."""
    signer = repository.signers["root"][key]
    public = signer.public_key
    other_spelling = {"public": before + public.keyval["public"] + after}
    alias = SSlibKey("f" * 64, public.keytype, public.scheme, other_spelling)
    root = Metadata[Root].from_bytes(repository.read("1.root.json")).signed
    root.roles["root"].keyids = []
    root.add_key(public, "root")
    root.add_key(alias, "root")
    metadata = Metadata(root)
    signature = metadata.sign(signer)
    metadata.signatures[alias.keyid] = Signature(alias.keyid, signature.signature)
    metadata.verify_delegate("root", metadata)  # python-tuf is content
    error = refused(client, server, metadata.to_bytes())
    assert (type(error), error.reason) == (SignatureError, "tuf-signature")
    assert "2 different keys of root version 1, got 1" in error.message


@pytest.mark.parametrize("name", ["trusted_root.json", "signing_config.v0.2.json"])
@pytest.mark.parametrize("change", [b"", b"x", b"longer than it was announced to be"])
def test_a_tampered_target_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient, name: str, change: bytes
) -> None:
    repository.write(repository.target_path(name), change)
    error = refused(client, server, repository.read("1.root.json"))
    assert isinstance(error, DigestError | LimitError)
    assert error.reason in ("tuf-digest", "limit")


@pytest.mark.parametrize("with_digests", [True, False])
@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_parts_of_two_states_are_not_one(
    repository: Repository,
    server: HostileServer,
    client: HttpClient,
    role: str,
    with_digests: bool,
) -> None:
    """Mix-and-match: version 1 of one file among version 2 of the rest."""
    repository.with_digests = with_digests
    repository.publish()
    repository.write(f"2.{role}.json", repository.read(f"1.{role}.json"))
    error = refused(client, server, repository.read("1.root.json"))
    # A DER signature is now and then a byte longer: then it is the announced length that tells.
    assert error.reason in ({"tuf-digest", "limit"} if with_digests else {"tuf-rollback"})


def test_a_root_of_the_wrong_version_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    first = repository.read("1.root.json")
    repository.rotate("root")
    repository.rotate("root")
    repository.write("2.root.json", repository.read("3.root.json"))
    assert refused(client, server, first).reason in ("tuf-rollback", "tuf-signature")
    repository.write("2.root.json", first)
    assert refused(client, server, first).reason == "tuf-rollback"


NOT_METADATA = {
    "empty": b"",
    "not JSON": b"{signed",
    "a page for people": b"<html>",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no signatures": b'{"signed": {}}',
    "another type": None,
    "a huge number": b'{"signed": {"version": ' + b"9" * 5000 + b"}}",
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json"])
@pytest.mark.parametrize("case", NOT_METADATA)
def test_what_is_no_metadata_is_malformed(
    repository: Repository, server: HostileServer, client: HttpClient, name: str, case: str
) -> None:
    first = repository.read("1.root.json")
    bad = NOT_METADATA[case]
    repository.write(name, repository.read("1.targets.json") if bad is None else bad)
    error = refused(client, server, first)
    if case == "a page for people":  # a sign-in page in its place is no word of the repository
        assert (type(error), error.reason) == (RemoteError, "not-what-was-asked")
        return
    assert isinstance(error, VerificationError | LimitError)
    assert error.reason in ("tuf-malformed", "tuf-repository", "limit")


def test_a_threshold_of_zero_is_malformed(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    document = json.loads(repository.read("1.root.json"))
    document["signed"]["roles"]["root"]["threshold"] = 0
    document["signatures"] = []
    error = refused(client, server, json.dumps(document).encode())
    assert (type(error), error.reason) == (MalformedError, "tuf-malformed")


def test_a_version_beyond_all_reason_is_malformed(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    repository.versions["timestamp"] = 2**53
    repository.publish()
    error = refused(client, server, repository.read("1.root.json"))
    assert (type(error), error.reason) == (MalformedError, "tuf-malformed")
    assert "9007199254740993" in error.message


def test_a_version_that_is_true_is_malformed(repository: Repository) -> None:
    assert repository.root is not None
    repository.root.version = True
    raw = signed(repository.root, repository.signers["root"])
    assert b'"version":true' in raw.replace(b" ", b"")
    others = {one: repository.read(name) for one, name in OTHERS.items()}
    with pytest.raises(MalformedError) as caught:
        verify_chain((raw,), others)
    assert caught.value.reason == "tuf-malformed"


OTHERS = {
    "timestamp": "timestamp.json",
    "snapshot": "1.snapshot.json",
    "targets": "1.targets.json",
}


def test_python_tuf_gets_nothing_but_by_our_client(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    fetcher = BoundedFetcher(over_http(client))
    url = f"{server.url}timestamp.json"
    assert b"".join(fetcher.fetch(url)) == repository.read("timestamp.json")
    assert fetcher.download_bytes(url, 5000) == repository.read("timestamp.json")
    with pytest.raises(LimitError):
        fetcher.download_bytes(url, 5)


def test_a_root_given_that_is_not_signed_by_itself_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    bad = signed(repository.root, [CryptoSigner.generate_ed25519()])
    assert refused(client, server, bad).reason == "tuf-signature"
    targets = repository.read("1.targets.json")
    assert refused(client, server, targets).reason == "tuf-repository"
    assert server.requests == []


def test_a_repository_without_a_trusted_root_is_refused(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    del repository.files["trusted_root.json"]
    repository.publish()
    assert refused(client, server, repository.read("1.root.json")).reason == "tuf-no-trusted-root"


def test_more_or_larger_files_than_legitimate_are_refused_before_they_are_fetched(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    first = repository.read("1.root.json")
    repository.files |= {f"signing_config.{number}.json": b"{}" for number in range(16)}
    repository.publish()
    assert isinstance(refused(client, server, first), LimitError)
    repository.files = {"trusted_root.json": b"0" * (2 * 1024 * 1024 + 1)}
    repository.publish()
    assert isinstance(refused(client, server, first), LimitError)
    assert not any("targets/" in target for target in server.targets)


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/2.root.json", LimitError),
        ("/timestamp.json", LimitError),
        ("/1.snapshot.json", LimitError),
        ("/1.targets.json", LimitError),
    ],
)
def test_an_endless_answer_ends(
    repository: Repository,
    server: HostileServer,
    client: HttpClient,
    path: str,
    family: type[ApplianceError],
) -> None:
    head = raw("HTTP/1.1 200 OK", "Connection: close")
    server.on(path, flood(head, b"{" * 65536))
    assert isinstance(refused(client, server, repository.read("1.root.json")), family)


def test_a_server_that_drips_is_given_up(
    repository: Repository, server: HostileServer, open_client: OpenClient
) -> None:
    server.on("/timestamp.json", drip(ok(repository.read("timestamp.json")), 0.05))
    client = open_client(attempts=1, request_seconds=0.5)
    error = refused(client, server, repository.read("1.root.json"))
    assert (type(error), error.reason) == (RemoteError, "timeout")


UNANSWERED: dict[str, Reply] = {
    "not-found": status(404),
    "http-status": status(403),
    "unavailable": status(503),
    "redirect": status(302, b"", "Location: https://elsewhere.example/"),
    "cut-body": close(chunked(b"{", end=b"")),
    "unreachable": reset(),
}


@pytest.mark.parametrize("reason", UNANSWERED)
def test_what_cannot_be_fetched_is_the_servers_fault(
    repository: Repository, server: HostileServer, client: HttpClient, reason: str
) -> None:
    server.on("/timestamp.json", UNANSWERED[reason])
    error = refused(client, server, repository.read("1.root.json"))
    assert (type(error), error.reason) == (RemoteError, reason)
    assert "timestamp.json" in error.message


def test_a_full_temporary_directory_is_ours_to_mend(
    repository: Repository,
    server: HostileServer,
    client: HttpClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    error = refused(client, server, repository.read("1.root.json"))
    assert (type(error), error.reason) == (StoreError, "temporary-directory")


def test_the_first_root_is_fetched_by_its_digest_and_no_other(
    repository: Repository, server: HostileServer, client: HttpClient
) -> None:
    repository.rotate("root")
    second = repository.read("2.root.json")
    digest = sha256(second).digest()
    assert fetch_root(over_http(client), server.url, digest) == second
    assert fetch_root(over_http(client), server.url, digest, 2) == second
    for version in (None, 1):
        with pytest.raises(DigestError) as caught:
            fetch_root(
                over_http(client), server.url, b"\x00" * 32 if version is None else digest, version
            )
        assert caught.value.reason == "tuf-root-digest"
    with pytest.raises(RemoteError, match=r"9\.root\.json: not found"):
        fetch_root(over_http(client), server.url, digest, 9)


@pytest.mark.parametrize("instance", [PUBLIC_GOOD, STAGING], ids=lambda one: one.name)
def test_the_shipped_roots_are_those_sigstore_python_carries(instance: Instance) -> None:
    from importlib.resources import files

    place = quote(instance.repository_url.rstrip("/"), safe="")
    raw_root = files("sigstore").joinpath("_store", place, "root.json").read_bytes()
    carried = Metadata[Root].from_bytes(raw_root).signed.version
    if carried != instance.root_version:
        pytest.skip(f"this sigstore-python carries version {carried}, not {instance.root_version}")
    assert sha256(raw_root).digest() == instance.root_digest


@pytest.mark.parametrize(
    ("name", "step"), [("2.root.json", 131), ("timestamp.json", 17), ("2.targets.json", 53)]
)
def test_a_flipped_byte_is_refused_or_means_nothing(
    repository: Repository, server: HostileServer, client: HttpClient, name: str, step: int
) -> None:
    repository.with_digests = False  # so that signatures alone have to tell
    first = repository.read("1.root.json")
    repository.rotate("root")
    repository.publish()
    honest = follow(over_http(client), server.url, first, {})
    data = repository.read(name)
    n_refused = 0
    for position in range(0, len(data), step):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        repository.write(name, bytes(flipped))
        try:
            found = follow(over_http(client), server.url, first, {})
        except VerificationError:
            n_refused += 1
        else:  # one of three signatures, of which two are enough
            assert [one.version for one in found.roots] == [1, 2]
            assert found.files == honest.files
    assert n_refused > len(data) // step // 4

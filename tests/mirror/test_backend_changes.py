"""Adding a log: which key files are taken, what is refused; asking after its key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import (
    ArgumentError,
    ConfigError,
    IncompleteError,
    MalformedError,
    SignatureError,
)
from appliance.jobs.mirror.backends import NewBackend, add_backend, examine_key, parse_log_key
from appliance.store.database import Store, create_store
from appliance.store.mirror.logs import Backend, add_log, all_logs, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.cosignature import cosigner_key
from appliance.tlog.note import SigningKey
from appliance.value import replaced
from tests.mirror.mirrors import make_mirror, sync_from
from tests.private_log.private_homes import home_in_memory
from tests.simulator import SimulatedLog

ORIGIN = "log.example"
SIGNER = SigningKey(ORIGIN, b"\x01" * 32)
SPKI = SIGNER.verifier.spki
PEM = b"-----BEGIN PUBLIC KEY-----\n" + b64encode(SPKI) + b"\n-----END PUBLIC KEY-----\n"
LOW_ORDER = SPKI[:12] + bytes(32)

NOW = 1_760_000_000


@pytest.fixture
def store() -> Iterator[Store]:
    with home_in_memory() as home:
        opened = create_store(home)
        yield opened
        opened.close()


def new(**changes: Any) -> NewBackend:
    plain = NewBackend("public", ORIGIN, 2, PEM, "https://log.example/", None, None, None)
    return replaced(plain, **changes)


def add(store: Store, **changes: Any) -> Backend:
    return add_backend(store, new(**changes), NOW, dry_run=False).backend


@pytest.mark.parametrize(
    "key_file", [PEM, SPKI, SIGNER.verifier.vkey.encode(), f"{SIGNER.verifier.vkey}\n".encode()]
)
def test_each_form_of_a_key_is_taken(key_file: bytes) -> None:
    assert parse_log_key(key_file, ORIGIN, 2) == SPKI


def test_an_ecdsa_key_is_taken_in_each_form() -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert parse_log_key(pem, ORIGIN, 2) == parse_log_key(spki, ORIGIN, 1) == spki


@pytest.mark.parametrize(
    ("key_file", "reason"),
    [
        (b"", "malformed"),
        (b"not a key", "malformed"),
        (b"a+b+c", "malformed"),
        (SPKI[:-1], "malformed"),
        (SigningKey("other.example", bytes(32)).verifier.vkey.encode(), "wrong-origin"),
        (cosigner_key(SIGNER).vkey.encode(), "key-type"),
        (f"{SIGNER.verifier.vkey}\n\n".encode(), "malformed"),
    ],
)
def test_what_is_no_key_of_this_log_is_refused(key_file: bytes, reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_log_key(key_file, ORIGIN, 2)
    assert caught.value.reason == reason


def test_a_key_of_low_order_is_refused_and_nothing_is_stored(store: Store) -> None:
    with pytest.raises(MalformedError) as caught:
        add(store, key_file=LOW_ORDER)
    assert caught.value.reason == "low-order-key"
    assert all_logs(store) == ()


def test_a_backend_is_added_once_however_often(store: Store) -> None:
    first = add_backend(store, new(), NOW, dry_run=False)
    again = add_backend(store, new(), NOW, dry_run=False)
    assert (first.key_is_new, again.key_is_new) == (True, False)
    assert first.backend == again.backend
    assert first.backend.base_url == "https://log.example"  # one spelling
    moved = add(store, base_url=None, read_url="http://mirror.example/tiles")
    assert (moved.base_url, moved.read_url) == (None, "http://mirror.example/tiles")


def test_a_dry_run_adds_nothing(store: Store) -> None:
    added = add_backend(store, new(), NOW, dry_run=True)
    assert added.backend.name == "public"
    assert all_logs(store) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "two words"}, "ID: expected a name"),
        ({"name": ""}, "ID: expected a name"),
        ({"origin": " log.example"}, "--origin: expected"),
        ({"base_url": "log.example"}, "--url: expected a URL"),
        ({"base_url": "https://user:secret@log.example"}, "--url: a URL here holds no user"),
        ({"read_url": "ftp://log.example"}, "--read-url: expected a URL"),
        ({"mirror_of": "none"}, "no backend 'none'"),
        ({"mirror_of": "public"}, "no backend 'public'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_stored(
    store: Store, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises((ArgumentError, ConfigError, IncompleteError)) as caught:
        add(store, **changes)
    assert caught.value.message.startswith(said)
    assert all_logs(store) == ()


def test_a_policy_is_stored_if_it_is_one_and_for_this_log(store: Store) -> None:
    good = f"log {SIGNER.verifier.vkey}\nquorum none\n".encode()
    assert add(store, policy=good).log.policy == good
    other = SigningKey(ORIGIN, b"\x02" * 32).verifier.vkey
    with pytest.raises(ConfigError) as caught:
        add(store, policy=f"log {other}\nquorum none\n".encode())
    assert caught.value.reason == "policy-log"
    with pytest.raises(MalformedError):
        add(store, policy=b"no policy")
    assert add(store).log.policy == good  # not mentioned: not changed


# --- whether the key is still the log's


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with home_in_memory() as home:
        log = SimulatedLog()
        made = make_mirror(home, log)
        for more in (3, 4):
            log.grow(more)
            sync_from(made, log)
        yield made
        made.store.close()


def test_the_pinned_key_verifies_the_current_checkpoint_and_the_stored_ones(
    mirror: Mirror,
) -> None:
    log = SimulatedLog()
    log.grow(9)
    backend = require_backend(mirror.store, "sim")
    for note, source, size in ((log.checkpoint(), "url", 9), (None, "stored (simulated log", 7)):
        report = examine_key(mirror.store, backend, note, "url")
        assert report.checkpoint.head.tree_size == size
        assert report.source.startswith(source)
        [term] = report.terms
        assert (term.first_size, term.last_size) == (3, 7)


def test_a_rotated_key_shows_since_when(mirror: Mirror) -> None:
    successor = SigningKey(ORIGIN, b"\x09" * 32)
    log = SimulatedLog()
    log.grow(9)
    with mirror.store.atomic():
        both = add_log(mirror.store, ORIGIN, 2, successor.verifier.spki)
    log.signer = successor
    rotated = Mirror(mirror.store, both)
    sync_from(rotated, log)
    report = examine_key(mirror.store, require_backend(mirror.store, "sim"), None, "")
    terms = {one.key: (one.first_size, one.last_size) for one in report.terms}
    assert terms == {mirror.log.keys[0]: (3, 7), successor.verifier: (9, 9)}
    assert report.checkpoint.signers == (successor.verifier,)


def test_another_key_is_named_beside_ours(mirror: Mirror) -> None:
    stranger = SimulatedLog()
    stranger.signer = SigningKey(ORIGIN, b"\x09" * 32)
    stranger.grow(9)
    backend = require_backend(mirror.store, "sim")
    with pytest.raises(SignatureError) as caught:
        examine_key(mirror.store, backend, stranger.checkpoint(), "url")
    assert mirror.log.keys[0].key_id.hex() in caught.value.message
    assert stranger.key.key_id.hex() in caught.value.message


def test_without_any_note_nothing_can_be_said(store: Store) -> None:
    backend = add(store)
    with pytest.raises(IncompleteError) as caught:
        examine_key(store, backend, None, "")
    assert caught.value.reason == "no-checkpoint"

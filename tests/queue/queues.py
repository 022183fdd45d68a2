"""Stores with queues, a log they know, and what a log answers."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.jobs.mirror.prove import logged_entry
from appliance.jobs.queue.enqueue import Wish, enqueue
from appliance.jobs.queue.settings import read_queue_settings
from appliance.policy.budget import Moment
from appliance.rekor.entry import Digest
from appliance.rekor.request import parse_request
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.sigstore.submission import Submission, submit_message
from appliance.store.database import Store, create_store
from appliance.store.home.settings import read_settings, replace_settings
from appliance.store.mirror.logs import add_log, put_backend
from appliance.store.queue.queue import QueueItem, require_item
from appliance.tlog.checkpoint import open_checkpoint
from tests.queue.signed_files import KEY
from tests.simulator import SimulatedLog

NOW = 1_760_000_000
URL = "http://log.example"
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def new_store(home: Path, log: SimulatedLog, **settings: object) -> Store:
    """Create a store that knows `log` as its server; settings as budget__hourlyLimit=5."""
    store = create_store(home)
    with store.atomic():
        known = add_log(store, log.origin, 2, log.key.spki)
        put_backend(store, "server", known, base_url=URL, read_url=None)
        given = {f"rekor.{name.replace('__', '.')}": one for name, one in settings.items()}
        replace_settings(store, {**read_settings(store), "rekor.serverUrl": URL, **given})
    return store


def submission(content: bytes) -> Submission:
    """Sign something."""
    signature = KEY.sign(content, ec.ECDSA(hashes.SHA256()))
    message = MessageSignature(signature, Digest("sha256", sha256(content).digest()))
    return submit_message(message, VerifierMaterial(SPKI, is_certificate=False))


def add(
    store: Store, content: bytes, tenant: str = "system", *, priority: int = 0, now: int = NOW
) -> QueueItem:
    """Queue a signature over `content`."""
    wish = Wish(tenant=tenant, tier="graph", priority=priority)
    settings = read_queue_settings(store)
    return enqueue(store, submission(content), wish, settings, Moment(now)).item


def answer(log: SimulatedLog, request: bytes) -> bytes:
    """Log a request, or find it, and return the TransparencyLogEntry a server answers."""
    body = parse_request(request).canonical_body
    if body not in log.entries:
        log.grow([body])
    index = log.entries.index(body)
    checkpoint = open_checkpoint(log.checkpoint(), [log.key], log.origin)
    return logged_entry(index, body, checkpoint, log.inclusion_proof(index)).json


def state(store: Store, item: QueueItem) -> str:
    return require_item(store, item.id).state

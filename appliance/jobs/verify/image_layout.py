"""Container images in an OCI image layout, and the Sigstore bundles that refer to them.

A layout is a directory: index.json names images, blobs/sha256 holds everything by digest. A
bundle is attached as a manifest whose subject is the image (a referrer). Nothing in a layout
is believed: each blob that is used has to have the digest by which it is named, and of an
image that verifies every part is read, so that the answer is about what lies there.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import DigestError, IncompleteError, LimitError, MalformedError, RefusedError
from appliance.rekor.protojson import Message, top_message
from appliance.sigstore.attestation_files import MAX_FILE_BYTES
from appliance.store.files import hash_file, names_in, read_foreign, size_of
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024  # what registries take
MAX_BLOBS: Final = 100_000
MAX_PARTS: Final = 10_000  # of one manifest or index
MAX_DEPTH: Final = 4  # an index of indexes of images
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
# What cosign 1 and 2 keep beside an image, tagged sha256-HEX.sig and .att: no bundles.
_OLD_SIGNATURES: Final = (
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dsse.envelope.v1+json",
)
_LAYOUT_VERSION: Final = "1.0.0"
_DIGEST_START: Final = "sha256:"


@frozen
class Image:
    """An image that index.json names, and the bundles that refer to it."""

    digest: str  # of its manifest or index, sha256:HEX
    name: str  # reference that the layout gives it; empty if none
    bundles: tuple[bytes, ...]  # Sigstore bundles, as they lie there


class ImageLayout:
    """One layout, read without following links."""

    def __init__(self, directory: Path) -> None:
        """Open a layout; raises RefusedError if `directory` is none."""
        self._directory = directory
        self.has_old_signatures = False  # of cosign 1 and 2, once images() has looked
        try:
            marker = self._json(directory / "oci-layout", "oci-layout")
        except IncompleteError as error:
            if not directory.is_dir():
                raise
            raise RefusedError(
                f"{directory} is no OCI image layout: it has no file oci-layout",
                reason="no-image-layout",
                next_step="make one: oras copy --recursive --to-oci-layout IMAGE DIR,"
                " or skopeo copy docker://IMAGE oci:DIR",
            ) from error
        version = marker.text("imageLayoutVersion")
        if version != _LAYOUT_VERSION:
            raise RefusedError(
                f"{directory}: expected image layout {_LAYOUT_VERSION}, got {version[:40]!r}",
                reason="no-image-layout",
            )

    def images(self) -> tuple[Image, ...]:
        """Return the images that index.json names, each once, with what refers to them.

        Raises IncompleteError if it names none, and what reading a blob raises.
        """
        referrers: dict[str, list[bytes]] = {}
        attached: set[str] = set()
        for digest, manifest in self._manifests():
            subject = manifest.message("subject")
            if subject is not None:
                attached.add(digest)
                referrers.setdefault(subject.text("digest"), []).extend(self._bundles(manifest))
            elif _is_old_signature(manifest):
                attached.add(digest)
                self.has_old_signatures = True
        names: dict[str, str] = {}
        index = self._json(self._directory / "index.json", "index.json")
        for message in index.messages("manifests", MAX_PARTS):
            digest, name = message.text("digest"), _reference(message)
            # The list of an image's referrers, as registries without that interface keep it.
            if digest not in attached and not name.startswith("sha256-"):
                names[digest] = names.get(digest) or name
        if not names:
            raise IncompleteError(
                f"{self._directory}: index.json names no image", reason="no-image"
            )
        return tuple(
            Image(digest, name, tuple(referrers.get(digest, ()))) for digest, name in names.items()
        )

    def check_parts(self, digest: str, depth: int = MAX_DEPTH) -> int:
        """Check that every part of an image is here with its digest; return how many there are.

        Raises DigestError for a part with other bytes, IncompleteError for one that is not
        here, LimitError for indexes in indexes beyond 4.
        """
        manifest = self._blob_json(digest)
        parts = manifest.messages("layers", MAX_PARTS)
        config = manifest.message("config")
        count = 1
        for part in (*([config] if config else ()), *parts):
            if part.get("urls") is None or self._path(part.text("digest")).exists():
                self._check_blob(part.text("digest"))
                count += 1
        for message in manifest.messages("manifests", MAX_PARTS):
            if depth == 0:
                raise LimitError(f"{digest}: indexes nested deeper than {MAX_DEPTH}")
            count += self.check_parts(message.text("digest"), depth - 1)
        return count

    def _manifests(self) -> Iterator[tuple[str, Message]]:
        """Yield every blob that is a manifest, whatever names it."""
        names = names_in(self._directory / "blobs" / "sha256", MAX_BLOBS)
        for name in names:
            path = self._directory / "blobs" / "sha256" / name
            if size_of(path) > MAX_MANIFEST_BYTES:
                continue
            raw = read_foreign(path, MAX_MANIFEST_BYTES)
            if not raw.startswith(b"{") or sha256(raw).hexdigest() != name:
                continue
            try:
                yield f"{_DIGEST_START}{name}", top_message(parse_json(raw, name), name)
            except (MalformedError, RefusedError):
                continue  # a layer or a configuration that is JSON of its own

    def _bundles(self, manifest: Message) -> Iterator[bytes]:
        for layer in manifest.messages("layers", MAX_PARTS):
            if layer.text("mediaType").startswith(_BUNDLE):
                yield self._blob(layer.text("digest"), MAX_FILE_BYTES)

    def _blob_json(self, digest: str) -> Message:
        return top_message(parse_json(self._blob(digest, MAX_MANIFEST_BYTES), digest), digest)

    def _blob(self, digest: str, max_bytes: int) -> bytes:
        raw = read_foreign(self._path(digest), max_bytes)
        if f"{_DIGEST_START}{sha256(raw).hexdigest()}" != digest:
            raise _wrong(digest, sha256(raw).hexdigest())
        return raw

    def _check_blob(self, digest: str) -> None:
        got = hash_file(self._path(digest), ["sha256"])["sha256"].hex()
        if f"{_DIGEST_START}{got}" != digest:
            raise _wrong(digest, got)

    def _path(self, digest: str) -> Path:
        hexed = digest.removeprefix(_DIGEST_START)
        if hexed == digest or len(hexed) != 64 or set(hexed) - set("0123456789abcdef"):
            raise RefusedError(
                f"image layout: expected a sha256 digest, got {digest[:100]!r}",
                reason="digest-algorithm",
            )
        return self._directory / "blobs" / "sha256" / hexed

    def _json(self, path: Path, what: str) -> Message:
        return top_message(parse_json(read_foreign(path, MAX_MANIFEST_BYTES), what), what)


def _is_old_signature(manifest: Message) -> bool:
    layers = manifest.messages("layers", MAX_PARTS)
    return bool(layers) and all(one.text("mediaType") in _OLD_SIGNATURES for one in layers)


def _reference(descriptor: Message) -> str:
    annotations = descriptor.message("annotations")
    return annotations.text("org.opencontainers.image.ref.name") if annotations else ""


def _wrong(digest: str, got: str) -> DigestError:
    return DigestError(f"image layout: blob {digest} holds bytes of sha256:{got}")

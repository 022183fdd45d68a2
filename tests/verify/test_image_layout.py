"""attestor verify --image-layout: images as they are carried, with what refers to them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.mirror.mirrors import NOW
from tests.pki.authorities import IDENTITY, ISSUER
from tests.pki.bundles import Instance

MADE = Instance()
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class Layout:
    """An OCI layout that is written as oras writes it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capsys = directory / "images", capsys
        self.blobs = self.directory / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', "ascii")
        self.named: list[dict[str, Any]] = []
        self.root = directory / "root.json"
        self.root.write_text(json.dumps(MADE.root()), "utf-8")

    def blob(self, raw: bytes, media_type: str) -> dict[str, Any]:
        digest = sha256(raw).hexdigest()
        (self.blobs / digest).write_bytes(raw)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}

    def manifest(self, **more: Any) -> dict[str, Any]:
        value = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, **more}
        return self.blob(json.dumps(value).encode(), more.get("mediaType", MANIFEST_TYPE))

    def image(self, content: bytes = b"a layer") -> dict[str, Any]:
        config = self.blob(b'{"os":"linux"}', "application/vnd.oci.image.config.v1+json")
        layer = self.blob(content, "application/vnd.oci.image.layer.v1.tar")
        return self.manifest(config=config, layers=[layer])

    def name(self, descriptor: dict[str, Any], reference: str) -> None:
        annotations = {"org.opencontainers.image.ref.name": reference} if reference else {}
        self.named.append({**descriptor, "annotations": annotations})
        (self.directory / "index.json").write_text(json.dumps({"manifests": self.named}), "utf-8")

    def attach(
        self, image: dict[str, Any], bundle: dict[str, Any], kind: str = BUNDLE_TYPE
    ) -> None:
        layer = self.blob(json.dumps(bundle, indent=1).encode(), kind)
        empty = self.blob(b"{}", "application/vnd.oci.empty.v1+json")
        self.manifest(artifactType=kind, config=empty, layers=[layer], subject=image)

    def verify(self, *more: str) -> tuple[int, str, str]:
        words = ["verify", "--image-layout", str(self.directory), *more]
        words += ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]
        session = Session(home=self.directory.parent / "home", now=lambda: NOW)
        code = run([*words, "--trusted-root", str(self.root)], session)
        return (code, *self.capsys.readouterr())


@pytest.fixture
def layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Layout:
    return Layout(tmp_path, capsys)


def signature_of(descriptor: dict[str, Any]) -> dict[str, Any]:
    """Sign an image as cosign does: a statement about the digest of its manifest."""
    hexed = descriptor["digest"].removeprefix("sha256:")
    return MADE.v2_bundle(
        MADE.sign_statement(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": "", "digest": {"sha256": hexed}}],
                "predicateType": "https://sigstore.dev/cosign/sign/v1",
                "predicate": {},
            }
        )
    )


def test_an_image_and_the_bundle_that_refers_to_it(layout: Layout) -> None:
    image = layout.image()
    layout.name(image, "registry.example/app:1")
    layout.attach(image, signature_of(image))
    code, out, err = layout.verify()
    assert (code, err) == (0, "")
    assert f"registry.example/app:1@{image['digest']}: VERIFIED" in out
    code, out, _ = layout.verify("--json")
    (answer,) = json.loads(out)["data"]["artifacts"]
    assert answer["artifact"] == image["digest"]
    assert answer["predicateType"] == "https://sigstore.dev/cosign/sign/v1"


def test_an_index_with_its_platforms_and_a_bundle_of_a_stranger_beside_a_good_one(
    layout: Layout,
) -> None:
    children = [layout.image(b"amd64"), layout.image(b"arm64")]
    index = layout.blob(
        json.dumps({"mediaType": INDEX_TYPE, "manifests": children}).encode(), INDEX_TYPE
    )
    layout.name(index, "app:2")
    stranger = Instance()
    layout.attach(index, stranger.v2_bundle())
    layout.attach(index, {"mediaType": "application/vnd.dev.sigstore.bundle.v0.9+json"})
    layout.attach(index, signature_of(index))
    code, _, err = layout.verify()
    assert code == 0
    assert "passed over what could not be read" in err
    (layout.blobs / children[1]["digest"][7:]).unlink()
    code, _, err = layout.verify()
    assert code == 5
    assert "is not there" in err


@pytest.mark.parametrize("part", ["layer", "manifest", "bundle"])
def test_a_part_with_other_bytes_is_a_no(layout: Layout, part: str) -> None:
    image = layout.image(b"the layer")
    layout.name(image, "app:3")
    layout.attach(image, signature_of(image))
    wanted = {
        "layer": sha256(b"the layer").hexdigest(),
        "manifest": image["digest"][7:],
        "bundle": next(
            one.name for one in layout.blobs.iterdir() if b"dsseEnvelope" in one.read_bytes()
        ),
    }
    path = layout.blobs / wanted[part]
    path.write_bytes(path.read_bytes().replace(b"a", b"b") + b" ")
    code, _, err = layout.verify()
    assert code == 3
    assert "holds bytes of sha256:" in err


def test_the_signature_of_another_image_is_a_no(layout: Layout) -> None:
    image, other = layout.image(b"one"), layout.image(b"other")
    layout.name(image, "app:4")
    layout.attach(image, signature_of(other))
    code, out, _ = layout.verify("--json")
    assert (code, json.loads(out)["error"]["reason"]) == (3, "subject-mismatch")


def test_every_image_has_to_be_signed_and_is_named(layout: Layout) -> None:
    first, second = layout.image(b"one"), layout.image(b"two")
    layout.name(first, "app:5")
    layout.name(second, "")
    layout.attach(first, signature_of(first))
    code, out, err = layout.verify()
    assert code == 5
    assert f"app:5@{first['digest']}: VERIFIED" in out
    assert f"{layout.directory}@{second['digest']}: no Sigstore bundle refers to it" in err


@pytest.mark.parametrize("kind", ["simplesigning", "dsse"])
def test_signatures_of_cosign_2_are_named_and_are_no_images(layout: Layout, kind: str) -> None:
    """As `cosign save` of version 2 writes them: beside the image, and nothing refers to it."""
    media_type = {
        "simplesigning": "application/vnd.dev.cosign.simplesigning.v1+json",
        "dsse": "application/vnd.dsse.envelope.v1+json",
    }[kind]
    image = layout.image()
    layout.name(image, "app:1")
    config = layout.blob(b'{"rootfs":{}}', "application/vnd.oci.image.config.v1+json")
    layer = layout.blob(b'{"critical":{}}', media_type)
    layout.name(layout.manifest(config=config, layers=[layer]), "")
    code, _, err = layout.verify()
    assert (code, err.count("Error:")) == (5, 1)
    assert "only signatures as cosign 1 and 2 stored them" in err
    layout.attach(image, signature_of(image))
    code, out, _ = layout.verify()
    assert (code, out.count(": VERIFIED")) == (0, 1)


def test_what_is_no_layout_says_so(layout: Layout, tmp_path: Path) -> None:
    layout.directory = tmp_path / "none"
    layout.directory.mkdir()
    code, _, err = layout.verify()
    assert code == 8
    assert "no file oci-layout" in err
    (layout.directory / "oci-layout").write_text('{"imageLayoutVersion":"2"}', "ascii")
    assert layout.verify()[0] == 8
    (layout.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', "ascii")
    (layout.directory / "index.json").write_text('{"manifests":[]}', "ascii")
    code, _, err = layout.verify()
    assert code == 5
    assert "names no image" in err
    (layout.directory / "index.json").write_text(
        '{"manifests":[{"digest":"sha256:../x"}]}', "ascii"
    )
    assert layout.verify()[0] in (5, 8)
    assert layout.verify("app")[0] == 2

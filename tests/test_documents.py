"""Every shell block of the documents runs, in order, as printed.

What a fence says behind `sh` is why a block cannot run here (REASONS): it is parsed, and its
commands of ours are held against the program as all others are. README.md and docs/first-hour.md
are typed in tests/test_docs.py; docs/own-sigstore.md and docs/tls.md run beside their programs in
tests/interop.

A line that is one command of ours runs in this process, any other in a shell. SAID has what
stands for something that a document cannot know, and DIFFERENT the lines that are to end with
another code than 0 on this stage.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.cli.main import run
from tests.pki.authorities import LeafPlan
from tests.pki.bundles import ARTIFACT, Instance, pem
from tests.queue.signed_files import KEY, envelope
from tests.queue.signed_files import pem as key_pem
from tests.rig.v1_shards import v1_instance
from tests.signed_artifacts import (
    SIGNER,
    SIGNER_PEM,
    bundle_of,
    log_request,
    sign_request,
)
from tests.simulator import SimulatedLog
from tests.test_docs import path_with_the_command  # noqa: F401 a fixture

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bundles/*.md"))
)
STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"p","predicate":{}}'
)
ELSEWHERE = {"README.md", "docs/first-hour.md", "docs/own-sigstore.md", "docs/tls.md"}
# Why a block cannot run here, and words of which one stands in each such block.
REASONS = {
    "root": ("systemctl", "chgrp", "./install.sh", "dpkg -i", "/etc/credstore"),
    "network": ("curl ", "trust update", "scripts/offline-kit", "scripts/environment"),
    "program": ("rclone", "rekor-server-posix", "pytest"),
    "machines": ("vagrant",),
}
_BLOCK = re.compile(r"(?m)^( *)```sh([^\n]*)\n(.*?)^ *```$", re.DOTALL)
_PLAIN = re.compile(r"attestor [^$|&<>;()`*]*(?:\s#.*)?")  # one command, and nothing for a shell


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    """Yield (why it cannot run here, text) of each shell block."""
    for found in _BLOCK.finditer((ROOT / document).read_text()):
        indent = found[1]
        lines = [line.removeprefix(indent) for line in found[3].split("\n")]
        yield found[2].strip(), "\n".join(lines)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_block_parses_and_has_a_reason_if_it_cannot_run(document: Path) -> None:
    for why, text in blocks(document):
        parsed = subprocess.run(
            ["bash", "-n"], input=text, capture_output=True, text=True, check=False
        )
        assert (parsed.returncode, parsed.stderr) == (0, ""), text
        if why:
            assert any(word in text for word in REASONS[why]), (why, text)
        else:
            assert str(document) in {*ELSEWHERE, *STAGES}, text


class Stage:
    """A directory with what a document supposes is there, and homes that its lines act on."""

    def __init__(self, place: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.place, self._path, self._capsys = place, path, capsys
        self.said: list[tuple[str, str]] = []  # what is printed, and what stands for it here
        self.different: dict[str, int] = {}  # lines that do not end with 0
        self.home_of: Callable[[str], str] = lambda line: "outside"
        self.before: dict[str, Callable[[], object]] = {}  # what others did, by the line's start
        self.failed: list[str] = []  # all of them: a document is mended in one go
        self._variables = ""
        for folder in ("stick", "srv/www", "etc", "elsewhere"):
            (place / folder).mkdir(parents=True)
        self.said += [
            ("/media/stick", str(place / "stick")),
            ("/srv/", f"{place}/srv/"),
            ("/etc/attestor/", f"{place}/etc/"),
            ("/elsewhere/", f"{place}/elsewhere/"),
        ]
        self.log = SimulatedLog()
        (place / "app.tar.gz").write_bytes(b"a release\n")
        (place / "signer.pem").write_bytes(SIGNER_PEM)
        (place / "log.pem").write_bytes(self.log.key.spki)
        request = sign_request(b"a release\n")
        index = log_request(self.log, request)
        bundle = bundle_of(self.log, request, index)
        (place / "app.tar.gz.sigstore.json").write_bytes(bundle)
        self.publish()

    def publish(self) -> None:
        """Bring the files of the log up to date."""
        self.log.write_static(self.place / "log-files")

    def home(self, name: str) -> Path:
        """Return the directory of a home."""
        return self.place / f"home-{name}"

    def make_home(self, name: str, *, role: str = "connected", mirrors: bool = True) -> None:
        """Make a home of the site NAME.example; one that mirrors has the log as `public`."""
        words = f"attestor init --site {name}.example --role {role}"
        self.run(words, name)
        if mirrors:
            url = (self.place / "log-files").as_uri()
            added = "attestor backend add public --origin log.example --public-key log.pem"
            self.run(f"{added} --url {url}", name)
            self.run("attestor sync --full-tiles --entries", name)

    def run(self, line: str, home: str, expected: int = 0) -> str:
        """Run one command of ours here; return what it prints."""
        words = shlex.split(line, comments=True)[1:]
        code = run(["--home", str(self.home(home)), *words])
        out, err = self._capsys.readouterr()
        if code != expected:
            self.failed.append(f"{line}: {code}\n{out}{err}")
        return out

    def type(self, text: str) -> str:
        """Type a block, line by line; return what was printed."""
        printed, rest = "", ""
        for line in text.replace("\\\n", " ").split("\n"):
            rest += line
            if subprocess.run(["bash", "-n"], input=rest, text=True, capture_output=True).stderr:
                rest += "\n"  # it goes on, as an if does
                continue
            printed += self._typed(rest)
            rest = ""
        return printed

    def _typed(self, line: str) -> str:
        if not line.strip():
            return ""
        for start in [one for one in self.before if line.startswith(one)]:
            self.before.pop(start)()
        home = self.home_of(line)
        plain = _PLAIN.fullmatch(line) is not None
        expected = self.different.get(line, 0)
        for printed, here in self.said:
            line = line.replace(printed, here)
        if plain:
            return self.run(line, home, expected)
        done = subprocess.run(
            [
                "bash",
                "-c",
                f"set -e; {self._variables}{line}\ndeclare -p token id 2>/dev/null >.vars || :",
            ],
            cwd=self.place,
            env={
                "PATH": self._path,
                "ATTESTOR_HOME": str(self.home(home)),
                "HOME": str(self.place),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == expected, line + done.stdout + done.stderr
        self._variables = (self.place / ".vars").read_text() + "\n"
        return done.stdout

    @contextmanager
    def serving(self, line: str, home: str, port: str) -> Iterator[None]:
        """Have a server run, as somebody leaves it in another window, until it answers."""
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            own = str(free.getsockname()[1])
        self.said.append((f"127.0.0.1:{port}", f"127.0.0.1:{own}"))
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line.replace(port, own)}"],
            cwd=self.place,
            env={"PATH": self._path, "ATTESTOR_HOME": str(self.home(home))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            assert server.stdout is not None
            assert b" at http" in server.stdout.readline()  # it says where, once it listens
            yield
        finally:
            server.kill()
            server.communicate()


@pytest.fixture
def stage(
    tmp_path: Path,
    path_with_the_command: str,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return Stage(place, path_with_the_command, capsys)


def type_all(stage: Stage, name: str) -> str:
    """Type all blocks of a document that can run here."""
    printed = ""
    for why, text in blocks(Path(name)):
        if not why:
            printed += stage.type(text)
    return printed


def air_gap(stage: Stage) -> None:
    stage.make_home("outside")
    shutil.copy(ROOT / "scripts" / "kit" / "verify-transfer", stage.place)
    stage.run("attestor init --site inside.example --role isolated", "inside")
    keys = [
        stage.run(f"attestor key show {one}.example", one).strip() for one in ("outside", "inside")
    ]
    shutil.rmtree(stage.home("inside"))
    stage.said += [("outside.example+0a1b2c3d+AbCd...", keys[0]), ("ORIGIN", "log.example")]
    inside = ("attestor init", "attestor backend", "attestor import", "attestor verify")
    stage.home_of = lambda line: (
        "inside" if line.startswith(inside) or "exporters add outside" in line else "outside"
    )
    ours = [text for why, text in blocks(Path("docs/air-gap.md")) if not why]
    for text in ours[:-1]:
        stage.type(text)
    # The way back: inside has a key of its own, its receipt is on the stick, and its code.
    vkey = stage.run("attestor key show inside.example", "inside").strip()
    stage.said.append(("inside.example+0a1b2c3d+AbCd...", vkey))
    [receipt] = sorted((stage.home("inside") / "receipts").glob("receipt-*.note"))[-1:]
    shutil.copy(receipt, stage.place / "stick")
    shown = stage.run(f"attestor receipt show {receipt}", "inside")
    [code] = re.findall(r"(?:[0-9A-Z]{4}-){5}[0-9A-Z]{4}", shown)
    stage.said.append(("7Q2M-90XD-K3TB-AA1Z-8FHE-WS6R", code))
    stage.type(ours[-1])


def runbook(stage: Stage) -> None:
    stage.log.grow(81_300)
    stage.publish()
    stage.make_home("outside")
    mirrors = "attestor backend add copy --origin log.example --public-key log.pem"
    url = (stage.place / "log-files").as_uri()
    stage.run(f"{mirrors} --mirror-of public --url {url}", "outside")
    shard = SimulatedLog("old.example")
    shard.grow(81_300)
    shard.write_static(stage.place / "shard-files")
    (stage.place / "shard.pem").write_bytes(shard.key.spki)
    added = "attestor backend add old-shard --origin old.example --public-key shard.pem"
    stage.run(f"{added} --url {(stage.place / 'shard-files').as_uri()}", "outside")
    stage.run("attestor sync --full-tiles --backend old-shard", "outside")
    stage.make_home("own", mirrors=False)
    stage.run("attestor log create build --origin own-log.example", "own")
    stage.run("attestor log trusted-root --output trusted_root.json", "own")
    stage.run("attestor trust import trusted_root.json", "outside")
    stage.run("attestor tenant add team-a", "outside")
    stage.run("attestor export --output stick/outside-7.tar", "outside")
    vkey = stage.run("attestor key show outside.example", "outside").strip()
    stage.run(f"attestor exporters add {vkey}", "outside")
    forged = stage.log.fork(at=120)
    for name in ("forged.note", "note-from-the-other-office"):
        (stage.place / name).write_bytes(forged.checkpoint())
    (stage.place / "suspect.tar.gz").write_bytes(b"a release\n")
    shutil.copy("app.tar.gz.sigstore.json", "suspect.tar.gz.sigstore.json")
    stage.different = {
        # As the runbook says: evidence as well, and nothing rests on a log in quarantine.
        "attestor --home /elsewhere/look verify suspect.tar.gz --key signer.pem": 8,
        "attestor checkpoint add note-from-the-other-office": 4,
        "attestor sync --dry-run": 8,
        # Not so here: it is another queue's item, and no log takes what is queued.
        "attestor queue show 3f2a91": 5,
        "attestor queue drain -v": 9,
    }
    stage.run("attestor checkpoint add forged.note", "outside", 4)

    def another_incident() -> None:
        (stage.place / "incident-1.tar").unlink()

    stage.before["attestor checkpoint list --backend public --last"] = another_incident
    type_all(stage, "docs/runbook.md")


def adopting(stage: Stage) -> None:
    instance, names = Instance(), "https://token.actions.githubusercontent.com"
    place = stage.place
    (place / "app.tar.gz").write_bytes(ARTIFACT)
    bundle = place / "app.tar.gz.sigstore.json"
    managed = instance.sign_artifact(managed=True)
    (place / "cosign.pub").write_bytes(pem("PUBLIC KEY", managed.der))
    (place / "pub.pem").write_bytes(pem("PUBLIC KEY", managed.der))
    (place / "app.sig").write_bytes(managed.signature)
    bundle.write_text(json.dumps(instance.v2_bundle(managed)))
    person = LeafPlan(
        names=[x509.RFC822Name("builder@example.com")],
        issuer_v1="https://accounts.example.com",
        issuer_v2="https://accounts.example.com",
    )
    workflow = "https://github.com/ORG/REPO/.github/workflows/release.yml@refs/heads/main"
    build = LeafPlan(
        names=[x509.UniformResourceIdentifier(workflow)], issuer_v1=names, issuer_v2=names
    )
    attested = instance.v2_bundle(instance.sign_artifact(plan=build))
    (place / "sha256:1234.jsonl").write_text(json.dumps(attested) + "\n")
    (place / "trusted_root.json").write_text(json.dumps(instance.root()))
    stage.make_home("outside", mirrors=False)
    inside = ("attestor init", "attestor trust", "attestor verify")
    stage.home_of = lambda line: "inside" if line.startswith(inside) else "outside"
    by_person = json.dumps(instance.v2_bundle(instance.sign_artifact(plan=person)))
    stage.before["attestor verify app.tar.gz --certificate-id"] = lambda: bundle.write_text(
        by_person
    )
    with queue_server(stage):
        type_all(stage, "docs/adopting.md")


@contextmanager
def queue_server(stage: Stage) -> Iterator[None]:
    """Have a log to send to; somebody's cron drains before a bundle is waited for."""
    stage.make_home("log", mirrors=False)
    stage.run("attestor log create build --origin own-log.example", "log")
    (stage.place / "own-log.pem").write_text(
        stage.run("attestor key show own-log.example --pem", "log")
    )
    with stage.serving("attestor log serve --bind 127.0.0.1:3000", "log", "3000"):
        _, url = stage.said[-1]
        stage.said.append(("https://LOG-HOST", f"http://{url}"))
        added = "attestor backend add own --origin own-log.example --public-key own-log.pem"
        stage.run(f"{added} --url http://{url}", "outside")

        def cron() -> None:
            stage.run(f"attestor config set rekor.serverUrl http://{url}", "outside")
            stage.run("attestor queue drain", "outside")

        stage.before["attestor queue bundle"] = cron
        yield


def queue(stage: Stage) -> None:
    place = stage.place
    (place / "app.sig").write_bytes(KEY.sign(b"a release\n", ec.ECDSA(hashes.SHA256())))
    (place / "pub.pem").write_bytes(key_pem())
    (place / "scan.dsse.json").write_text(json.dumps(envelope(STATEMENT)))
    request = sign_request(b"another release\n")
    bundle = bundle_of(stage.log, request, log_request(stage.log, request))
    (place / "app.sigstore.json").write_bytes(bundle)
    stage.make_home("outside", mirrors=False)
    stage.run("attestor tenant add team-a", "outside")
    # The third item is by its own key.
    third = "attestor queue add --sigstore-bundle"
    stage.before[third] = lambda: (place / "pub.pem").write_bytes(SIGNER_PEM)
    with queue_server(stage):
        type_all(stage, "docs/queue.md")


def growing(stage: Stage) -> None:
    stage.make_home("outside", mirrors=False)
    stage.run("attestor log create build --origin own-log.example", "outside")
    words = "--artifact app.tar.gz --signature app.sig --key signer.pem --bundle logged.json"
    (stage.place / "app.sig").write_bytes(SIGNER.sign(b"a release\n", ec.ECDSA(hashes.SHA256())))
    stage.run(f"attestor log add {words}", "outside")

    stage.home_of = lambda line: "other" if "--log build" in line else "outside"
    stage.make_home("other", mirrors=False)
    # The last is about a log that was never here: its storage as its server left it.
    storage, kept = stage.place / "srv" / "rekor", stage.place / "srv" / "kept"
    stage.before["attestor log adopt"] = lambda: shutil.copytree(storage, kept)

    def theirs() -> None:
        shutil.rmtree(storage)
        kept.rename(storage)

    stage.before["attestor log adopt /srv/rekor --log"] = theirs
    type_all(stage, "docs/growing.md")


def keys(stage: Stage) -> None:
    stage.make_home("outside", mirrors=False)
    stage.run("attestor key generate log.example.org", "outside")
    new = stage.place / "etc" / "new"
    new.touch(mode=0o600)
    new.write_text("another passphrase\n")
    type_all(stage, "docs/keys.md")


def serving(stage: Stage) -> None:
    stage.make_home("outside")
    ours = [text for why, text in blocks(Path("docs/serving.md")) if not why]
    published, serve, backend, witnesses, witness, across = ours
    stage.type(published)
    stage.make_home("inside", mirrors=False)
    with stage.serving(serve.strip(), "outside", "3002"):
        stage.home_of = lambda line: "inside"
        stage.type(backend)
        stage.run("attestor sync --full-tiles --entries", "inside")
    stage.make_home("log", mirrors=False)
    stage.run("attestor log create build --origin own-log.example", "log")
    text = (ROOT / "docs" / "serving.md").read_text()
    [policy] = re.findall(r"```text\n(witness .*?)```", text, re.DOTALL)
    (stage.place / "site.policy").write_text(policy)
    stage.home_of = lambda line: "log"
    stage.type(witnesses)
    stage.make_home("third", mirrors=False)
    stage.home_of = lambda line: "third"
    *before, served = witness.strip().split("\n")
    stage.type("\n".join(before))
    with stage.serving(served, "third", "3001"):
        pass
    # A request names a witness of the log's policy, whose answer comes back as a file.
    vkey = stage.run("attestor key show witness.example", "third").strip()
    (stage.place / "third.policy").write_text(f"witness north {vkey}\nquorum none\n")
    stage.run("attestor log witnesses third.policy --log build", "log")
    (stage.place / "own-log.pem").write_text(
        stage.run("attestor key show own-log.example --pem", "log")
    )
    pinned = "attestor backend add own --origin own-log.example --public-key own-log.pem"
    stage.run(pinned, "third")
    stage.home_of = lambda line: "third" if " sign " in line else "log"
    stage.type(across)


def sizes(stage: Stage) -> None:
    stage.make_home("outside")
    with v1_instance("rekor.example") as log:
        log.grow(600)
        (stage.place / "old.pem").write_bytes(log.public_key)
        added = "attestor backend add old --origin rekor.example --public-key old.pem"
        stage.run(f"{added} --url {log.url}", "outside")
        printed = type_all(stage, "docs/sizes.md")
    assert "rekor.example - 1001: windows of 500 entries, 0..500" in printed


# None: a home that mirrors a log, and `SIMPLE`, will do.
STAGES: dict[str, Callable[[Stage], None] | None] = {
    "docs/adopting.md": adopting,
    "docs/air-gap.md": air_gap,
    "docs/growing.md": growing,
    "docs/keys.md": keys,
    "docs/queue.md": queue,
    "docs/runbook.md": runbook,
    "docs/serving.md": serving,
    "docs/sizes.md": sizes,
    **dict.fromkeys(
        (f"docs/{one}.md" for one in ("alerts", "configuration", "json", "monitoring", "report")),
        None,
    ),
    "docs/private-log.md": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_document_can_be_typed_in_order(name: str, stage: Stage) -> None:
    prepare = STAGES[name]
    if prepare is not None:
        prepare(stage)
    else:
        stage.make_home("outside")
        settings = "attestor:\n  rekorSync:\n    syncInterval: 6m\n"
        (stage.place / "settings.yaml").write_text(settings)
        type_all(stage, name)
    assert not stage.failed, "\n".join(stage.failed)

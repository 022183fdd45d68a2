"""One kind of mistake has one code: a hundred wrong inputs, each one line with a next step."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from appliance.cli.main import run
from appliance.jobs.home.init import init_home
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend, require_log
from appliance.store.mirror.mirror import Mirror
from tests.cli.homes import NOW
from tests.mirror.mirrors import sync_from
from tests.simulator import SimulatedLog

# Kind, its one code, and command lines. In the directory are pub.pem, note.txt (a line of
# text), empty (a file), dir (a directory); the home mirrors 5 entries of log.example as sim.
TABLE = {
    "a thing that is not here": (
        5,
        """
        sync --backend nope
        backend show nope
        backend remove nope
        backend enable nope
        backend disable nope
        backend verify-key nope
        backend key list nope
        backend key revoke sim abcdef --reason lost
        backend add x --origin nope.example --public-key pub.pem --mirror-of nope
        checkpoint list --backend nope
        checkpoint show --origin nope
        checkpoint show --origin log.example --tree-size 77
        checkpoint verify --origin nope
        tiles stats --backend nope
        tiles verify --backend nope
        tiles clear --backend nope
        entries show --origin log.example --index 99
        entries show --origin nope --index 1
        index build --origin nope
        prove --origin nope --index 0
        prove --origin log.example --index 99
        failover nope --to sim
        failover sim --to nope
        export --backend nope --output x.tar
        export --origin nope --output x.tar
        export --since-size 99 --output x.tar
        exporters remove other.example+8a57d58e+AW56HN0psLeP0Tr0xVmP7/TvKpcWbjym8uT7/M2AUFvx
        countersign note.txt --key nope
        receipt accept --code 7Q2M-90XD-K3TB-AA1Z-8FHE-WS6R --site inside.example
        alerts show 99
        alerts ack 99
        alerts export 99 --output incident
        quarantine lift 99 --reason checked
        queue show abcdef12
        queue cancel abcdef12
        queue retry abcdef12
        queue bundle abcdef12 --output x.json
        queue proof abcdef12 --output x.proof
        queue list --tenant nope
        budget show --tenant nope
        budget check --tenant nope --count 1
        tenant enable nope
        tenant disable nope
        tenant remove nope
        log serve --log nope
        log trusted-root --log nope
        log freeze nope --yes
        key show nope
        """,
    ),
    "a file that is not there": (
        5,
        """
        verify missing --key pub.pem --bundle missing
        verify note.txt --key missing --bundle note.txt
        verify note.txt --key pub.pem --bundle missing
        verify note.txt --key pub.pem --bundle note.txt --policy missing
        verify note.txt --key pub.pem --bundle note.txt --trusted-root missing
        verify --from-file missing --key pub.pem
        verify --from-file empty --key pub.pem
        entries search --from-file missing
        entries search --artifact missing
        entries search --key missing
        entries list --certificate missing
        watch add w --from-file missing
        watch add w --artifact missing
        verify --image-layout missing --key pub.pem
        backend add x --origin nope.example --public-key missing
        backend discover --trusted-root missing
        checkpoint add missing
        config apply missing
        config validate missing
        exporters add --vkey-file missing
        export --base receipt:missing --output x.tar
        export --for missing --output x.tar
        import missing
        inspect missing
        journal verify missing
        log recover --source missing
        proof verify missing --entry missing
        queue add --dsse missing --key pub.pem
        queue add --dsse note.txt --key missing
        receipt accept missing
        receipt show missing
        trust import missing
        """,
    ),
    "a directory that is not there": (
        5,
        """
        export --output nodir/x.tar
        journal export --output nodir/x
        metrics --textfile nodir/x.prom
        prove --origin log.example --index 0 --output nodir/x
        store backup nodir/x
        """,
    ),
    "a name that cannot be one": (
        2,
        """
        backend add "a b" --origin x.example --public-key pub.pem
        backend add "" --origin x.example --public-key pub.pem
        backend add x --origin "a b" --public-key pub.pem
        backend add x --origin "" --public-key pub.pem
        export --output x.zip
        key generate "a b"
        key show "a b"
        log create "a b" --origin x.example
        log create ok --origin "a b"
        log create ok --origin https://x.example
        tenant add "A B"
        tenant add ""
        """,
    ),
    "a value that cannot be one": (
        2,
        """
        --lock-wait banana sync
        backend add x --origin y.example --public-key pub.pem --url banana
        backend add x --origin y.example --public-key pub.pem --url ftp://x
        budget check --tenant system --count -1
        custody show --bundle zz
        export --base banana --output x.tar
        export --expires banana --output x.tar
        export --expires 2001-01-01T00:00:00Z --output x.tar
        export --volume-size banana --output x.tar
        exporters add garbage
        exporters add site.example+00000000+AAAA
        exporters remove garbage
        exporters replace garbage garbage --reason lost
        exporters revoke garbage --reason lost
        entries search --digest banana
        init --role banana
        journal verify note.txt --key garbage
        log serve --bind banana
        log serve --bind 1.2.3.4:99999
        prove --origin log.example --index banana
        publish zz
        queue add --priority -1
        queue bundle abcdef12 --output x --wait banana
        queue list --state nope
        quarantine lift banana --reason checked
        receipt accept --code AAAA --site x
        verify sha256:zz --key pub.pem
        entries search --from-file note.txt
        entries search --from-file empty
        verify note.txt --key pub.pem --max-age banana
        verify note.txt --key pub.pem --max-age -1h
        verify note.txt --key pub.pem --oid banana
        verify note.txt --certificate-identity-regexp ( --certificate-oidc-issuer x
        """,
    ),
    "a directory in the place of a file": (
        2,
        """
        import dir
        inspect dir
        verify dir --key pub.pem
        verify note.txt --key pub.pem --bundle dir
        """,
    ),
    "a command, an option or an argument that there is not": (
        2,
        """
        verfy note.txt
        backend forget sim
        sync now
        sync --fast
        backend add x
        sync --home .
        """,
    ),
    "a file that is something else": (
        3,
        """
        entries list --key note.txt
        backend add x --origin y.example --public-key note.txt
        exporters add --vkey-file note.txt
        import note.txt
        import empty
        inspect note.txt
        proof verify note.txt --entry note.txt
        queue add --dsse note.txt --key note.txt
        receipt accept note.txt
        trust import note.txt
        verify note.txt --key note.txt --bundle note.txt
        verify note.txt --key pub.pem --bundle note.txt
        """,
    ),
    "a configuration that is not valid": (
        9,
        """
        config apply note.txt
        config set nope 1
        config set http.connections 9999
        config set rekor.serverUrl banana
        config set rekorSync.syncInterval banana
        """,
    ),
}
ROWS = [
    pytest.param(code, line.strip(), id=line.strip())
    for code, lines in TABLE.values()
    for line in lines.strip().split("\n")
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    place = tmp_path_factory.mktemp("wrong")
    home, log = place / "home", SimulatedLog()
    init_home(home, "site.example", "connected", lambda n: b"\x01" * n)
    store = open_store(home, write=True)
    with store.atomic():
        known = add_log(store, log.origin, 2, log.key.spki)
        put_backend(store, "sim", known, base_url=None, read_url=None)
    log.grow(5)
    sync_from(Mirror(store, require_log(store, log.origin)), log, now=NOW)
    store.close()
    key = load_der_public_key(log.key.spki)
    (place / "pub.pem").write_bytes(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (place / "note.txt").write_text("hello\n")
    (place / "empty").touch()
    (place / "dir").mkdir()
    return Session(home=home, now=lambda: NOW, random_bytes=lambda n: b"\x07" * n)


@pytest.fixture(autouse=True)
def in_its_place(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = sorted(path.name for path in session.home.parent.iterdir())
    monkeypatch.chdir(session.home.parent)
    yield
    assert sorted(path.name for path in session.home.parent.iterdir()) == before


def answer(session: Session, words: list[str]) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(words, session)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(("expected", "line"), ROWS)
def test_a_wrong_input_is_one_line_one_code_and_a_next_step(
    session: Session, expected: int, line: str
) -> None:
    words = shlex.split(line)
    code, out, err = answer(session, words)
    assert (code, out) == (expected, ""), err
    assert err.startswith("Error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    code, out, err = answer(session, [*words, "--json"])
    told = json.loads(out)
    assert (code, told["exitCode"], told["ok"], err) == (expected, expected, False, "")
    assert told["error"]["message"] and told["error"]["next"], told["error"]


def test_there_are_a_hundred() -> None:
    assert len(ROWS) >= 100
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_a_name_on_paper_and_in_a_file_are_two_kinds(session: Session) -> None:
    """What is typed is usage; the same text in a file is the file's fault."""
    typed, _, _ = answer(session, ["exporters", "add", "hello"])
    filed, _, _ = answer(session, ["exporters", "add", "--vkey-file", "note.txt"])
    assert (typed, filed) == (2, 3)


def test_a_home_that_is_not_there_says_how_to_make_one(session: Session, tmp_path: Path) -> None:
    code, out, err = answer(session, ["--home", str(tmp_path / "nope"), "sync"])
    assert (code, out, err.count("\n")) == (6, "", 1) and " init" in err

"""scripts/kit/verify-transfer: the first transfer bundle is checked with none of our code."""

from __future__ import annotations

import os
import shutil
import string
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

import pytest

from appliance.tlog.note import SigningKey
from bundles.wrap import Wrap
from tests.bundles.samples import FILES, KEY, LOG, bundle_of
from tests.bundles.test_malicious import LISTED, PLAIN

SCRIPT: Final = Path(__file__).parents[2] / "scripts" / "kit" / "verify-transfer"
TOOLS: Final = ("tar", "sha256sum", "openssl", "base64", "od", "gzip", "zstd")
PATH = "/usr/bin:/bin:/usr/local/bin"
VERIFIED, REFUSED, MISUSED = 0, 1, 2
FORGERIES: Final = 2000 if os.environ.get("ATTESTOR_SOAK") else 20
PRINTABLE: Final = set(string.printable) - {"\x0b", "\x0c", "\r"}
PROVES_ALONE: Final = (
    "scripts/kit/verify-transfer",
    "scripts/kit/install.sh",
    "appliance/cli/divergence/evidence_check.py",
)


@pytest.fixture(autouse=True)
def _tools() -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def verify(
    directory: Path, data: bytes, vkey: str = KEY.verifier.vkey, name: str = "stick.tar"
) -> tuple[int, str, str]:
    path = directory / name
    path.write_bytes(data)
    return verify_file(path, vkey)


def verify_file(path: Path, vkey: str = KEY.verifier.vkey) -> tuple[int, str, str]:
    temporary = path.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [SCRIPT, path, vkey],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": PATH, "TMPDIR": str(temporary)},
    )
    assert list(temporary.iterdir()) == []
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def without_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tool but openssl: python3 has to do."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for tool in Path(folder).iterdir():
            link = tools / tool.name
            if tool.name != "openssl" and not link.is_symlink():
                link.symlink_to(tool)
    monkeypatch.setattr(sys.modules[__name__], "PATH", str(tools))


@pytest.mark.usefixtures("without_openssl")
def test_python_alone_gives_the_same_answers(tmp_path: Path) -> None:
    code, out, err = verify(tmp_path, bundle_of(FILES, Wrap.PLAIN))
    assert (code, err) == (VERIFIED, "") and f"signed by {KEY.name}" in out
    whole = bundle_of(FILES, Wrap.PLAIN)
    start = whole.index(b"\xe2\x80\x94 ") + len(f"\N{EM DASH} {KEY.name} ".encode())
    for at in (10, 40, 80):  # R, and S
        changed = bytearray(whole)
        changed[start + at] = ord("A") if changed[start + at] != ord("A") else ord("B")
        code, _, err = verify(tmp_path, bytes(changed))
        assert code == REFUSED and "NOT VERIFIED" in err


@pytest.mark.parametrize("wrap", Wrap)
def test_what_an_exporter_signed_is_verified(tmp_path: Path, wrap: Wrap) -> None:
    long_name = {f"{LOG}/tile/entries/x123/x456/x789/x012/345.p/255.zst": b"entries", **FILES}
    code, out, err = verify(tmp_path, bundle_of(long_name, wrap))
    assert (code, err) == (VERIFIED, "")
    assert f"signed by {KEY.name}" in out and "members   5\n" in out
    assert '"purpose":"daily"' in out


@pytest.mark.parametrize("name", PLAIN)
def test_a_malicious_archive_is_refused_or_spells_the_same_members_otherwise(
    tmp_path: Path, name: str
) -> None:
    code, out, err = verify(tmp_path, PLAIN[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stick.tar", "tmp"]
    if code == VERIFIED:
        assert name not in MUST_BE_REFUSED
        command = ["tar", "-xf", str(tmp_path / "stick.tar"), "-C", str(tmp_path / "tmp")]
        subprocess.run(command, check=True)
        held = {
            str(path.relative_to(tmp_path / "tmp")): path.read_bytes()
            for path in sorted((tmp_path / "tmp").rglob("*"))
            if path.is_file() and path.parent.name != "tmp"
        }
        assert held in (dict(LISTED), FILES, {f"{LOG}/a": b"hello"})
        return
    assert (code, out) == (REFUSED, "")
    assert err.startswith("verify-transfer: NOT VERIFIED: ") and err.count("\n") == 1, err


# What tar is known to be led astray by, and what a person would take for a difference.
MUST_BE_REFUSED: Final = {
    *("absolute path", "parent directory", "parent directory inside", "listed twice"),
    *("archived twice", "archived twice, the other content", "a second header", "not listed"),
    *("listed but left out", "members exchanged", "names exchanged", "contents exchanged"),
    *("hard link", "symbolic link", "character device", "block device", "directory", "fifo"),
    *("pax header", "GNU long name", "size one less", "size one more", "mode set-uid", "nothing"),
    *("trailing garbage", "a member after the trailer", "two archives", "empty SHA256SUMS"),
    *("two archives, one trailer", "trailer up to a record, as tar writes it", "no trailer"),
}


def test_damage_is_refused_wherever_it_is_but_in_padding(tmp_path: Path) -> None:
    whole = bundle_of(FILES)
    positions = [*range(0, len(whole) - 1024, 157), 200, 700, 1500]
    accepted = []
    for number, position in enumerate(positions):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << number % 8
        code, _, _ = verify(tmp_path, bytes(damaged))
        if code != REFUSED:
            accepted.append(position)
    assert [whole[at] for at in accepted] == [0] * len(accepted)
    assert len(accepted) < len(positions) / 3
    for cut in (*range(0, len(whole), 1111), len(whole) - 1):
        assert verify(tmp_path, whole[:cut])[0] == REFUSED, cut
    for n_bytes in (1, 512, 10_240):
        assert verify(tmp_path, whole + bytes(n_bytes))[0] == REFUSED, n_bytes


def test_another_key_of_the_same_name_is_refused(tmp_path: Path) -> None:
    other = SigningKey(KEY.name, bytes(32)).verifier
    code, _, err = verify(tmp_path, bundle_of(FILES), other.vkey)
    assert code == REFUSED and "another key" in err
    stranger = SigningKey("site-b.example", bytes(32)).verifier
    code, _, err = verify(tmp_path, bundle_of(FILES), stranger.vkey)
    assert code == REFUSED and f"signatures are by: {KEY.name}" in err


@pytest.mark.parametrize(
    ("vkey", "said"),
    [
        ("", "NAME+HEX+BASE64"),
        ("site-a.example", "no base64"),
        (KEY.verifier.vkey.replace("+1c03b752+", "+1c03b753+"), "has the id"),
        (KEY.verifier.vkey[:-4], "Ed25519"),
        ("../../etc/passwd;id+1c03b752+AQ==", "NAME+HEX+BASE64"),
    ],
)
def test_what_is_no_key_is_a_mistake(tmp_path: Path, vkey: str, said: str) -> None:
    code, out, err = verify(tmp_path, bundle_of(FILES), vkey)
    assert (code, out) == (MISUSED, "") and said in err


def test_what_is_no_file_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "stick.tar"
    path.write_bytes(bundle_of(FILES))
    link = tmp_path / "link.tar"
    link.symlink_to(path)
    for wrong in (link, tmp_path, tmp_path / "absent.tar", Path("/dev/zero")):
        code = subprocess.run(
            [SCRIPT, wrong, KEY.verifier.vkey], capture_output=True, check=False, timeout=10
        ).returncode
        assert code == MISUSED, wrong


def test_what_the_caller_has_in_its_environment_changes_nothing(tmp_path: Path) -> None:
    """Options of tar and functions of a shell stand for programs that would say anything."""
    ran = tmp_path / "ran"
    path = tmp_path / "stick.tar"
    hostile = {
        "PATH": "/usr/bin:/bin:/usr/local/bin",
        "TAR_OPTIONS": f"--to-command=touch\\ {ran}",
        "GREP_OPTIONS": "-v",
        "OPENSSL_CONF": str(tmp_path / "none.cnf"),
        "ENV": str(tmp_path / "env.sh"),
        "BASH_ENV": str(tmp_path / "env.sh"),
        **{
            f"BASH_FUNC_{tool}%%": f"() {{ touch {ran}; return 0; }}"
            for tool in ("tar", "openssl", "sha256sum", "cmp", "command", "grep")
        },
    }
    (tmp_path / "env.sh").write_text(f"touch {ran}\n")
    whole = bundle_of(FILES)
    damaged = whole.replace(b"root\n", b"r00t\n")
    for shell in filter(None, map(shutil.which, ("dash", "bash"))):
        for data, expected in ((whole, VERIFIED), (damaged, REFUSED)):
            path.write_bytes(data)
            posix = ["--posix"] if shell.endswith("bash") else []
            done = subprocess.run(
                [shell, *posix, str(SCRIPT), str(path), KEY.verifier.vkey],
                capture_output=True,
                check=False,
                timeout=60,
                env=hostile | {"TMPDIR": str(tmp_path)},
            )
            assert done.returncode == expected, (shell, done)
            assert not ran.exists(), shell


def test_a_header_that_is_verified_says_what_was_signed(tmp_path: Path) -> None:
    """Whatever else is in its place: bytes, lines and signatures of others, at random."""
    whole = bundle_of(FILES)
    size = int(whole[124:135], 8)
    header = whole[512 : 512 + size]
    text = header.partition(b"\n\n")[0]
    dice = Random(13)  # noqa: S311 a fuzzer
    verified = 0
    for _ in range(FORGERIES):
        forged = bytearray(header)
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(size)
            forged[at] = dice.choice((dice.randrange(256), 0, 10, 13, 27, header[at]))
        data = whole[:512] + bytes(forged) + whole[512 + size :]
        code, out, err = verify(tmp_path, data)
        assert code in (VERIFIED, REFUSED) and not set(err) - PRINTABLE, (forged, err)
        if code == VERIFIED:
            verified += 1
            assert bytes(forged).partition(b"\n\n")[0] == text
            assert f"signed by {KEY.name}" in out
    assert verified < FORGERIES / 2


def test_the_digest_of_what_proves_something_without_us_is_published() -> None:
    root = SCRIPT.parents[2]
    told = (root / "SECURITY.md").read_text()
    for file in PROVES_ALONE:
        assert f"| `{file}` | `{sha256((root / file).read_bytes()).hexdigest()}` |" in told, file

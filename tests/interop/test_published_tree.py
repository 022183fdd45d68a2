"""What we give to others, read by Tessera's own checker: as files, and by attestor serve."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.attestor import COMMAND, Site
from tests.interop.rekor_server import peer, static_file_server
from tests.interop.service import service
from tests.simulator import SimulatedLog

pytestmark = pytest.mark.interop
ORIGIN = "log.example"


def fsck(url: str, vkey: Path) -> str:
    """Have a whole log checked; return what was said. It ends with 0 whatever it found."""
    program = peer("fsck")
    if not program.exists():
        pytest.skip("fsck is not here: this state of scripts/peers does not build it")
    words = [f"--storage_url={url}", f"--public_key={vkey}", "--ui=false", "-v=1"]
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_sound(url: str, vkey: Path) -> None:
    said = fsck(url, vkey)
    assert "fsck failed" not in said, said
    assert "Completed ranges" in said, said


def test_tessera_fsck_finds_nothing_wrong_with_what_we_publish_and_serve(tmp_path: Path) -> None:
    log, source, tree = SimulatedLog(ORIGIN), tmp_path / "source", tmp_path / "tree"
    site, vkey = Site(tmp_path / "home"), tmp_path / "log.vkey"
    vkey.write_text(log.key.vkey)
    site.run("init", "--site", "interop")
    site.run(
        *("backend", "add", "mirror", "--origin", ORIGIN, "--public-key", vkey),
        *("--url", f"file://{source}"),
    )

    def command(ports: Sequence[int]) -> list[str | Path]:
        return [COMMAND, "--home", site.home, "serve", "--bind", f"127.0.0.1:{ports[0]}"]

    with service(command, 1, tmp_path / "serve.log") as served:
        for more in (1, 255, 1, 700):
            log.grow(more)
            log.write_static(source)
            site.run("sync", "--full-tiles", "--entries")
            site.run("tiles", "publish", tree)
            assert_sound(f"file://{tree}/", vkey)
            assert_sound(f"{served}/mirror/", vkey)
            assert_sound(f"{served}/mirror/api/v2/", vkey)
    with static_file_server(tree) as url:
        assert_sound(f"{url}/", vkey)
    edge = max((tree / "tile" / "0" / "003.p").iterdir())
    edge.write_bytes(bytes(edge.stat().st_size))
    assert "fsck failed" in fsck(f"file://{tree}/", vkey)

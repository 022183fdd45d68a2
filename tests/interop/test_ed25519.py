"""Ed25519ph means here what it means to Go: good signatures, spoiled ones, strange points.

ATTESTOR_FUZZ_RUNS=1000000 makes a million.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from appliance.rekor.ed25519 import verify_prehashed

pytestmark = pytest.mark.interop
ORACLE: Final = Path(__file__).with_name("ed25519_oracle")
RUNS: Final = int(os.environ.get("ATTESTOR_FUZZ_RUNS", "1500"))
SEED: Final = 8032
P: Final = 2**255 - 19


def is_canonical(key: bytes) -> bool:
    """Whether a key is spelled as RFC 8032 5.1.3 demands: y below p, and no sign if x is 0.

    Go takes other spellings of a key, all of them of points of small order, or nearly so: no
    honest signer has such a key. We refuse them; of R, Go takes the right spelling alone.
    """
    y = int.from_bytes(key, "little") & (2**255 - 1)
    return y < P and not (y in (1, P - 1) and key[31] >> 7)


def test_what_go_takes_is_taken_and_nothing_else(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go here")
    program = tmp_path / "oracle"
    subprocess.run([go, "build", "-o", str(program), "."], cwd=ORACLE, check=True)
    taken = {True: 0, False: 0}
    with subprocess.Popen([program, str(SEED), str(RUNS)], stdout=subprocess.PIPE) as made:
        assert made.stdout is not None
        for line in made.stdout:
            verdict, *parts = line.decode("ascii").split()
            key, signature, digest = (bytes.fromhex(part) for part in parts)
            wanted = verdict == "1" and is_canonical(key)
            assert verify_prehashed(key, signature, digest) is wanted, line
            taken[wanted] += 1
    assert made.returncode == 0
    assert sum(taken.values()) == RUNS
    assert min(taken.values()) > RUNS // 10

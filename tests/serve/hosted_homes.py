"""A home that hosts three logs, for the tests of everything that is asked of several at once.

`build` under a host name, open to read; `release` below a path, for holders of its token
only; `open` at the root, to all.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from appliance.cli.main import run
from appliance.jobs.private_log.create import create_log
from appliance.runs.session import Session
from appliance.store.database import create_store
from appliance.tlog.note import SigningKey
from tests.private_log.private_homes import NOW, reboot

BUILD_HOST: Final = "build.example"
RELEASE_PATH: Final = "/release"
TOKENS: Final = {"build": "the-token-of-ci" * 3, "release": "the-token-of-a-release" * 2}
LOGS: Final = ("build", "release", "open")
# Where each is asked for: the path before, and the headers with its token.
PLACES: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "build": ("", {"Host": BUILD_HOST, "Authorization": f"Bearer {TOKENS['build']}"}),
    "release": (RELEASE_PATH, {"Authorization": f"Bearer {TOKENS['release']}"}),
    "open": ("", {}),
}


def seed_of(log: str) -> bytes:
    return sha256(b"the seed of %s" % log.encode()).digest()


def key_of(log: str) -> Any:
    return SigningKey(f"{log}.log.example", seed_of(log)).verifier


def make_hosting_home(home: Path, settings: str = "", limits: dict[str, int] | None = None) -> None:
    """Make it; `settings` are more lines of privateLog, indented by four."""
    reboot()
    store = create_store(home)
    for log in LOGS:
        create_log(store, log, f"{log}.log.example", seed_of(log), NOW)
    store.close()
    for log, token in TOKENS.items():
        file = home.parent / f"{log}.tokens"
        digest = sha256(token.encode()).hexdigest()
        file.write_text(f"# who may write to {log}\nci-of-{log} {digest}\n")
        file.chmod(0o600)
    limits = limits or {}
    config = home.parent / "config.yaml"
    config.write_text(
        "attestor:\n"
        "  privateLog:\n"
        f"{settings}"
        "    hosted:\n"
        "      - log: build\n"
        f"        host: {BUILD_HOST}\n"
        f"        tokensFile: {home.parent}/build.tokens\n"
        f"        hourlyLimit: {limits.get('build', 'off')}\n"
        "      - log: release\n"
        f"        path: {RELEASE_PATH}\n"
        f"        tokensFile: {home.parent}/release.tokens\n"
        "        reads: restricted\n"
        "      - log: open\n"
    )
    assert run(["--home", str(home), "config", "apply", str(config), "-q"], Session(home)) == 0

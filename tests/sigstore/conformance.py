"""The conformance client, called in this process, and the cases of the corpus for it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from appliance.errors import ApplianceError
from tests.shared import SHARED

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "conformance-client"
CASES = SHARED / "corpus/sigstore-conformance/test/assets/bundle-verify"
IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"


@cache
def client() -> ModuleType:
    """Return scripts/conformance-client as a module."""
    loader = SourceFileLoader("conformance_client", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def command_line(case: Path, form: str) -> list[str]:
    """Return the arguments for one case; `form` is file or digest."""
    artifact = case / "artifact" if (case / "artifact").exists() else case.parent / "a.txt"
    arguments = ["verify-bundle", "--bundle", str(case / "bundle.sigstore.json")]
    if (case / "key.pub").exists():
        arguments += ["--key", str(case / "key.pub")]
    else:
        arguments += ["--certificate-identity", _text(case / "identity", IDENTITY)]
        arguments += ["--certificate-oidc-issuer", _text(case / "issuer", ISSUER)]
    if (case / "trusted_root.json").exists():
        arguments += ["--trusted-root", str(case / "trusted_root.json")]
    if form == "digest":
        return [*arguments, f"sha256:{hashlib.sha256(artifact.read_bytes()).hexdigest()}"]
    return [*arguments, str(artifact)]


def run(arguments: list[str]) -> ApplianceError | None:
    """Run the client; return why it said no, or None."""
    script = client()
    try:
        script.verify(script._parser().parse_args(arguments))
    except ApplianceError as error:
        return error
    return None


def _text(path: Path, default: str) -> str:
    return path.read_text().strip() if path.exists() else default

"""alerts export: a pack of evidence that proves itself, for people who do not know us."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import StoreError
from appliance.jobs.divergence.evidence_pack import PAGE, evidence_pack
from appliance.report.page import page
from appliance.runs.report import pack_data
from appliance.runs.session import Session, pass_session
from appliance.store.divergence.alerts import require_alert
from appliance.store.divergence.evidence import require_evidence
from appliance.store.failures import output_error
from appliance.store.files import written_whole
from appliance.store.home.settings import SITE_NAME, site_fact


@click.command("export")
@click.argument("which", metavar="ID")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A new directory, or a new file that ends in .tar.",
)
@common_options
@pass_session
def alerts_export(session: Session, which: str, output: Path) -> Result:
    """Write what proves a contradiction: both signed notes, the proof, how it came, check.py.

    check.py shows it with Python and the package cryptography alone: python3 -I check.py
    report.html shows it in a browser, without a network.

    \b
    Example:
        attestor alerts export 3 --output incident-3
        attestor alerts export 3 --output incident-3.tar
    """

    check = Path(__file__).with_name("evidence_check.py").read_bytes()
    with session.reading() as store:
        alert = require_alert(store, which)
        site = site_fact(store, SITE_NAME) or "(unnamed)"
        files = evidence_pack(store, alert, site, check)
        data = pack_data(session, require_evidence(store, alert.evidence_id or 0))
    files[PAGE] = page(data)
    if output.suffix == ".tar":
        _write_tar(output, files, alert.detected_at)
    else:
        _write_directory(output, files)
    digest = sha256(check).hexdigest()
    data = members(output=output, alert=alert.number, files=sorted(files), check_sha256=digest)
    text = f"Wrote {output}: {', '.join(sorted(files))}\ncheck.py has SHA-256 {digest}"
    return Result(data, text)


def _write_directory(output: Path, files: Mapping[str, bytes]) -> None:

    try:
        output.mkdir()
    except FileExistsError as error:
        raise StoreError(
            f"{output} exists already", reason="file-exists", next_step="choose another name"
        ) from error
    except OSError as error:
        raise output_error(output, error) from error
    for name, data in files.items():
        with written_whole(output / name) as file:
            file.write(data)


def _write_tar(output: Path, files: Mapping[str, bytes], at: int) -> None:

    with (
        written_whole(output) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{output.stem}/{name}")
            member.size, member.mtime, member.mode = len(data), at, 0o644
            tar.addfile(member, io.BytesIO(data))

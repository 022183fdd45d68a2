"""prove and proof: make proofs from local tiles, and check them with nothing but keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.entry_place import chosen_entry, log_index_option, place_data
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.jobs.mirror.prove import prove_consistency, prove_inclusion, upgrade_bundle
from appliance.rekor.two_step_proof import UpstreamStep
from appliance.runs.proof import MAX_ENTRY_FILE_BYTES, verify_proof_file
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign, written_whole
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--origin", help="The log's origin.")
@click.option("--index", "entry_index", type=Whole(0), help="Entry to prove included.")
@log_index_option
@click.option("--from-size", type=Whole(0), help="Prove this older tree a prefix.")
@click.option("--tree-size", type=Whole(0), help="Under this accepted checkpoint.")
@click.option("--bundle", type=FILE, help="Prove the entry of this Sigstore bundle.")
@click.option("--upgrade", type=FILE, help="Write --bundle here, with today's proof.")
@click.option("--output", type=FILE, help="Write the proof here as well (.tlog-proof).")
@common_options
@pass_session
def prove(
    session: Session,
    origin: str | None,
    entry_index: int | None,
    log_index: int | None,
    from_size: int | None,
    tree_size: int | None,
    bundle: Path | None,
    upgrade: Path | None,
    output: Path | None,
) -> Result:
    """Prove an entry included, or an older tree a prefix, from local tiles.

    An inclusion proof is C2SP tlog-proof text: whoever has the log's key can check it.
    --log-index takes the index over all trees of a Rekor v1 log and finds the tree, offline;
    --origin then names the instance, where more than one is known here.

    \b
    Example:
        attestor prove --origin log.example --index 1234 --output app.tlog-proof
        attestor prove --log-index 771488337 --output app.tlog-proof
        attestor prove --origin log.example --from-size 1000
        attestor prove --origin log.example --bundle app.sigstore.json --upgrade new.sigstore.json
    """

    if sum(one is not None for one in (entry_index, log_index, from_size, bundle)) != 1:
        raise click.UsageError(
            "exactly one of --index, --log-index, --bundle and --from-size is needed"
        )
    if origin is None and log_index is None:
        raise click.UsageError("Missing option '--origin'.")
    if upgrade is not None and bundle is None:
        raise click.UsageError("--upgrade needs --bundle")
    with session.reading() as store:
        if log_index is not None or origin is None:
            chosen = chosen_entry(store, origin, None, log_index)
        else:
            log, found = require_log(store, origin), entry_index
            mirror = Mirror(store, log)
            if bundle is not None:
                raw = read_foreign(bundle, MAX_ENTRY_FILE_BYTES)
                upgraded, fresh = upgrade_bundle(mirror, raw)
                if upgrade is not None:
                    return _upgraded(origin, upgrade, upgraded, fresh.tree_size)
                found = fresh.entry_index
            if found is None:
                return _consistency(mirror, from_size or 0, tree_size)
            chosen = chosen_entry(store, log.origin, found, None)
        proof = prove_inclusion(Mirror(store, chosen.log), chosen.entry_index, tree_size)
    text = bytes(proof).decode()
    if output is not None:
        with written_whole(output) as file:
            file.write(text.encode())
    data = members(
        origin=chosen.log.origin,
        index=chosen.entry_index,
        **place_data(chosen.place),
        hashes=[one.hex() for one in proof.hashes],
        checkpoint=proof.note.decode(),
        proof=text,
        output=output,
    )
    if output is None:
        return Result(data, text.removesuffix("\n"))
    said = f": {chosen.place}" if log_index is not None else ""
    return Result(data, f"wrote {output}{said}")


def _consistency(mirror: Mirror, from_size: int, tree_size: int | None) -> Result:
    old, new, hashes = prove_consistency(mirror, from_size, tree_size)
    data = members(
        new,
        "tree_size",
        "root_hash",
        origin=mirror.log.origin,
        old_size=old.tree_size,
        old_root_hash=old.root_hash,
        hashes=[one.hex() for one in hashes],
    )
    return Result(data, "\n".join(one.hex() for one in hashes))


def _upgraded(origin: str, path: Path, data: bytes, tree_size: int) -> Result:

    with written_whole(path) as file:
        file.write(data)
    found = members(origin=origin, output=path, tree_size=tree_size)
    return Result(found, f"wrote {path}, proven in the tree of {tree_size:,}")


@click.group(cls=LazyGroup)
def proof() -> None:
    """Proofs as files.

    \b
    Example:
        attestor proof verify app.tlog-proof --entry body.json
    """


@proof.command("verify")
@click.argument("file", type=FILE)
@click.option("--entry", type=FILE, required=True, help="The entry's bytes, as logged.")
@click.option("--policy", type=FILE, help="tlog-policy: logs and witnesses that count.")
@common_options
@pass_session
def proof_verify(session: Session, file: Path, entry: Path, policy: Path | None) -> Result:
    """Verify that a log holds an entry, by the tlog-proof in FILE.

    A proof in two steps ('attestor queue proof') says as well that another log holds that
    log's checkpoint; both have to verify. Keys come from --policy, else from what this
    home has pinned. The entry's bytes are the canonicalizedBody in its Sigstore bundle or
    log entry, out of base64.

    \b
    Example:
        jq -r '.verificationMaterial.tlogEntries[0].canonicalizedBody' app.sigstore.json \\
            | base64 -d > body.json
        attestor proof verify app.tlog-proof --entry body.json --policy trust.policy
    """

    proven = verify_proof_file(session, file, entry, policy)
    head, upstream = proven.head, proven.upstream
    data: dict[str, Any] = members(
        proven,
        "origin",
        "entry_index",
        leaf_hash=proven.leaf,
        tree_size=head.tree_size,
        root_hash=head.root_hash,
        cosigners=[
            members(name=cosignature.key.name, timestamp=cosignature.timestamp)
            for cosignature in proven.cosignatures
        ],
    )
    text = f"{proven.origin}: entry {proven.entry_index} is in the tree of {head.tree_size}"
    if upstream is not None:
        data["upstream"] = _upstream_data(upstream)
        text += (
            f"\n{upstream.origin}: its entry {upstream.entry.log_index} is the checkpoint of"
            " that tree"
        )
    return Result(data, text)


def _upstream_data(step: UpstreamStep) -> dict[str, Any]:
    return members(
        step.checkpoint.head,
        "tree_size",
        "root_hash",
        origin=step.origin,
        index=step.entry.log_index,
    )

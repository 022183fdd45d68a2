"""The spelling of manifest.json: canonical JSON, schema 1 (bundles/README.md, section 3)."""

from __future__ import annotations

from typing import Any, Final

from bundles.errors import FormatError, UnsupportedError
from bundles.manifest import (
    Contains,
    CreatedBy,
    Custody,
    DataAge,
    Entries,
    Have,
    LogPart,
    Manifest,
    Tiles,
    Totals,
    TreeHeadRef,
    Volume,
)
from bundles.strict_json import Fields, format_json, format_time, load_json, parse_object

SCHEMA: Final = 1
FIND: Final = "find"  # the members below find/
CONSISTENCY: Final = "consistency"  # of logs without tiles: logs/<hex>/consistency
WINDOW: Final = "window"  # entries of logs without tiles: logs/<hex>/window/
CAPABILITIES: Final = frozenset({FIND, CONSISTENCY, WINDOW})  # what `requires` may name
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
MANIFEST_PATH: Final = "manifest.json"


def format_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json.

    Raises FormatError if parse_manifest would not give `manifest` back, so that
    no transfer bundle is written that nobody can read.
    """
    try:
        data = format_json(_json_of(manifest))
    except (ValueError, TypeError, OverflowError) as error:  # a year 10000, a half character
        raise FormatError(f"{MANIFEST_PATH}: cannot be written: {error}") from error
    if parse_manifest(data) != manifest:
        raise FormatError(f"{MANIFEST_PATH}: some value in it is of the wrong type")
    return data


def parse_manifest(data: bytes) -> Manifest:
    """Parse manifest.json.

    Raises FormatError unless `data` is the one spelling of its manifest. What a
    later version wrote is told apart first: reason "unknown-schema", or
    "unknown-capability" when `requires` names something not known here.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise UnsupportedError(
            f"{MANIFEST_PATH}: {len(data)} bytes, at most {MAX_MANIFEST_BYTES} allowed",
            reason="limit",
        )
    try:
        return parse_object(load_json(data, MANIFEST_PATH), MANIFEST_PATH, _manifest)
    except ValueError as error:  # from the types' own checks
        raise FormatError(f"{MANIFEST_PATH}: {error}") from error


def _manifest(fields: Fields) -> Manifest:
    schema = fields.integer("schema")
    if schema != SCHEMA:
        raise UnsupportedError(
            f"{MANIFEST_PATH}: schema {schema} is not known here, expected {SCHEMA}",
            reason="unknown-schema",
            next_step="import it with a version that knows this schema",
        )
    created_by = fields.record("createdBy", _created_by)
    requires = fields.texts("requires")
    _verify_capabilities(requires, created_by)
    return Manifest(
        created_at=fields.time("createdAt"),
        created_by=created_by,
        site=fields.text("site"),
        purpose=fields.text("purpose"),
        logs=fields.records("logs", _log_part),
        volume=fields.record("volume", _volume),
        totals=fields.record("totals", lambda of: Totals(of.integer("files"), of.integer("bytes"))),
        data_age=fields.record("dataAge", _data_age),
        have=fields.records("have", _have),
        contains=fields.record("contains", _contains),
        custody=fields.record("custody", _custody),
        requires=requires,
        not_before=fields.time("notBefore") if fields.has("notBefore") else None,
        expires=fields.time("expires") if fields.has("expires") else None,
        extensions=fields.extensions(),
    )


def _verify_capabilities(requires: tuple[str, ...], created_by: CreatedBy) -> None:
    unknown = sorted(set(requires) - CAPABILITIES)
    if unknown:
        raise UnsupportedError(
            f"{MANIFEST_PATH}: it requires {', '.join(unknown)}, not known here; "
            f"it was written by {created_by.tool} {created_by.version}",
            reason="unknown-capability",
            next_step=f"import it with {created_by.tool} {created_by.version} or later",
        )


def _created_by(fields: Fields) -> CreatedBy:
    return CreatedBy(tool=fields.text("tool"), version=fields.text("version"))


def _log_part(fields: Fields) -> LogPart:
    return LogPart(
        origin=fields.text("origin"),
        vkeys=fields.texts("vkeys"),
        base=fields.record_or_none("base", _tree_head),
        head=fields.record("head", _tree_head),
        tiles=fields.record("tiles", lambda of: Tiles(of.integer("count"), of.integer("bytes"))),
        entries=fields.record_or_none(
            "entries", lambda of: Entries(of.integer("from"), of.integer("to"))
        ),
    )


def _tree_head(fields: Fields) -> TreeHeadRef:
    return TreeHeadRef(tree_size=fields.integer("treeSize"), root_hash=fields.digest("rootHash"))


def _volume(fields: Fields) -> Volume:
    return Volume(
        set_name=fields.text("set"), number=fields.integer("number"), of=fields.integer("of")
    )


def _data_age(fields: Fields) -> DataAge:
    return DataAge(
        newest_checkpoint=fields.time_or_none("newestCheckpoint"),
        trust_root_fetched=fields.time_or_none("trustRootFetched"),
    )


def _have(fields: Fields) -> Have:
    return Have(
        origin=fields.text("origin"),
        tree_size=fields.integer("treeSize"),
        root_hash=fields.digest("rootHash"),
    )


def _contains(fields: Fields) -> Contains:
    return Contains(
        pending=fields.integer("pending"),
        receipts=fields.integer("receipts"),
        acks=fields.integer("acks"),
        checkpoints_seen=fields.integer("checkpointsSeen"),
    )


def _custody(fields: Fields) -> Custody:
    return Custody(
        handler=fields.text("handler"),
        media_id=fields.text("mediaId"),
        seal=fields.text("seal"),
        ticket=fields.text("ticket"),
    )


def _json_of(manifest: Manifest) -> dict[str, Any]:
    return {
        **manifest.extensions,
        **{
            key: format_time(seconds)
            for key, seconds in (("notBefore", manifest.not_before), ("expires", manifest.expires))
            if seconds is not None
        },
        "schema": SCHEMA,
        "requires": manifest.requires,
        "createdAt": format_time(manifest.created_at),
        "createdBy": {"tool": manifest.created_by.tool, "version": manifest.created_by.version},
        "site": manifest.site,
        "purpose": manifest.purpose,
        "logs": [_json_of_log(log) for log in manifest.logs],
        "volume": {
            "set": manifest.volume.set_name,
            "number": manifest.volume.number,
            "of": manifest.volume.of,
        },
        "totals": {"files": manifest.totals.files, "bytes": manifest.totals.n_bytes},
        "dataAge": {
            "newestCheckpoint": _time_or_null(manifest.data_age.newest_checkpoint),
            "trustRootFetched": _time_or_null(manifest.data_age.trust_root_fetched),
        },
        "have": [
            {"origin": have.origin, "treeSize": have.tree_size, "rootHash": have.root_hash.hex()}
            for have in manifest.have
        ],
        "contains": {
            "pending": manifest.contains.pending,
            "receipts": manifest.contains.receipts,
            "acks": manifest.contains.acks,
            "checkpointsSeen": manifest.contains.checkpoints_seen,
        },
        "custody": {
            "handler": manifest.custody.handler,
            "mediaId": manifest.custody.media_id,
            "seal": manifest.custody.seal,
            "ticket": manifest.custody.ticket,
        },
    }


def _json_of_log(log: LogPart) -> dict[str, Any]:
    return {
        "origin": log.origin,
        "vkeys": log.vkeys,
        "base": _json_of_head(log.base) if log.base else None,
        "head": _json_of_head(log.head),
        "tiles": {"count": log.tiles.count, "bytes": log.tiles.n_bytes},
        "entries": {"from": log.entries.start, "to": log.entries.stop} if log.entries else None,
    }


def _json_of_head(head: TreeHeadRef) -> dict[str, Any]:
    return {"treeSize": head.tree_size, "rootHash": head.root_hash.hex()}


def _time_or_null(seconds: int | None) -> str | None:
    return None if seconds is None else format_time(seconds)

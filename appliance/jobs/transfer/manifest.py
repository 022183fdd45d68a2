"""Describe the volumes of an export: what stands in each one's manifest.json."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from appliance.errors import ArgumentError
from appliance.jobs.last_vouched import last_vouched
from appliance.jobs.mirror.tree_places import places_data
from appliance.jobs.our_tree import covered
from appliance.jobs.transfer.names import fat_safe
from appliance.jobs.transfer.plan import PlannedLog
from appliance.jobs.transfer.volumes import Cargo
from appliance.store.database import Store
from appliance.store.home.settings import require_site_name
from appliance.store.mirror.logs import Log, all_logs, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.verify.trust import current_root
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.value import frozen
from appliance.version import __version__
from bundles.manifest import CreatedBy, Custody, DataAge, Have, Manifest, Volume
from bundles.manifest_json import CONSISTENCY, WINDOW
from bundles.strict_json import format_time

NO_CUSTODY: Final = Custody("", "", "", "")


@frozen
class Moment:
    """A point in time."""

    seconds: int  # Unix time, or from when the export is made
    after_export: bool = False

    def at(self, created_at: int) -> int:
        """Return it in Unix seconds."""
        return created_at + self.seconds if self.after_export else self.seconds


@frozen
class Validity:
    """From when and until when a transfer bundle may be imported; None: no such limit."""

    not_before: Moment | None = None
    expires: Moment | None = None


@frozen
class Remarks:
    """What whoever exports wants the far side to know."""

    purpose: str = ""
    custody: Custody = NO_CUSTODY
    validity: Validity = Validity()


def describe_volumes(
    store: Store,
    planned: Sequence[PlannedLog],
    cargo: Sequence[Cargo],
    remarks: Remarks,
    now: int,
) -> list[Manifest]:
    """Return the manifest of each volume.

    Raises ConfigError if this home has no site name, or nobody could import them at any time.
    """
    site = require_site_name(store)
    not_before, expires = _window(remarks.validity, now)
    # Equal exports in one second are one set, and no others.
    said = repr((remarks, [load.logs for load in cargo]))
    content = sha256(said.encode("utf-8", "backslashreplace")).hexdigest()
    set_name = f"{fat_safe(site)[:80]}-{now}-{content[:8]}"
    root = current_root(store)
    # The oldest of them: a claim of freshness must hold for every log in here.
    oldest = min((_heard_at(store, log, now) for log in planned), default=None)
    have = tuple(_have(store, log) for log in all_logs(store))
    return [
        Manifest(
            created_at=now,
            created_by=CreatedBy("attestor", __version__),
            site=site,
            purpose=remarks.purpose,
            logs=load.logs,
            volume=Volume(set_name, number, len(cargo)),
            totals=load.listed.totals,
            data_age=DataAge(oldest, root.imported_at if root else None),
            have=have,
            contains=load.side.contains,
            custody=remarks.custody,
            requires=_required(load, planned),
            not_before=not_before,
            expires=expires,
            extensions=places_data(store, (part.origin for part in load.logs)),
        )
        for number, load in enumerate(cargo, start=1)
    ]


def _required(load: Cargo, planned: Sequence[PlannedLog]) -> tuple[str, ...]:
    proves = any(log.consistency for log in planned)
    needed = {CONSISTENCY: proves, WINDOW: load.has_windows}
    return tuple(sorted({*load.side.requires, *(one for one, is_so in needed.items() if is_so)}))


def _heard_at(store: Store, planned: PlannedLog, now: int) -> int:
    """Return when the log of a head was last heard of."""
    mirror = Mirror(store, require_log(store, planned.origin))
    vouched_at, _ = last_vouched(mirror, planned.head, now)
    return planned.head.first_seen_at if vouched_at is None else vouched_at


def _window(validity: Validity, now: int) -> tuple[int | None, int | None]:
    not_before = validity.not_before.at(now) if validity.not_before else None
    expires = validity.expires.at(now) if validity.expires else None
    for earliest, what in ((now, "now"), (not_before, "the time it may be used from")):
        if expires is not None and earliest is not None and expires <= earliest:
            raise ArgumentError(
                f"it would expire at {format_time(expires)}, which is not after {what},"
                f" {format_time(earliest)}",
                reason="validity",
                next_step="give a later --expires",
            )
    return not_before, expires


def _have(store: Store, log: Log) -> Have:
    """Say what is proven and whole here; on an accepted head with gaps nothing can be built.

    A log of which nothing is here is named too: silence would leave standing what was said
    before a home was lost.
    """
    head = covered(Mirror(store, log)) or TreeHead(0, EMPTY_ROOT)
    return Have(log.origin, head.tree_size, head.root_hash)

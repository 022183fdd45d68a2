"""Describe the volumes of an export: what stands in each one's manifest.json (TRANSFER.md 2)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from appliance import __version__
from appliance.jobs.export_names import fat_safe
from appliance.jobs.export_plan import PlannedLog
from appliance.jobs.volumes import Cargo
from appliance.store.database import Store
from appliance.store.logs import require_log
from appliance.store.mirror import Mirror
from appliance.store.settings import require_site_name
from appliance.store.trust import current_root
from bundles.manifest import CreatedBy, Custody, DataAge, Have, Manifest, Volume
from bundles.writer import totals_of


def describe_volumes(
    store: Store,
    planned: Sequence[PlannedLog],
    cargo: Sequence[Cargo],
    purpose: str,
    custody: Custody,
    now: int,
) -> list[Manifest]:
    """Return the manifest of each volume; raises ConfigError if this home has no site name."""
    site = require_site_name(store)
    # Equal exports in one second are one set, and no others.
    said = repr((purpose, custody, [load.logs for load in cargo]))
    content = sha256(said.encode("utf-8", "backslashreplace")).hexdigest()
    set_name = f"{fat_safe(site)[:80]}-{now}-{content[:8]}"
    root = current_root(store)
    # The oldest of the heads: a claim of freshness must hold for every log in here.
    oldest = min((log.head.first_seen_at for log in planned), default=None)
    have = tuple(filter(None, (_have(store, log.origin) for log in planned)))
    return [
        Manifest(
            created_at=now,
            created_by=CreatedBy("attestor", __version__),
            site=site,
            purpose=purpose,
            logs=load.logs,
            volume=Volume(set_name, number, len(cargo)),
            totals=totals_of(load.members),
            data_age=DataAge(oldest, root.imported_at if root else None),
            have=have,
            contains=load.besides.contains,
            custody=custody,
        )
        for number, load in enumerate(cargo, start=1)
    ]


def _have(store: Store, origin: str) -> Have | None:
    """Say what is proven and whole here; on an accepted head with gaps nothing can be built."""
    held = Mirror(store, require_log(store, origin)).history.mirror_checkpoint()
    return Have(origin, held.head.tree_size, held.head.root_hash) if held else None

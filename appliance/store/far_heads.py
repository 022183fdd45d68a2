"""What the far sides of the gap say they hold: deltas for them start there (TRANSFER.md 4).

Nothing is believed for standing here: an export compares each with its own tree.
"""

from __future__ import annotations

from appliance.store.database import Store
from appliance.tlog.merkle import Hash
from appliance.value import frozen


@frozen
class FarHead:
    """The tree of a log that a far side has proven for itself."""

    site: str  # its name
    origin: str
    tree_size: int  # leaves
    root_hash: Hash
    told_at: int  # Unix seconds, its clock
    how: str  # receipt, have, code


def far_heads(store: Store, origin: str) -> list[FarHead]:
    """Return what each far side holds of a log."""
    rows = store.rows("SELECT * FROM far_head WHERE origin = ? ORDER BY site", [origin])
    return [
        FarHead(
            *(row["site"], row["origin"], row["tree_size"], Hash(row["root_hash"])),
            *(row["told_at"], row["how"]),
        )
        for row in rows
    ]


def put_far_head(store: Store, far: FarHead) -> None:
    """Remember what a far side holds, inside store.atomic(); an old word changes nothing.

    A smaller tree that was told later counts: there a home was lost, or begun anew. A larger
    one counts in any case, for that site's clock may be wrong.
    """
    store.execute(
        "INSERT INTO far_head VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " tree_size = excluded.tree_size, root_hash = excluded.root_hash,"
        " told_at = excluded.told_at, how = excluded.how"
        " WHERE excluded.tree_size >= tree_size OR excluded.told_at >= told_at",
        [far.site, far.origin, far.tree_size, far.root_hash, far.told_at, far.how],
    )


def forget_far_side(store: Store, site: str) -> None:
    """Forget what a far side holds, of every log, inside store.atomic()."""
    store.execute("DELETE FROM far_head WHERE site = ?", [site])

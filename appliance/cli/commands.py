"""Every command of the appliance: where it is, and the line that `attestor --help` has for it.

The line stands here so that the help imports no command.
"""

from __future__ import annotations

from typing import Final

import click

from appliance.cli.groups import LazyGroup, load_command

# Section, and in it: name, location below appliance.cli, summary (58 characters at most).
_TABLE: Final[tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]] = (
    (
        "Mirror logs",
        (
            ("sync", "mirror.sync:sync", "Fetch checkpoints, prove them consistent, store tiles"),
            ("sync-status", "mirror.status:sync_status", "Each log's size, age, coverage, health"),
            ("backend", "mirror.backend:backend", "The logs this home knows, and their addresses"),
            ("checkpoint", "mirror.checkpoint:checkpoint", "Checkpoints as they were signed"),
            ("tiles", "mirror.tiles:tiles", "The stored tiles of each log"),
            ("entries", "find.entries:entries", "What is in the mirrored logs"),
            ("index", "find.index:index", "Where to look in the mirrored entries"),
            ("sql", "find.sql:sql", "Ask the views of this home anything, by SQL"),
            ("prove", "mirror.prove:prove", "Prove an entry included, or a tree a prefix"),
            ("proof", "mirror.prove:proof", "Proofs as files"),
            ("failover", "divergence.quarantine:failover", "Make a mirror the primary source"),
            ("serve", "divergence.serve:serve", "Give the logs of this home to other machines"),
        ),
    ),
    (
        "Verify artifacts",
        (
            (
                "verify",
                "verify.verify:verify",
                "Verify artifacts, offline, against Sigstore bundles",
            ),
            ("verdicts", "verify.verdicts:verdicts", "Verdicts that 'verify --record' remembered"),
            ("trust", "verify.trust:trust", "The Sigstore trusted root"),
        ),
    ),
    (
        "Carry across the gap",
        (
            ("export", "transfer.export:export", "Write a signed transfer bundle"),
            (
                "import",
                "transfer.import_:import_",
                "Verify transfer bundles and take what they bring",
            ),
            ("inspect", "transfer.inspect:inspect", "Say what a file claims to be"),
            ("receipt", "transfer.receipt:receipt", "Receipts: what the far side holds"),
            (
                "exporters",
                "transfer.exporters:exporters",
                "Whose transfer bundles are believed here",
            ),
            (
                "countersign",
                "transfer.countersign:countersign",
                "Add a signature to a transfer bundle",
            ),
            ("custody", "transfer.custody:custody", "Who had which medium when"),
            ("drill", "drill.drill:drill", "Rehearse both sides of a gap under attack"),
        ),
    ),
    (
        "Watch",
        (
            (
                "check",
                "divergence.check:check",
                "One line on the health of all, as a monitoring plugin",
            ),
            (
                "alerts",
                "divergence.alerts:alerts",
                "What somebody has to know of, and its evidence",
            ),
            ("watch", "find.watch:watch", "Be told of entries by name, key or digest"),
            ("quarantine", "divergence.quarantine:quarantine", "Logs that contradicted themselves"),
            ("expected", "find.expected:expected", "What should be signed, and what it came to"),
            ("metrics", "divergence.metrics:metrics", "Metrics for Prometheus"),
            ("report", "divergence.report:report", "One page to sign off, that checks itself"),
        ),
    ),
    (
        "Submit",
        (
            ("queue", "queue.queue:queue", "What waits to be logged, and what became of it"),
            ("budget", "queue.budget:budget", "How much each tenant may submit, and when again"),
            ("tenant", "queue.tenant:tenant", "Who may put something into the queue"),
            (
                "publish",
                "queue.publish:publish",
                "Log a digest, or the end of the journal, elsewhere",
            ),
        ),
    ),
    (
        "Run a log of your own",
        (
            ("log", "private_log.log:log", "A private log for Rekor v2 clients"),
            ("witness", "witness.witness:witness", "Vouch for other logs, online and by file"),
        ),
    ),
    (
        "This home",
        (
            ("init", "mirror.init:init", "Create the home, or bring an older one up to date"),
            ("config", "home.config:config", "The settings"),
            ("key", "home.key:key", "The private keys"),
            ("journal", "home.journal:journal", "What this home did, each line bound to the last"),
            ("doctor", "home.doctor:doctor", "Check the machine, the store, keys and clock"),
            ("store", "home.store:store", "Back up, check and clean the store"),
            (
                "checkpoint-store",
                "home.store:checkpoint_store",
                "Other names for init and store check",
            ),
        ),
    ),
)
LOCATIONS: Final = {name: at for _, rows in _TABLE for name, at, _ in rows}
ALIASES: Final = {
    "checkpoints": "checkpoint",
    "tile": "tiles",
    "backends": "backend",
    "logs": "log",
    "keys": "key",
    "status": "sync-status",
    "alert": "alerts",
    "tenants": "tenant",
    "budgets": "budget",
    "entry": "entries",
}


class RootGroup(LazyGroup):
    """The commands by section; the singular or plural of a group's name will do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order a newcomer meets them."""
        return list(LOCATIONS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        location = LOCATIONS.get(ALIASES.get(cmd_name, cmd_name))
        return None if location is None else load_command(location)

    def known_names(self, ctx: click.Context) -> list[str]:
        """List every name that finds a command."""
        return [*LOCATIONS, *ALIASES]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, without importing a command."""
        for section, rows in _TABLE:
            with formatter.section(section):
                formatter.write_dl([(name, summary) for name, _, summary in rows])

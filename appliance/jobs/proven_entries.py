"""Which entries Sigstore bundles are about, for an export that only has to prove these.

What a Sigstore bundle says about itself only chooses tiles here; it is verified over there.
"""

from __future__ import annotations

from appliance.errors import IncompleteError
from appliance.jobs.export_plan import ProvenEntry
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.note import parse_note


def proven_entries(raw: bytes) -> tuple[ProvenEntry, ...]:
    """Return the entries of the Sigstore bundles in one file.

    Raises MalformedError or LimitError for a file that holds none, IncompleteError if one
    does not say where in which tree its entry is.
    """
    found = []
    for bundle in parse_attestation_file(raw):
        entry = bundle.log_entry
        proof = entry.inclusion_proof if entry else None
        if proof is None or not proof.checkpoint:
            raise IncompleteError(
                "the Sigstore bundle does not say where in a tree its entry is",
                reason="no-inclusion-proof",
                next_step="export without --for, with everything that is new",
            )
        checkpoint = parse_checkpoint(parse_note(proof.checkpoint.encode()).text)
        found.append(ProvenEntry(checkpoint.origin, proof.entry_index, checkpoint.head.tree_size))
    return tuple(found)

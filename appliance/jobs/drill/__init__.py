"""The rehearsal: attacks on real homes, and what has to come of them."""

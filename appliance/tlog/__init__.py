"""Any tiled log: notes, checkpoints, tiles, proofs (C2SP, RFC 6962). Pure: no I/O, no clock."""

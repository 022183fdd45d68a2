"""Real faults: processes that are killed, calls that fail, disks that are full."""

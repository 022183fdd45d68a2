"""The home itself: its settings, keys, journal, backups and health."""

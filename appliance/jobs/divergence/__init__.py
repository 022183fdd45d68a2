"""Logs that contradict themselves or fall silent, and sites in trouble: what is told and kept."""

"""Logs that contradict themselves or fall silent: incidents, alerts, quarantine, evidence."""

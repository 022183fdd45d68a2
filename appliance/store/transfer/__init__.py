"""Across the gap: export, import, receipts, exporters, custody."""

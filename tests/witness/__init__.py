"""Tests of witnesses, ours and others."""

"""Tests of the network code, all against a real server on loopback."""

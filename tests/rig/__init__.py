"""What stands between the queue and a log in the tests: faults, another log, a replay."""

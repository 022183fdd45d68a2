"""The submission queue, its budgets and what it sends."""

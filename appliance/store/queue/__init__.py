"""Submissions: the queue, budgets, tenants, publishing, aggregates."""

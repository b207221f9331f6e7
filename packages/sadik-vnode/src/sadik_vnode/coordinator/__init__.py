"""Conversations by which a node coordinates requests: one file an idea."""

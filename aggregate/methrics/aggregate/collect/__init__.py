"""Collecting: from gossip messages to judged and committed items."""

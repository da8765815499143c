"""What anyone can run: collect a topic into DuckDB, verify it, query it."""

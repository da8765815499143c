"""The spool: files to which each process of an app appends what it records, without SQLite."""

__all__: list[str] = []

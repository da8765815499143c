"""Reading a data set: SQL, views, data frames, and verifying every row again."""

__all__: list[str] = []

"""Reading a data set: SQL, views, data frames, verification of every stored row."""

__all__: list[str] = []

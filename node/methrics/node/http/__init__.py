"""HTTP/1.1 on trio and h11: a bounded server, and a client that sends one request."""

__all__: list[str] = []

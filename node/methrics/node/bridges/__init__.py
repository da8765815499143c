"""Bridges: apps that already count with another library keep their calls, and report here instead."""

"""Moving from Mixpanel: a catalog draft from an export, the same metrics on both sides."""

__all__: list[str] = []

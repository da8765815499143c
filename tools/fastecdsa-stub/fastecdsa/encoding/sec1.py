"""Stand-in; see the package."""

from __future__ import annotations

from fastecdsa import refuse


class SEC1Encoder:
    """An encoder that refuses."""

    encode_public_key = staticmethod(refuse)
    decode_public_key = staticmethod(refuse)

"""Stand-ins for parts of libp2p that methrics never uses (made by tools/vendor.py)."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""The protobuf types of this copy, apart from those of another libp2p in the same process."""


def absent(name: str) -> Any:
    """A class in the place of `name`. Calling it raises NotImplementedError."""

    def refuse(self: object, *_: object, **__: object) -> None:
        raise NotImplementedError(f"{name} is not part of the libp2p that methrics contains")

    return type(name.rpartition(".")[2], (Exception,), {"__init__": refuse})

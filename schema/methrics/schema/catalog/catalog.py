"""Read and sign catalogs: the declarations of what an app may measure.

The namespace key is an Ed25519 key that anyone can make (METH-9). A catalog with number n + 1
contains the id of catalog n, so the earlier catalogs cannot be changed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from methrics.schema.catalog.event_type import EventType, Release, SequenceDeclaration
from methrics.schema.catalog.rules import Content, read_content
from methrics.schema.errors import CatalogError, RefusedError
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.envelope import Kind, seal, split, verify
from methrics.schema.wire.limits import CATALOG_MAX
from methrics.schema.wire.reading import Reader
from methrics.schema.wire.topic import short_key, topic
from methrics.schema.wire.verdict import Reason

if TYPE_CHECKING:
    from methrics.schema.catalog.source import CatalogSource

__all__ = ["Catalog", "EventType", "Release", "SequenceDeclaration", "load", "sign"]


class Catalog:
    """One signed catalog. Callers must not change it.

    `id`: the id of the catalog's signed item, 32 bytes. `key`: the namespace key, 32 bytes. `raw`:
    the exact bytes of the signed item. `number`: 1 for the first catalog of a namespace.
    `previous`: the id of the previous catalog, None for number 1. `results`: the https address at
    which the results can be seen, "" if there is none. `types`: event types by name.
    """

    __slots__ = (
        "_content",
        "contact",
        "id",
        "key",
        "label",
        "number",
        "previous",
        "raw",
        "results",
        "types",
    )

    def __init__(self, content: Content, key: bytes, id: bytes, raw: bytes) -> None:
        self._content = content
        self.id = id
        self.key = key
        self.raw = raw
        self.label = content.label
        self.number = content.number
        self.previous = content.previous
        self.contact = content.contact
        self.results = content.results
        self.types: Mapping[str, EventType] = MappingProxyType(content.types)

    @classmethod
    def from_payload(cls, payload: bytes, key: bytes, id: bytes, raw: bytes) -> Catalog:
        """Read the catalog in `payload`. The caller has to check the signature, before or after.

        Raises RefusedError: OVERSIZE, MALFORMED, or OFF_SCHEMA if it breaks a rule for catalogs.
        """
        reader = Reader(strict=True)
        return cls(read_content(reader, decode(payload, limit=CATALOG_MAX)), key, id, raw)

    def to_payload(self) -> bytes:
        """Encode the parsed content again, as the bytes of a payload."""
        return encode(self._content.to_wire())

    @property
    def short_key(self) -> str:
        """Return the short key of the namespace: 16 letters and digits."""
        return short_key(self.key)

    @property
    def topic(self) -> str:
        """Return the gossip topic of this namespace."""
        return topic(self.label, self.key)

    def follows(self, older: Catalog) -> bool:
        """Tell whether this catalog directly follows `older`, with the same namespace key and
        label."""
        return (
            self.key == older.key
            and self.label == older.label
            and self.number == older.number + 1
            and self.previous == older.id
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Catalog({self.label!r}, number={self.number}, id={self.id.hex()[:16]})"


def load(raw: bytes, *, verify: bool = True) -> Catalog:
    """Read a catalog from the bytes of a catalog file, which contains one signed item.

    `verify=False` skips the signature check and does not load libsodium; use it for a catalog that
    ships inside the app. Raises CatalogError with the reason if the bytes are not a catalog.
    """
    try:
        item = split(raw)
        if item.kind is not Kind.CATALOG:
            raise CatalogError(
                "not-a-catalog",
                f"this is a signed {item.kind.name.lower()}, not a catalog",
                "give the file that `methrics catalog sign` wrote",
            )
        if item.work is not None:
            raise RefusedError(Reason.OFF_SCHEMA, "only a report may have a work stamp")
        if verify:
            _verify(item)
        return Catalog.from_payload(item.payload, item.key, item.id, item.raw)
    except RefusedError as error:
        raise CatalogError(
            "catalog-refused",
            f"not a valid signed catalog: {error.message}",
            "compile the TOML source with `methrics catalog sign`",
        ) from error


_verify = verify


def sign(source: CatalogSource, seed: bytes, previous: Catalog | None = None) -> bytes:
    """Sign `source` with the namespace key of `seed` (32 bytes). Return the bytes of the item.

    With `previous`, the new catalog gets the next number and contains the id of `previous`. Without
    it, the number and previous id in the source are used. The same arguments give the same bytes.
    Raises CatalogError if `previous` has another namespace key or label, if the source has another
    number, or if the item would be larger than CATALOG_MAX.
    """
    content = source.content
    if previous is not None:
        content = _chained(content, previous)
    try:
        raw = seal(Kind.CATALOG, encode(content.to_wire()), seed)
    except ValueError as error:
        raise CatalogError("catalog-too-large", str(error), "declare fewer types") from error
    if previous is not None and not load(raw, verify=False).follows(previous):
        raise CatalogError(
            "catalog-chain",
            "the previous catalog was signed with another key",
            "sign with the key of the namespace",
        )
    return raw


def _chained(content: Content, previous: Catalog) -> Content:
    if content.label != previous.label:
        raise CatalogError(
            "catalog-chain",
            f"the previous catalog has the label {previous.label}, this one {content.label}",
            "keep the label, or start a new namespace with number 1",
        )
    number = previous.number + 1
    if content.previous is not None and (content.number, content.previous) != (number, previous.id):
        raise CatalogError(
            "catalog-chain",
            f"the source names another previous catalog than catalog {previous.number}",
            "leave number and previous out of the source; --previous sets them",
        )
    return Content(
        content.label, number, previous.id, content.contact, content.results, content.types
    )

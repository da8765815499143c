"""TCP, multistream and Noise of a peer that is not ours: written from the libp2p specifications.

An attacker needs every layer in its hands: it sends bytes that no library sends, and reads as
slowly as it likes. A connection costs a fraction of a libp2p host's, so one process can be many
peers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import trio
from nacl.signing import SigningKey
from noise.connection import Keypair, NoiseConnection

from methrics._vendor.libp2p.peer.id import ID

MULTISTREAM = b"/multistream/1.0.0"
NOISE = b"/noise"
PLAIN_MAX = 65_535 - 16
"""Most bytes of plaintext in one Noise frame."""


def varint(number: int) -> bytes:
    """An unsigned LEB128 number."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field_of(number: int, value: bytes) -> bytes:
    """One length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


@dataclass(frozen=True)
class Identity:
    """A libp2p identity: an Ed25519 key."""

    seed: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    @property
    def key(self) -> SigningKey:
        return SigningKey(self.seed)

    @property
    def public(self) -> bytes:
        """The public key as libp2p's protobuf."""
        return b"\x08\x01\x12\x20" + bytes(self.key.verify_key)

    @property
    def raw_id(self) -> bytes:
        """The peer id: the public key as a multihash."""
        return b"\x00\x24" + self.public

    @property
    def peer_id(self) -> str:
        return str(ID(self.raw_id))

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data).signature


class Reader:
    """Reads exact numbers of bytes from something with `receive`."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._rest = bytearray()

    async def exactly(self, size: int) -> bytes:
        """`size` bytes; EOFError if they end before."""
        while len(self._rest) < size:
            more = await self._source.receive()  # type: ignore[attr-defined]
            if not more:
                raise EOFError
            self._rest += more
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    async def number(self) -> int:
        """An unsigned LEB128 number."""
        number = shift = 0
        while True:
            (byte,) = await self.exactly(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    async def prefixed(self) -> bytes:
        """Bytes behind their length as a varint."""
        return await self.exactly(await self.number())


class Wire:
    """The bytes of a TCP connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def receive(self) -> bytes:
        return bytes(await self.stream.receive_some(65_536))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)


async def propose(wire: object, reader: Reader, protocol: bytes) -> bool:
    """Ask for a protocol by multistream-select; whether the other side takes it."""
    lines = b"".join(varint(len(line) + 1) + line + b"\n" for line in (MULTISTREAM, protocol))
    await wire.send(lines)  # type: ignore[attr-defined]
    if await reader.prefixed() != MULTISTREAM + b"\n":
        raise EOFError
    return await reader.prefixed() == protocol + b"\n"


async def respond(wire: object, reader: Reader, known: set[bytes]) -> bytes:
    """Answer multistream-select until a known protocol is asked for; return it."""
    await reader.prefixed()
    await wire.send(varint(len(MULTISTREAM) + 1) + MULTISTREAM + b"\n")  # type: ignore[attr-defined]
    while True:
        asked = (await reader.prefixed()).removesuffix(b"\n")
        said = asked if asked in known else b"na"
        await wire.send(varint(len(said) + 1) + said + b"\n")  # type: ignore[attr-defined]
        if asked in known:
            return asked


class Secure:
    """The plaintext inside Noise."""

    def __init__(self, wire: Wire, reader: Reader, noise: NoiseConnection) -> None:
        self.wire = wire
        self._reader = reader
        self._noise = noise
        self._turn = trio.Lock()

    async def receive(self) -> bytes:
        while True:
            size = int.from_bytes(await self._reader.exactly(2), "big")
            plain = bytes(self._noise.decrypt(await self._reader.exactly(size)))
            if plain:
                return plain

    async def send(self, data: bytes) -> None:
        async with self._turn:
            for start in range(0, len(data), PLAIN_MAX):
                sealed = bytes(self._noise.encrypt(data[start : start + PLAIN_MAX]))
                await self.wire.send(len(sealed).to_bytes(2, "big") + sealed)


async def secured(wire: Wire, identity: Identity) -> Secure:
    """Dial-side handshake: Noise XX with the identity's signature."""
    reader = Reader(wire)
    if not await propose(wire, reader, NOISE):
        raise EOFError
    noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
    static = os.urandom(32)
    noise.set_as_initiator()
    noise.set_keypair_from_private_bytes(Keypair.STATIC, static)
    noise.start_handshake()
    public = bytes(noise.noise_protocol.handshake_state.s.public_bytes)
    signature = identity.sign(b"noise-libp2p-static-key:" + public)
    payload = field_of(1, identity.public) + field_of(2, signature)
    for step, body in enumerate((b"", None, payload)):
        if step == 1:
            size = int.from_bytes(await reader.exactly(2), "big")
            noise.read_message(await reader.exactly(size))
        else:
            message = bytes(noise.write_message(body))
            await wire.send(len(message).to_bytes(2, "big") + message)
    return Secure(wire, reader, noise)

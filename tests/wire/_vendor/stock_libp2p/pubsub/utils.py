import logging

from methrics._vendor.libp2p.abc import IHost
from methrics._vendor.libp2p.peer.envelope import consume_envelope
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.pubsub.pb.rpc_pb2 import RPC

logger = logging.getLogger(__name__)


def maybe_consume_signed_record(msg: RPC, host: IHost, peer_id: ID) -> bool:
    """
    Attempt to parse and store a signed-peer-record (Envelope) received during
    PubSub communication. If the record is invalid, the peer-id does not match, or
    updating the peerstore fails, the function logs an error and returns False.

    Parameters
    ----------
    msg : RPC
        The protobuf message received during PubSub communication.
    host : IHost
        The local host instance, providing access to the peerstore for storing
        verified peer records.
    peer_id : ID | None, optional
        The expected peer ID for record validation. If provided, the peer ID
        inside the record must match this value.

    Returns
    -------
    bool
        True if a valid signed peer record was successfully consumed and stored,
        False otherwise.

    """
    if msg.HasField("senderRecord"):
        try:
            # Convert the signed-peer-record(Envelope) from
            # protobuf bytes
            envelope, record = consume_envelope(msg.senderRecord, "libp2p-peer-record")
            if not record.peer_id == peer_id:
                return False

            # Use the default TTL of 2 hours (7200 seconds)
            if not host.get_peerstore().consume_peer_record(envelope, 7200):
                logger.error("Failed to update the Certified-Addr-Book")
                return False
        except Exception as e:
            logger.error("Failed to update the Certified-Addr-Book: %s", e)
            return False
    return True


def safe_bytes_from_hex(value: str | bytes | bytearray) -> bytes | None:
    """
    Decode a wire message ID to bytes, returning None on failure.

    Used for defensively parsing wire message IDs in IHAVE/IWANT handlers
    so that malformed hex from peers does not crash the gossip handler task.

    Accepts:
    - hex text ``str`` (legacy)
    - ASCII-hex ``bytes`` (legacy py-libp2p peers that hex-encoded onto the wire)
    - opaque non-hex ``bytes`` (GossipSub schema / go / js peers)
    """
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)

        if isinstance(value, (bytes, bytearray)):
            raw = bytes(value)
            try:
                text = raw.decode("ascii")
            except UnicodeDecodeError:
                return raw
            try:
                return bytes.fromhex(text)
            except ValueError:
                # ASCII that isn't valid hex: only-hex-digit payloads (e.g.
                # odd length) are treated as malformed hex text; anything else
                # is an opaque binary message ID.
                if text and all(c in "0123456789abcdefABCDEF" for c in text):
                    return None
                return raw

        return None
    except ValueError:
        return None

"""Runs where only `cwt` and what it needs is installed: another party's COSE, told what to do.

Reads {"verify": [item...], "sign": [{seed, payload, content_type}...], "domain"} in hex from stdin
and writes {"verified": [payload or the error's name...], "signed": [item...]} to stdout.
"""

from __future__ import annotations

import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cwt import COSE, COSEKey

COSE_SIGN1 = b"\xd2"
"""CBOR tag 18: cwt wants it, our items go without."""


def key(public: bytes, seed: bytes | None = None) -> object:
    private = {} if seed is None else {-4: seed}
    return COSEKey.new({1: 1, 2: public, 3: -8, -1: 6, -2: public, **private})


def verify(item: bytes, domain: bytes) -> str:
    # The key id is the public key: it stands at a fixed place.
    try:
        cose = COSE.new(verify_kid=True)
        return cose.decode(COSE_SIGN1 + item, key(item[13:45]), external_aad=domain).hex()
    except Exception as error:  # noqa: BLE001  # whatever the other library says
        return type(error).__name__


def sign(seed: bytes, payload: bytes, content_type: int, domain: bytes) -> str:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    header = {1: -8, 3: content_type, 4: public}
    signed = COSE.new().encode_and_sign(
        payload, key(public, seed), protected=header, external_aad=domain
    )
    if not signed.startswith(COSE_SIGN1):
        raise SystemExit("cwt did not make a COSE_Sign1")
    return signed.removeprefix(COSE_SIGN1).hex()


def main() -> None:
    order = json.load(sys.stdin)
    domain = bytes.fromhex(order["domain"])
    verified = [verify(bytes.fromhex(item), domain) for item in order["verify"]]
    signed = [
        sign(bytes.fromhex(o["seed"]), bytes.fromhex(o["payload"]), o["content_type"], domain)
        for o in order["sign"]
    ]
    json.dump({"verified": verified, "signed": signed}, sys.stdout)


if __name__ == "__main__":
    main()

"""Signs and verifies items with the COSE library `cwt`, in an environment that has only `cwt`.

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
"""CBOR tag 18: cwt requires it, and the items of this project do not have it."""


def key(public: bytes, seed: bytes | None = None) -> object:
    private = {} if seed is None else {-4: seed}
    return COSEKey.new({1: 1, 2: public, 3: -8, -1: 6, -2: public, **private})


def verify(item: bytes, domain: bytes) -> str:
    # The key id is the public key, at a fixed offset.
    try:
        cose = COSE.new(verify_kid=True)
        return cose.decode(COSE_SIGN1 + item, key(item[13:45]), external_aad=domain).hex()
    except Exception as error:  # noqa: BLE001  # any error of the other library
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

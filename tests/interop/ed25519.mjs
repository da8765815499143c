// Ed25519 with the rules of schema/SPEC.md, section 2, on the points of @noble/curves.
//
// Not libsodium, though the SPEC's rules are libsodium's: the Python implementation runs libsodium,
// and only another library can show that the text alone is enough. @noble/curves' own `verify` does
// not fit, because it multiplies the equation by the cofactor; so the equation is written out here.

import { createHash } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519.js'

const { Point } = ed25519
const ORDER = Point.Fn.ORDER

function littleEndian (bytes) {
  return BigInt('0x' + Buffer.from(bytes).reverse().toString('hex'))
}

/** The point that 32 bytes encode canonically, or null. */
function pointOf (bytes) {
  try {
    return Point.fromBytes(Uint8Array.from(bytes), false)
  } catch {
    return null
  }
}

/** Whether `signature` (64 bytes) over `message` verifies under `key` (32 bytes). */
export function verify (signature, message, key) {
  const point = pointOf(key)
  if (point === null || point.isSmallOrder()) return false
  const r = signature.subarray(0, 32)
  const s = littleEndian(signature.subarray(32))
  if (s >= ORDER) return false
  const k = littleEndian(createHash('sha512').update(r).update(key).update(message).digest()) % ORDER
  const expected = Point.BASE.multiplyUnsafe(s).subtract(point.multiplyUnsafe(k))
  // Equal encodings imply that R is the canonical encoding of this very point.
  return !expected.isSmallOrder() && Buffer.compare(expected.toBytes(), r) === 0
}

/** Whether 32 bytes are a key: the canonical encoding of a point of prime order. */
export function isKey (key) {
  const point = pointOf(key)
  return point !== null && !point.isSmallOrder() && point.isTorsionFree()
}

/** The public key (32 bytes) of a seed (32 bytes). */
export const publicKey = (seed) => Buffer.from(ed25519.getPublicKey(Uint8Array.from(seed)))

/** The signature (64 bytes) over `message` by the key of `seed`. */
export const sign = (message, seed) => Buffer.from(ed25519.sign(Uint8Array.from(message), Uint8Array.from(seed)))

// Boxes, in which items travel to a relay: schema/SPEC.md, section 10.

import { randomBytes } from 'node:crypto'
import { hsalsa, xsalsa20poly1305 } from '@noble/ciphers/salsa.js'
import { x25519 } from '@noble/curves/ed25519.js'
import { blake2b } from '@noble/hashes/blake2.js'
import { Refusal, demand } from './verdict.mjs'

const STEP = 1280
const KEY = 32
const TAG = 16
const OVERHEAD = KEY + TAG
const LARGEST = 66608
const MARK = 0x80

function words (bytes) {
  const copy = Uint8Array.from(bytes)
  return new Uint32Array(copy.buffer)
}

/** The cipher of crypto_box_easy between two X25519 keys; it throws for a public key of small order. */
function cipher (secretKey, publicKey, nonce) {
  const shared = x25519.getSharedSecret(Uint8Array.from(secretKey), Uint8Array.from(publicKey))
  const key = new Uint32Array(8)
  hsalsa(words(Buffer.from('expand 32-byte k')), words(shared), new Uint32Array(4), key)
  return xsalsa20poly1305(new Uint8Array(key.buffer), nonce)
}

const nonceOf = (ephemeral, boxKey) => blake2b(Buffer.concat([ephemeral, boxKey]), { dkLen: 24 })

/** The X25519 public key (32 bytes) of a secret key. */
export const boxKeyOf = (secretKey) => Buffer.from(x25519.getPublicKey(Uint8Array.from(secretKey)))

const paddedSize = (n) => STEP * (Math.floor(n / STEP) + 1)

/** Seals the bytes of an item for the relay with this box key; `secretKey` is that of e, for this box alone. */
export function seal (item, boxKey, secretKey = randomBytes(KEY)) {
  const padded = Buffer.alloc(paddedSize(item.length))
  padded.set(item)
  padded[item.length] = MARK
  const ephemeral = boxKeyOf(secretKey)
  const sealed = cipher(secretKey, boxKey, nonceOf(ephemeral, boxKey)).encrypt(padded)
  return Buffer.concat([ephemeral, sealed])
}

/** The item in a box for the relay with this secret key; a Refusal `oversize` or `malformed`. */
export function open (box, secretKey) {
  demand(box.length <= LARGEST, 'oversize')
  demand(box.length > OVERHEAD && (box.length - OVERHEAD) % STEP === 0, 'malformed', 'not the size of a box')
  const ephemeral = box.subarray(0, KEY)
  const boxKey = boxKeyOf(secretKey)
  let padded
  try {
    padded = cipher(secretKey, ephemeral, nonceOf(ephemeral, boxKey)).decrypt(Uint8Array.from(box.subarray(KEY)))
  } catch {
    throw new Refusal('malformed', 'it does not open')
  }
  const end = padded.findLastIndex((byte) => byte !== 0)
  demand(end >= 0 && padded[end] === MARK && paddedSize(end) === padded.length, 'malformed', 'another padding')
  return Buffer.from(padded.subarray(0, end))
}

// Items: COSE_Sign1 in the one layout of schema/SPEC.md, section 2.

import { createHash } from 'node:crypto'
import { Reader, decodeHeader, encode, head } from './cbor.mjs'
import { isKey, publicKey, sign, verify } from './ed25519.mjs'
import { isInteger } from './shape.mjs'
import { demand } from './verdict.mjs'

export const KINDS = new Map([
  [65001n, 'report'], [65002n, 'erasure'], [65003n, 'catalog'], [65004n, 'record'], [65005n, 'announcement'],
  [65006n, 'manifest'], [65007n, 'descriptor']
])
const LIMITS = {
  report: 1024, erasure: 4096, record: 16384, announcement: 4096, manifest: 1024, catalog: 65536, descriptor: 16384
}
const ITEM_MAX = 65536
const [ALGORITHM, CONTENT_TYPE, KEY] = [1n, 3n, 4n]
const EDDSA = -8n
const EMPTY_MAP = 0xa0
const ARRAY_OF_4 = 0x84

export const hex = (bytes) => Buffer.from(bytes).toString('hex')

/** What is signed: the Sig_structure with this network's domain as external data. */
function signedBytes (protectedHeader, payload) {
  return encode(['Signature1', protectedHeader, Buffer.from('methrics/1'), payload])
}

function readHeader (bytes) {
  const header = decodeHeader(bytes)
  demand(header instanceof Map, 'malformed', 'the header is no map')
  demand(header.size === 3 + header.has('work'), 'malformed', 'another set of headers')
  demand(header.get(ALGORITHM) === EDDSA, 'malformed', 'another algorithm')
  const contentType = header.get(CONTENT_TYPE)
  demand(isInteger(contentType, 65000n, 65535n), 'malformed', 'another content type')
  const key = header.get(KEY)
  demand(key instanceof Uint8Array && key.length === 32, 'malformed', 'no key of 32 bytes')
  const work = header.get('work')
  demand(work === undefined || isInteger(work, 0n), 'malformed', 'no nonce')
  return { contentType, key, work }
}

/**
 * Reads the layout of an item: step 1 of section 7 but for the payload.
 *
 * Returns { kind, key, work, payload, signature, signed, id, raw }; work is undefined without a stamp.
 * Throws a Refusal `oversize`, `malformed` or `unknown-kind`.
 */
export function readItem (bytes) {
  demand(bytes.length <= ITEM_MAX, 'oversize')
  const reader = new Reader(bytes)
  demand(reader.take(1)[0] === ARRAY_OF_4, 'malformed', 'no array of four')
  const protectedHeader = reader.byteString()
  const { contentType, key, work } = readHeader(protectedHeader)
  demand(reader.take(1)[0] === EMPTY_MAP, 'malformed', 'the unprotected header is not empty')
  const payload = reader.byteString()
  const signature = reader.byteString()
  demand(signature.length === 64, 'malformed', 'no signature of 64 bytes')
  reader.end()
  const kind = KINDS.get(contentType)
  demand(kind !== undefined, 'unknown-kind')
  demand(bytes.length <= LIMITS[kind], 'oversize')
  const signed = signedBytes(protectedHeader, payload)
  const id = kind === 'report' ? reportId(key, innerHash(signature, payload)) : sha256(signed)
  return { kind, key, work, payload, signature, signed, id, raw: bytes }
}

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

/** The hash that an erasure shows of its report. */
export const innerHash = (signature, payload) => sha256(signature, payload)

/** The id of the report that a key signed and that has this inner hash. */
export const reportId = (key, inner) => sha256(key, inner)

/** Step 6 of section 7. */
export function checkSignature ({ signature, signed, key }) {
  if (verify(signature, signed, key)) return
  demand(isKey(key), 'bad-key')
  demand(false, 'forged')
}

/** How many zero bits the SHA-256 of the signed bytes starts with. */
export function zeroBits ({ signed }) {
  const bits = BigInt('0x' + hex(sha256(signed))).toString(2)
  return bits === '0' ? 256 : 256 - bits.length
}

/** Signs a payload (its CBOR) as an item of a kind by the key of a seed. */
export function sealItem (kind, payload, seed) {
  const contentType = [...KINDS].find(([, name]) => name === kind)[0]
  const header = encode(new Map([[ALGORITHM, EDDSA], [CONTENT_TYPE, contentType], [KEY, publicKey(seed)]]))
  const signature = sign(signedBytes(header, payload), seed)
  return Buffer.concat([
    head(4, 4), encode(header), Buffer.from([EMPTY_MAP]), encode(payload), encode(signature)
  ])
}

// Reconciliation: schema/SPEC.md, section 15.

import { createHash } from 'node:crypto'
import { decode } from './cbor.mjs'
import { isShard } from './payload.mjs'
import { isId, isInteger } from './shape.mjs'
import { Refusal, demand } from './verdict.mjs'

const WORD = 64n
const MASK = (1n << WORD) - 1n
const DIGITS = '0123456789abcdef'
const UINT32 = 2n ** 32n - 1n
const CURSOR = 2n ** 63n - 1n
const NODES = 512
const FETCHED = 500

const turned = (word, bits) => (word << bits | word >> (WORD - bits)) & MASK
const littleEndian = (bytes, at) => Buffer.from(bytes).readBigUInt64LE(at)

function rounds (v, count) {
  for (let i = 0; i < count; i++) {
    v[0] = (v[0] + v[1]) & MASK
    v[2] = (v[2] + v[3]) & MASK
    v[1] = turned(v[1], 13n) ^ v[0]
    v[3] = turned(v[3], 16n) ^ v[2]
    v[0] = (turned(v[0], 32n) + v[3]) & MASK
    v[2] = (v[2] + v[1]) & MASK
    v[3] = turned(v[3], 21n) ^ v[0]
    v[1] = turned(v[1], 17n) ^ v[2]
    v[2] = turned(v[2], 32n)
  }
}

/** SipHash-2-4 of an id under a salt, as a BigInt. */
export function siphash (salt, id) {
  const [k0, k1] = [littleEndian(salt, 0), littleEndian(salt, 8)]
  const v = ['somepseu', 'dorandom', 'lygenera', 'tedbytes'].map((text, i) =>
    BigInt('0x' + Buffer.from(text).toString('hex')) ^ (i % 2 ? k1 : k0))
  const words = Array.from({ length: id.length / 8 }, (_, i) => littleEndian(id, 8 * i))
  for (const word of [...words, BigInt(id.length % 256) << 56n]) {
    v[3] ^= word
    rounds(v, 2)
    v[0] ^= word
  }
  v[2] ^= 0xffn
  rounds(v, 4)
  return v[0] ^ v[1] ^ v[2] ^ v[3]
}

/** The sixteen parts of the ids below a node, as they are sent. */
export function partsOf (ids, prefix, salt) {
  const parts = [...DIGITS].map((digit) => {
    const below = ids.filter((id) => Buffer.from(id).toString('hex').startsWith(prefix + digit))
    const part = Buffer.alloc(12)
    part.writeUInt32BE(below.length)
    part.writeBigUInt64BE(below.reduce((joined, id) => joined ^ siphash(salt, id), 0n), 4)
    return part
  })
  return Buffer.concat(parts)
}

/** The digest of one set, from its days { day, count, digest }. */
export function setDigest (namespace, set, days) {
  const hash = createHash('sha256').update('methrics/1 sets').update(namespace).update(Buffer.from([set]))
  for (const { day, count, digest } of days) {
    const numbers = Buffer.alloc(16)
    numbers.writeBigUInt64BE(BigInt(day))
    numbers.writeBigUInt64BE(BigInt(count), 8)
    hash.update(numbers).update(digest)
  }
  return hash.digest()
}

const malformed = (condition, detail) => demand(condition, 'malformed', detail)
const isBytes = (value, size) => value instanceof Uint8Array && value.length === size

function demandArray (value, least, most) {
  malformed(Array.isArray(value) && value.length >= least && value.length <= most, 'an array of another length')
  return value
}

function demandNode (node) {
  const [day, prefix] = demandArray(node, 2, 2)
  malformed(isInteger(day, 0n, UINT32), 'a day')
  malformed(typeof prefix === 'string' && /^[0-9a-f]{0,64}$/.test(prefix), 'a prefix')
}

function demandNodes (nodes) {
  for (const node of demandArray(nodes, 1, NODES)) demandNode(node)
}

function demandWanted (wanted) {
  let count = 0
  for (const one of demandArray(wanted, 1, FETCHED)) {
    const [day, ids] = demandArray(one, 2, 2)
    malformed(isInteger(day, 0n, UINT32), 'a day')
    malformed(ids instanceof Uint8Array && ids.length > 0 && ids.length % 32 === 0, 'ids')
    count += ids.length / 32
  }
  malformed(count <= FETCHED, 'too many ids')
}

function demandOpen (parts) {
  const [key, asOf, record, erasures, reports, shard] = demandArray(parts, 5, 6)
  malformed([key, erasures, reports].every(isId), 'a key or a digest')
  malformed(isInteger(asOf, 0n, UINT32), 'a day')
  malformed(isBytes(record, 0) || isId(record), 'a record')
  malformed(parts.length === 5 || isShard(shard), 'a shard')
}

const BODIES = {
  split: (parts) => {
    const [salt, nodes] = demandArray(parts, 2, 2)
    malformed(isBytes(salt, 16), 'a salt')
    demandNodes(nodes)
  },
  list: (parts) => demandNodes(demandArray(parts, 1, 1)[0]),
  fetch: (parts) => demandWanted(demandArray(parts, 1, 1)[0]),
  all: (parts) => {
    const [node, cursor] = demandArray(parts, 2, 2)
    demandNode(node)
    malformed(isInteger(cursor, 0n, CURSOR), 'a cursor')
  }
}

/** Whether bytes are a request of the protocol. */
export function isRequest (bytes) {
  try {
    const value = decode(bytes)
    malformed(Array.isArray(value) && typeof value[0] === 'string', 'no named array')
    const [name, ...parts] = value
    if (name === 'open') {
      demandOpen(parts)
    } else {
      malformed(Object.hasOwn(BODIES, name), 'another name')
      const [session, set, ...rest] = parts
      malformed(isBytes(session, 16), 'a session')
      malformed(isInteger(set, 0n, 1n), 'a set')
      BODIES[name](rest)
    }
    return true
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return false
  }
}

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
const UINT64 = 2n ** 64n - 1n
const CURSOR = 2n ** 63n - 1n
const NODES = 512
const FETCHED = 500
const DAYS = 4096

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

const DOMAINS = ['methrics/1 erasures', 'methrics/1 digest']

/** The digest of one day of a set. */
export function dayDigest (namespace, set, day, ids) {
  const [number, count] = [Buffer.alloc(8), Buffer.alloc(8)]
  number.writeBigUInt64BE(BigInt(day))
  count.writeBigUInt64BE(BigInt(ids.length))
  const hash = createHash('sha256').update(DOMAINS[set]).update(namespace).update(number)
  for (const id of [...ids].sort(Buffer.compare)) hash.update(id)
  return hash.update(count).digest()
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
  malformed(new Set(wanted.map(([day]) => day)).size === wanted.length, 'a day twice')
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

const DAY = 40

function demandDays (days) {
  malformed(days instanceof Uint8Array && days.length % DAY === 0 && days.length <= DAYS * DAY, 'days')
  const bytes = Buffer.from(days)
  for (let at = 0; at < bytes.length; at += DAY) {
    malformed(bytes.readUInt32BE(at + 4) > 0, 'a day without items')
    malformed(at === 0 || bytes.readUInt32BE(at) > bytes.readUInt32BE(at - DAY), 'days that do not ascend')
  }
}

function demandIds (ids) {
  malformed(ids instanceof Uint8Array && ids.length % 32 === 0, 'ids')
  for (let at = 32; at < ids.length; at += 32) {
    const [before, id] = [ids.subarray(at - 32, at), ids.subarray(at, at + 32)]
    malformed(Buffer.compare(before, id) < 0, 'ids that do not ascend')
  }
}

/** What replies hold after their name, by the request. Those to `split` and `list` are about two nodes. */
const REPLIES = {
  open: (name, parts) => {
    if (name === 'same') return demandArray(parts, 0, 0)
    if (name === 'shard') return malformed(isShard(parts), 'a shard')
    const [session, record, ...sets] = demandArray(parts, 4, 4)
    malformed(name === 'opened' && isBytes(session, 16), 'a session')
    malformed(isBytes(record, 0) || isId(record), 'a record')
    for (const days of sets) demandDays(days)
  },
  split: (name, [nodes, ...rest]) => {
    malformed(name === 'parts' && rest.length === 0, 'parts')
    for (const node of demandArray(nodes, 2, 2)) malformed(isBytes(node, 192), 'the parts of a node')
  },
  list: (name, [nodes, ...rest]) => {
    malformed(name === 'ids' && rest.length === 0, 'ids')
    for (const ids of demandArray(nodes, 2, 2)) demandIds(ids)
  },
  all: (name, parts) => {
    const [bundles, cursor] = demandArray(parts, 2, 2)
    malformed(name === 'items' && isInteger(cursor, 0n, CURSOR), 'a cursor')
    for (const bundle of demandArray(bundles, 0, Infinity)) malformed(bundle instanceof Uint8Array, 'a bundle')
  }
}

/** Whether bytes have the form of a reply to a request. */
export function isReply (to, bytes) {
  return reads(bytes, (name, parts) => {
    if (name === 'busy') malformed(parts.length === 1 && isInteger(parts[0], 0n, UINT64), 'seconds')
    else REPLIES[to](name, parts)
  })
}

/** Whether bytes are a request of the protocol. */
export function isRequest (bytes) {
  return reads(bytes, (name, parts) => {
    if (name === 'open') {
      demandOpen(parts)
    } else {
      malformed(Object.hasOwn(BODIES, name), 'another name')
      const [session, set, ...rest] = parts
      malformed(isBytes(session, 16), 'a session')
      malformed(isInteger(set, 0n, 1n), 'a set')
      BODIES[name](rest)
    }
  })
}

/** Whether bytes are a named array that passes a check. */
function reads (bytes, check) {
  try {
    const value = decode(bytes)
    malformed(Array.isArray(value) && typeof value[0] === 'string', 'no named array')
    const [name, ...parts] = value
    check(name, parts)
    return true
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return false
  }
}

// Gossip messages: schema/SPEC.md, section 6.

import { createHash } from 'node:crypto'
import { verify } from './ed25519.mjs'

const FROM = 1
const DATA = 2
const SEQNO = 3
const TOPIC = 4
const SIGNATURE = 5
const KEY = 6
const DELIMITED = 2
const FIXED = { 1: 8, 5: 4 }
const BUNDLE_MAX = 131072
const PREFIX = Buffer.from('libp2p-pubsub:')
const ED25519_KEY = Buffer.from('08011220', 'hex') // protobuf of libp2p's PublicKey: its type and 32 bytes
const ED25519_PEER = Buffer.concat([Buffer.from('0024', 'hex'), ED25519_KEY]) // identity multihash of that
const KNOWN = [FROM, DATA, SEQNO, TOPIC, SIGNATURE, KEY]

class Unreadable extends Error {}

function varint (bytes, at) {
  let value = 0n
  for (let i = 0; i < 10; i++) {
    if (at + i >= bytes.length) break
    value |= BigInt(bytes[at + i] & 127) << BigInt(7 * i)
    if (bytes[at + i] < 128) return [value, at + i + 1]
  }
  throw new Unreadable('varint')
}

/** The fields 1 to 6 of a protobuf message by number; other fields are passed over. */
function readFields (bytes) {
  const fields = new Map()
  let at = 0
  while (at < bytes.length) {
    const [tag, start] = varint(bytes, at)
    const [number, type] = [Number(tag >> 3n), Number(tag & 7n)]
    let length = FIXED[type]
    at = start
    if (type === 0) [, at] = varint(bytes, at)
    else {
      if (type === DELIMITED) [length, at] = varint(bytes, at)
      if (length === undefined || at + Number(length) > bytes.length) throw new Unreadable('field')
      if (KNOWN.includes(number) && type === DELIMITED) fields.set(number, bytes.subarray(at, at + Number(length)))
      at += Number(length)
    }
  }
  return fields
}

function writeVarint (value) {
  const bytes = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 + 128)
  return Buffer.from([...bytes, value])
}

/** What the signature of a message covers. */
function signedPart (fields) {
  const parts = [FROM, DATA, SEQNO, TOPIC].map((number) =>
    Buffer.concat([Buffer.from([number << 3 | DELIMITED]), writeVarint(fields.get(number).length), fields.get(number)]))
  return Buffer.concat([PREFIX, ...parts])
}

/** The id of a gossip message: 20 bytes. */
export function messageId (topic, data) {
  return createHash('sha256').update(topic).update('\0').update(data).digest().subarray(0, 20)
}

/** A message of an Ed25519 peer as { topic, data, from, id }, or null if it is none or must be refused. */
export function readMessage (bytes) {
  let fields
  try {
    fields = readFields(bytes)
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return null
  }
  const [from, data, seqno, topic, signature, key] = KNOWN.map((number) => fields.get(number))
  if (!from || !data || !seqno || !topic || !signature) return null
  if (data.length < 1 || data.length > BUNDLE_MAX || seqno.length !== 8 || signature.length !== 64) return null
  if (from.length !== 38 || !ED25519_PEER.equals(from.subarray(0, 6))) return null
  const publicKey = from.subarray(6)
  if (key && !Buffer.concat([ED25519_KEY, publicKey]).equals(key)) return null
  if (!verify(signature, signedPart(fields), publicKey)) return null
  return { topic: topic.toString('utf8'), data, from, id: messageId(topic, data) }
}

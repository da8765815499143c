// Envelopes of questions to an exit and of its answers: schema/SPEC.md, section 16.

import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { x25519 } from '@noble/curves/ed25519.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { decode, encode } from './cbor.mjs'
import { demandKeys, isInteger } from './shape.mjs'
import { Refusal, decision, demand } from './verdict.mjs'

const SUITE = Buffer.from('002000010003', 'hex')
const [KEY, TAG, NONCE, HEAD] = [32, 16, 12, 7]
const [STEP, QUESTION_MAX, ANSWER, ANSWER_MAX, DAY] = [1280, 66560, 128, 1048576, 86400n]
const READ_MAX = 16
const BOX = '/1/box'
const RESOURCES = [BOX, '/1/records', '/1/descriptors']

const K = Buffer.concat([Buffer.from('HPKE-v1KEM'), SUITE.subarray(0, 2)])
const H = Buffer.concat([Buffer.from('HPKE-v1HPKE'), SUITE])
const text = (words) => Buffer.from(words, 'latin1')
const joined = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)))
const u16 = (number) => Buffer.from([number >> 8, number & 255])
const mac = (key, ...data) => Buffer.from(hmac(sha256, Uint8Array.from(key), Uint8Array.from(joined(...data))))
const cut = (bytes, size) => bytes.subarray(0, size)
const expand = (prk, size, ...info) => cut(mac(prk, ...info, [1]), size)
const labelled = (prk, size, suite, ...info) => expand(prk, size, u16(size), suite, ...info)
const publicOf = (secret) => Buffer.from(x25519.getPublicKey(Uint8Array.from(secret)))

/** X25519 with `reason` for a result of zeros. */
function agreed (secret, publicKey, reason) {
  try {
    return Buffer.from(x25519.getSharedSecret(Uint8Array.from(secret), Uint8Array.from(publicKey)))
  } catch {
    throw new Refusal(reason, 'a key of small order')
  }
}

function schedule (dh, enc, publicKey, info) {
  const shared = labelled(mac([], K, text('eae_prk'), dh), 32, K, text('shared_secret'), enc, publicKey)
  const context = joined([0], mac([], H, text('psk_id_hash')), mac([], H, text('info_hash'), info))
  const secret = mac(shared, H, text('secret'))
  const exporter = labelled(secret, 32, H, text('exp'), context)
  return {
    key: labelled(secret, 32, H, text('key'), context),
    nonce: labelled(secret, NONCE, H, text('base_nonce'), context),
    exported: labelled(exporter, 32, H, text('sec'), text('message/bhttp response'))
  }
}

const cipher = (key, nonce) => chacha20poly1305(Uint8Array.from(key), Uint8Array.from(nonce))
const encrypted = (key, nonce, data) => Buffer.from(cipher(key, nonce).encrypt(Uint8Array.from(data)))

function decrypted (key, nonce, data) {
  demand(data.length >= TAG, 'malformed', 'cut short')
  try {
    return Buffer.from(cipher(key, nonce).decrypt(Uint8Array.from(data)))
  } catch {
    throw new Refusal('malformed', 'it does not open')
  }
}

const infoOf = (head) => joined(text('message/bhttp request'), [0], head)

/** A box with `message` for the exit with this key, and what opens its answer. */
export function seal (keyId, publicKey, message, secret) {
  const [head, enc] = [joined([keyId], SUITE), publicOf(secret)]
  const { key, nonce, exported } = schedule(agreed(secret, publicKey, 'bad-key'), enc, publicKey, infoOf(head))
  return { box: joined(head, enc, encrypted(key, nonce, message)), enc, exported }
}

/** The message in a box for an exit with these private keys by key id. */
export function open (box, secrets) {
  demand(box.length >= HEAD + KEY + TAG, 'malformed', 'cut short')
  const [head, enc] = [cut(box, HEAD), box.subarray(HEAD, HEAD + KEY)]
  const secret = secrets.get(head[0])
  demand(secret !== undefined && head.subarray(1).equals(SUITE), 'bad-key')
  const { key, nonce } = schedule(agreed(secret, enc, 'malformed'), enc, publicOf(secret), infoOf(head))
  return { keyId: head[0], message: decrypted(key, nonce, box.subarray(HEAD + KEY)) }
}

function answerKeys ({ enc, exported }, nonce) {
  const prk = mac(joined(enc, nonce), exported)
  return [expand(prk, 32, text('key')), expand(prk, NONCE, text('nonce'))]
}

export const openAnswer = (sealed, answer) =>
  decrypted(...answerKeys(sealed, cut(answer, KEY)), answer.subarray(KEY))

export const sealAnswer = (sealed, nonce, response) =>
  joined(nonce, encrypted(...answerKeys(sealed, nonce), response))

function varint (number) {
  if (number < 64) return Buffer.from([number])
  if (number < 16384) return u16(number | 0x4000)
  return joined(u16(number >>> 16 | 0x8000), u16(number & 0xffff))
}

const prefixed = (bytes) => joined(varint(bytes.length), bytes)
const padded = (bytes, size) => joined(bytes, Buffer.alloc(size - bytes.length))

/** Reads a varint at a position: [number, the position behind it]. */
function readVarint (bytes, at) {
  demand(at < bytes.length, 'malformed', 'cut short')
  const size = 1 << (bytes[at] >> 6)
  demand(size < 8 && at + size <= bytes.length, 'malformed', 'cut short')
  return [Number(BigInt('0x' + bytes.subarray(at, at + size).toString('hex')) & ((1n << BigInt(8 * size - 2)) - 1n)), at + size]
}

const questionHead = (resource) =>
  joined([0], ...['POST', 'https', 'methrics.invalid', resource].map((word) => prefixed(text(word))), [0])

export function writeQuestion (resource, content) {
  const bare = joined(questionHead(resource), prefixed(content), [0])
  return padded(bare, Math.ceil(bare.length / STEP) * STEP)
}

/** A question as { resource, content }; its one form is the one that is written. */
export function readQuestion (message) {
  demand(message.length <= QUESTION_MAX, 'oversize')
  const resource = RESOURCES.find((one) => cut(message, questionHead(one).length).equals(questionHead(one)))
  demand(resource !== undefined, 'malformed', 'another question')
  const [size, at] = readVarint(message, questionHead(resource).length)
  demand(at + size <= message.length, 'malformed', 'cut short')
  const content = message.subarray(at, at + size)
  demand(writeQuestion(resource, content).equals(message), 'malformed', 'another form')
  return { resource, content }
}

const RESPONSE_HEAD = Buffer.from('0140c800', 'hex')

function writeContent (resource, content) {
  const bare = joined(RESPONSE_HEAD, prefixed(content), [0])
  if (resource === BOX) {
    demand(bare.length <= ANSWER, 'malformed', 'too long for the answer to a box')
    return padded(bare, ANSWER)
  }
  let size = 4096
  while (size < bare.length) size *= 2
  return padded(bare, size)
}

/** An answer as { answer, time, again, items } in the bytes of a response. */
export function writeResponse (resource, { answer, time, again, items }) {
  const fields = [['answer', answer], ['time', time], ['again', again ?? undefined], ['items', items.length ? items : undefined]]
  return writeContent(resource, encode(new Map(fields.filter(([, value]) => value !== undefined))))
}

export function readResponse (resource, response) {
  demand(response.length <= ANSWER_MAX, 'oversize')
  demand(cut(response, 4).equals(RESPONSE_HEAD), 'malformed', 'another response')
  const [size, at] = readVarint(response, 4)
  demand(at + size <= response.length, 'malformed', 'cut short')
  const content = response.subarray(at, at + size)
  demand(writeContent(resource, content).equals(response), 'malformed', 'another form')
  const map = decode(content)
  demandKeys(map, ['answer', 'time'], ['again', 'items'], 'malformed')
  const { answer, time, again, items = [] } = Object.fromEntries(map)
  demand(decision(answer) !== undefined && isInteger(time, 0n), 'malformed', 'answer or time')
  demand(again === undefined || isInteger(again, 0n), 'malformed', 'again')
  const areItems = Array.isArray(items) && items.every((one) => one instanceof Uint8Array)
  demand(areItems && map.has('items') === (items.length > 0), 'malformed', 'items')
  demand(!items.length || resource !== BOX, 'malformed', 'items in the answer to a box')
  return { answer, time, again: again === undefined ? null : again > DAY ? DAY : again, items }
}

/** The key configurations in a document, without those of another KEM. */
export function readKeys (document) {
  const found = []
  let [at, count] = [0, 0]
  while (at < document.length) {
    demand(at + 2 <= document.length && ++count <= READ_MAX, 'malformed', 'cut short, or too many')
    const size = document.readUInt16BE(at)
    const one = document.subarray(at + 2, at + 2 + size)
    demand(one.length === size && size >= 3, 'malformed', 'cut short')
    if (one.readUInt16BE(1) === 0x20) found.push(readConfiguration(one))
    at += 2 + size
  }
  return found
}

export function readConfiguration (one) {
  demand(one.length >= 37 && one.readUInt16BE(1) === 0x20, 'malformed', 'cut short')
  const size = one.readUInt16BE(35)
  demand(size === one.length - 37 && size % 4 === 0 && size > 0 && size <= 4 * READ_MAX, 'malformed', 'suites')
  const algorithms = Array.from({ length: size / 4 }, (_, i) => [one.readUInt16BE(37 + 4 * i), one.readUInt16BE(39 + 4 * i)])
  return { key_id: one[0], public: one.subarray(3, 35), algorithms }
}

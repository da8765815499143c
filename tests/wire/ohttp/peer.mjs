// Oblivious HTTP (RFC 9458) of stock packages: HPKE by @hpke/core, Binary HTTP by bhttp-js.
//
// Usage: node peer.mjs. Each line of the input is one task in JSON, each line of the output its result; bytes are hex.
//   {task: 'seal', config, resource, content}      -> {box, secret, enc}: what a client sends, and what it keeps
//   {task: 'open', secret, enc, answer}             -> {status, content}: what a client reads in an answer
//   {task: 'serve', id, seed, box, content, size}   -> {url, method, content, answer}: what an exit reads and answers
//   {task: 'key', id, seed}                         -> {config}: the key configuration of that exit

import { createInterface } from 'node:readline'
import { Chacha20Poly1305 } from '@hpke/chacha20poly1305'
import { CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core'
import { BHttpDecoder, BHttpEncoder } from 'bhttp-js'

const STEP = 1280
const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Chacha20Poly1305() })
const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'))
const hex = (data) => Buffer.from(data).toString('hex')
const joined = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))))
const label = (text) => new TextEncoder().encode(text)
const ALGORITHMS = [0x00, 0x20, 0x00, 0x01, 0x00, 0x03]
const infoOf = (head) => joined(label('message/bhttp request'), [0], head)
const exported = async (context) => hex(await context.export(label('message/bhttp response'), 32))

function padded (message, size) {
  const whole = new Uint8Array(size ?? Math.ceil(message.length / STEP) * STEP)
  whole.set(message)
  return whole
}

/** Key and nonce of an answer: section 4.4 of the RFC, with HKDF of the Web Crypto API. */
async function answerKeys (secret, enc, nonce) {
  const base = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits'])
  const derive = async (info, bits) => new Uint8Array(await crypto.subtle.deriveBits(
    { name: 'HKDF', hash: 'SHA-256', salt: joined(enc, nonce), info: label(info) }, base, bits))
  return [await derive('key', 256), await derive('nonce', 96)]
}

const cipher = (key) => new Chacha20Poly1305().createEncryptionContext(key)

async function seal ({ config, resource, content }) {
  const given = bytes(config)
  const head = joined([given[0]], ALGORITHMS)
  const request = new Request(`https://methrics.invalid${resource}`, { method: 'POST', body: bytes(content) })
  const message = padded(await new BHttpEncoder().encodeRequest(request))
  const recipientPublicKey = await suite.kem.deserializePublicKey(given.slice(3, 35))
  const context = await suite.createSenderContext({ recipientPublicKey, info: infoOf(head) })
  const text = await context.seal(message)
  return { box: hex(joined(head, context.enc, text)), secret: await exported(context), enc: hex(context.enc) }
}

async function open ({ secret, enc, answer }) {
  const [nonce, text] = [bytes(answer).slice(0, 32), bytes(answer).slice(32)]
  const [key, iv] = await answerKeys(bytes(secret), bytes(enc), nonce)
  const response = new BHttpDecoder().decodeResponse(new Uint8Array(await cipher(key).open(iv, text, new Uint8Array())))
  return { status: response.status, content: hex(await response.arrayBuffer()) }
}

const pairOf = (seed) => suite.kem.deriveKeyPair(bytes(seed))

async function key ({ id, seed }) {
  const { publicKey } = await pairOf(seed)
  const [kem, pair] = [ALGORITHMS.slice(0, 2), ALGORITHMS.slice(2)]
  return { config: hex(joined([id], kem, await suite.kem.serializePublicKey(publicKey), [0, 4], pair)) }
}

async function serve ({ seed, box, content, size }) {
  const [head, enc, text] = [bytes(box).slice(0, 7), bytes(box).slice(7, 39), bytes(box).slice(39)]
  const recipientKey = await pairOf(seed)
  const context = await suite.createRecipientContext({ recipientKey, enc, info: infoOf(head) })
  const request = new BHttpDecoder().decodeRequest(new Uint8Array(await context.open(text)))
  const read = hex(await request.arrayBuffer())
  const response = padded(await new BHttpEncoder().encodeResponse(new Response(bytes(content))), size)
  const nonce = crypto.getRandomValues(new Uint8Array(32))
  const [key, iv] = await answerKeys(bytes(await exported(context)), enc, nonce)
  const answer = joined(nonce, await cipher(key).seal(iv, response, new Uint8Array()))
  return { url: request.url, method: request.method, content: read, answer: hex(answer) }
}

const TASKS = { seal, open, key, serve }

for await (const line of createInterface({ input: process.stdin })) {
  const { task, ...given } = JSON.parse(line)
  console.log(JSON.stringify(await TASKS[task](given)))
}

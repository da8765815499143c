// Hands reports to the exit of a relay over js-libp2p, by schema/SPEC.md, sections 9 and 16 to 18.
//
// Usage: node submit.mjs RELAY CATALOG_ID TYPE VALUES NOW
// RELAY is a multiaddr with a peer id, VALUES a JSON object, NOW the clock in unix seconds. The catalog is asked of the
// relay. Three boxes go there in one request: a report, the same with one bit of its signature changed, and the first
// again. Prints a line of JSON: {topic, id, reasons}.

// Node 20 lacks Promise.withResolvers, which libp2p uses.
Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const { randomBytes } = await import('node:crypto')
const { createLibp2p } = await import('libp2p')
const { noise } = await import('@libp2p/noise')
const { tcp } = await import('@libp2p/tcp')
const { yamux } = await import('@libp2p/yamux')
const { multiaddr } = await import('@multiformats/multiaddr')
const { topicOf } = await import('./catalog.mjs')
const { decode, decodeHeader, encode } = await import('./cbor.mjs')
const { openAnswer, readConfiguration, readResponse, seal, writeQuestion } = await import('./envelope.mjs')
const { CATALOG_PROTOCOL, DESCRIPTORS_PROTOCOL, EXIT_PROTOCOL, FrameReader, frame } = await import('./frame.mjs')
const { hex, readItem, sealItem } = await import('./item.mjs')
const { Book, judge } = await import('./judge.mjs')

/** The body of the reply to a request on a stream of its own, or null if there is no answer. */
async function request (connection, protocol, body) {
  const stream = await connection.newStream(protocol.id)
  const reader = new FrameReader(protocol.reply)
  stream.send(frame(body))
  for await (const part of stream) {
    reader.add(part.subarray())
    if (reader.body !== null || reader.failed) break
  }
  if (reader.failed) stream.abort(new Error('the reply is too long'))
  else await stream.close()
  return reader.body
}

function demand (condition, what) {
  if (!condition) throw new Error(what)
}

/** The relay's answer for its catalog of this id, judged like one that was heard: { item, body }. */
async function fetchCatalog (connection, id, now) {
  const bytes = await request(connection, CATALOG_PROTOCOL, id)
  demand(bytes?.length, 'the relay does not know the catalog')
  const verdict = judge(bytes, { now, live: false, topics: null, book: new Book() })
  demand(verdict.reason === 'ok' && verdict.item.id.equals(id), 'this is not the catalog that was asked for')
  return verdict
}

function report (catalog, type, values, now) {
  const { resolution } = catalog.body.types.get(type)
  const payload = new Map([
    ['catalog', catalog.item.id],
    ['type', type],
    ['time', now / resolution * resolution],
    ['values', new Map(Object.entries(values))]
  ])
  return sealItem('report', encode(payload), randomBytes(32))
}

/**
 * The key configuration of the relay at the other end, in its descriptor of the day. No signature is needed for what
 * the relay says of itself, because the connection proves who it is.
 */
async function exitKey (connection, topic, now) {
  const reply = decode(await request(connection, DESCRIPTORS_PROTOCOL, Buffer.alloc(0)))
  const own = Buffer.from(connection.remotePeer.publicKey.raw)
  const found = reply.get('descriptors').map((raw) => decode(raw))
    .filter(([header]) => own.equals(decodeHeader(header).get(4n)))
    .map(([, , payload]) => decode(payload)).find((one) => one.get('day') === now / 86400n)
  demand(found?.get('topics').includes(topic), 'the relay does not carry the topic')
  return readConfiguration(Buffer.from(found.get('keys')[0]))
}

async function submit (connection, items, topic, now) {
  const { key_id: keyId, public: publicKey } = await exitKey(connection, topic, now)
  const sealed = items.map((item) => seal(keyId, publicKey, writeQuestion('/1/box', item), randomBytes(32)))
  const reply = await request(connection, EXIT_PROTOCOL, encode(sealed.map(({ box }) => box)))
  demand(reply?.length, 'no answer')
  const answers = decode(reply).get('answers')
  return answers.map((one, i) => readResponse('/1/box', openAnswer(sealed[i], Buffer.from(one))).answer)
}

const [relay, catalogId, type, values, clock] = process.argv.slice(2)
const now = BigInt(clock)
const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()]
})
try {
  const connection = await node.dial(multiaddr(relay))
  const catalog = await fetchCatalog(connection, Buffer.from(catalogId, 'hex'), now)
  const topic = topicOf(catalog.body.label, catalog.item.key)
  const good = report(catalog, type, JSON.parse(values), now)
  const forged = Buffer.from(good)
  forged[forged.length - 1] ^= 1
  const reasons = await submit(connection, [good, forged, good], topic, now)
  process.stdout.write(JSON.stringify({ topic, id: hex(readItem(good).id), reasons }) + '\n')
} finally {
  await node.stop()
}

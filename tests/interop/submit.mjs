// Submits reports to a relay over js-libp2p, by schema/SPEC.md, sections 9 and 10.
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
const { seal } = await import('./box.mjs')
const { topicOf } = await import('./catalog.mjs')
const { encode } = await import('./cbor.mjs')
const { CATALOG_PROTOCOL, FrameReader, RELAY_PROTOCOL, SUBMIT_PROTOCOL, frame } = await import('./frame.mjs')
const { hex, readItem, sealItem } = await import('./item.mjs')
const { Book, judge } = await import('./judge.mjs')
const { DESCRIBE, readAnswers, readDescription } = await import('./relay.mjs')

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

async function submit (connection, items, topic) {
  const description = readDescription(await request(connection, RELAY_PROTOCOL, DESCRIBE))
  demand(description.topics.includes(topic), 'the relay does not carry the topic')
  const boxes = items.map((item) => seal(item, description.box))
  const reply = await request(connection, SUBMIT_PROTOCOL, encode(boxes))
  demand(reply, 'no answer')
  return readAnswers(reply, boxes.length)
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
  const { reasons } = await submit(connection, [good, forged, good], topic)
  process.stdout.write(JSON.stringify({ topic, id: hex(readItem(good).id), reasons }) + '\n')
} finally {
  await node.stop()
}

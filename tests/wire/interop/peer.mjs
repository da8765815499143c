// A stock js-libp2p peer, driven by lines of JSON on standard input.
//
// Usage: node peer.mjs [content|default] [degree]
// The first argument chooses how it names gossip messages: by the rule of schema/SPEC.md, section 6,
// or as js-libp2p does by itself; the second how many mesh peers it wants. Each order {do, n, ...} is answered by {n, ok} or {n, error}; what
// happens unasked comes as {event, ...}. Node 20 lacks Promise.withResolvers, which libp2p uses.

Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const { createHash } = await import('node:crypto')
const { createInterface } = await import('node:readline')
const { createLibp2p } = await import('libp2p')
const { gossipsub } = await import('@libp2p/gossipsub')
const { identify } = await import('@libp2p/identify')
const { noise } = await import('@libp2p/noise')
const { ping } = await import('@libp2p/ping')
const { tcp } = await import('@libp2p/tcp')
const { byteStream } = await import('@libp2p/utils')
const { yamux } = await import('@libp2p/yamux')
const { multiaddr } = await import('@multiformats/multiaddr')

const ECHO = '/interop/echo/1'
const LIMIT = 16 * 1024 * 1024
const DEGREE = Number(process.argv[3] ?? 6)
const MESH = DEGREE === 6 ? {} : { D: DEGREE, Dlo: 1, Dhi: DEGREE, Dout: 0, Dscore: 1 }

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const digest = (data) => createHash('sha256').update(data).digest('hex')
const contentId = ({ topic, data }) =>
  createHash('sha256').update(topic).update('\0').update(data).digest().subarray(0, 20)

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux({ keepAliveInterval: 500 })],
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({ doPX: true, ...MESH, ...(process.argv[2] === 'content' ? { msgIdFn: contentId } : {}) })
  }
})
const { pubsub } = node.services

pubsub.addEventListener('gossipsub:message', ({ detail: { msg, propagationSource } }) => {
  const from = propagationSource.toString()
  say({ event: 'message', topic: msg.topic, type: msg.type, digest: digest(msg.data), from })
})
pubsub.addEventListener('subscription-change', ({ detail: { peerId, subscriptions } }) => {
  for (const { topic, subscribe } of subscriptions) {
    say({ event: subscribe ? 'joined' : 'left', topic, peer: peerId.toString() })
  }
})
node.addEventListener('peer:disconnect', ({ detail }) => {
  say({ event: 'disconnect', peer: detail.toString() })
})

const head = (length) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(length)
  return bytes
}

async function readMessage (bytes) {
  const length = Buffer.from((await bytes.read({ bytes: 4 })).subarray()).readUInt32BE()
  return Buffer.from((await bytes.read({ bytes: length })).subarray())
}

// Length, body; answered with the same, reversed. What arrives after the body goes unread.
await node.handle(ECHO, async (stream) => {
  const bytes = byteStream(stream, { maxBufferSize: LIMIT })
  try {
    const body = (await readMessage(bytes)).reverse()
    await bytes.write(Buffer.concat([head(body.length), body]))
    await stream.close()
  } catch (error) {
    say({ event: 'broken', error: error.name })
  }
})

// Everything up to the other side's end; only then comes its digest, over the half-closed stream.
await node.handle('/interop/half/1', async (stream) => {
  const hash = createHash('sha256')
  for await (const part of stream) hash.update(part.subarray())
  stream.send(hash.digest())
  await stream.close()
})

// Takes the stream and breaks it off after the first bytes.
await node.handle('/interop/abort/1', async (stream) => {
  stream.addEventListener('message', () => stream.abort(new Error('on purpose')), { once: true })
})

const orders = {
  dial: async ({ addr }) => (await node.dial(multiaddr(addr))).remotePeer.toString(),
  hangUp: async ({ addr }) => await node.hangUp(multiaddr(addr)),
  join: async ({ topic }) => { pubsub.subscribe(topic) },
  publish: async ({ topic, data }) =>
    (await pubsub.publish(topic, Buffer.from(data, 'base64'))).recipients.length,
  mesh: async ({ topic }) => pubsub.getMeshPeers(topic),
  ping: async ({ addr }) => await node.services.ping.ping(multiaddr(addr)),
  request: async ({ addr, protocol, size }) => {
    const stream = await node.dialProtocol(multiaddr(addr), protocol)
    const bytes = byteStream(stream, { maxBufferSize: LIMIT })
    const body = Buffer.alloc(size, 'methrics')
    await bytes.write(Buffer.concat([head(size), body]))
    const reply = await readMessage(bytes)
    await stream.close()
    return { size: reply.length, same: reply.equals(body.reverse()) }
  },
  abandon: async ({ addr, protocol }) => {
    const stream = await node.dialProtocol(multiaddr(addr), protocol)
    stream.send(head(1000))
    stream.abort(new Error('on purpose'))
  },
  streams: async () => node.getConnections().flatMap((one) => one.streams).length
}

say({ event: 'ready', peer: node.peerId.toString(), addr: node.getMultiaddrs()[0].toString() })

for await (const line of createInterface({ input: process.stdin })) {
  const { n, ...order } = JSON.parse(line)
  orders[order.do](order).then(
    (ok) => say({ n, ok: ok ?? null }),
    (error) => say({ n, error: `${error.name}: ${error.message}` })
  )
}
await node.stop()

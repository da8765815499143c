// Runs the vectors of streams and messages: schema/vectors/README.md, "Streams and messages".

import { encode } from './cbor.mjs'
import { FrameReader } from './frame.mjs'
import { hex } from './item.mjs'
import { readMessage } from './message.mjs'
import { recordsOf } from './relay.mjs'
import { bytesOf, situationOf } from './vectors.mjs'
import { Refusal } from './verdict.mjs'

const NONE = { result: 'none' }

function frame ({ stream, limit }) {
  const reader = new FrameReader(limit)
  reader.add(bytesOf(stream))
  return reader.body === null ? NONE : { body: hex(reader.body) }
}

/** What a node knows that knows the items of these vectors. */
function knowing ({ now = 0, catalogs = [], records = [] }, vectors) {
  const bytes = (names) => names.map((name) => bytesOf(vectors.get(name).bytes))
  return situationOf({ now, live: true, topic: null, catalogs: bytes(catalogs), records: bytes(records), seen: [] })
}

function record ({ request, topics, records }, vectors) {
  const topic = bytesOf(request).toString()
  const { book } = knowing({ records }, vectors)
  return { reply: hex(encode(topics.includes(topic) ? recordsOf(book, topic) : [])) }
}

function catalog ({ request, catalogs }, vectors) {
  const known = catalogs.map((name) => vectors.get(name))
  const found = known.find(({ expect }) => expect.id === request)
  return { reply: found ? hex(bytesOf(found.bytes)) : '' }
}

function message ({ message: bytes }) {
  const read = readMessage(bytesOf(bytes))
  if (read === null) return NONE
  return { topic: read.topic, data: hex(read.data), from: hex(read.from), id: hex(read.id) }
}

const KINDS = { frame, catalog, record, message }

/** The outcome of a vector in the words of its `expect`; `vectors` are those of items. */
export function outcome (name, vector, vectors) {
  try {
    return { result: 'ok', ...KINDS[name.split('-')[0]](vector, vectors) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

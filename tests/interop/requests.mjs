// Runs the vectors of streams and messages: schema/vectors/README.md, "Streams and messages".

import { boxKeyOf, open, seal } from './box.mjs'
import { encode } from './cbor.mjs'
import { FrameReader } from './frame.mjs'
import { hex } from './item.mjs'
import { readMessage } from './message.mjs'
import { answer, describe, readAnswers, readBoxes, readDescription, recordsOf } from './relay.mjs'
import { bytesOf, situationOf } from './vectors.mjs'
import { Refusal } from './verdict.mjs'

const NONE = { result: 'none' }

function frame ({ stream, limit }) {
  const reader = new FrameReader(limit)
  reader.add(bytesOf(stream))
  return reader.body === null ? NONE : { body: hex(reader.body) }
}

function describeVector ({ request, secret, topics, now, life, records }, vectors) {
  const [boxKey, { book }] = [boxKeyOf(bytesOf(secret)), knowing({ records }, vectors)]
  return { reply: hex(describe(bytesOf(request), { boxKey, topics, time: now, life, book })) }
}

function description ({ reply }) {
  const { box, topics, time, life, records, again } = readDescription(bytesOf(reply))
  const optional = { records: records?.map(hex), again: again === undefined ? undefined : Number(again) }
  const given = Object.entries(optional).filter(([, value]) => value !== undefined)
  return { box: hex(box), topics, time: Number(time), life: Number(life), ...Object.fromEntries(given) }
}

function boxes ({ request }) {
  return { boxes: readBoxes(bytesOf(request)).map(hex) }
}

function answers ({ reply, boxes: count }) {
  const read = readAnswers(bytesOf(reply), count)
  return read === null ? NONE : { reasons: read.reasons, again: read.again === undefined ? null : Number(read.again) }
}

/** Opens the box; where the vector gives e, sealing the item again has to give the same bytes. */
function box ({ box: given, secret, public: boxKey, ephemeral }) {
  const bytes = bytesOf(given)
  const item = open(bytes, bytesOf(secret))
  if (ephemeral) {
    const again = seal(item, bytesOf(boxKey), bytesOf(ephemeral))
    if (!again.equals(bytes)) return { resealed: hex(again) }
  }
  return { item: hex(item) }
}

/** What a node knows that knows the items of these vectors. */
function knowing ({ now = 0, catalogs = [], records = [] }, vectors) {
  const bytes = (names) => names.map((name) => bytesOf(vectors.get(name).bytes))
  return situationOf({ now, live: true, topic: null, catalogs: bytes(catalogs), records: bytes(records), seen: [] })
}

function submit ({ request, secret, topics, ...known }, vectors) {
  const reasons = answer(bytesOf(request), bytesOf(secret), { ...knowing(known, vectors), topics })
  return { reply: hex(encode(new Map([['answers', reasons]]))), reasons }
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

const KINDS = { frame, describe: describeVector, description, boxes, answers, box, submit, catalog, record, message }

/** The outcome of a vector in the words of its `expect`; `vectors` are those of items. */
export function outcome (name, vector, vectors) {
  try {
    return { result: 'ok', ...KINDS[name.split('-')[0]](vector, vectors) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

// Runs the vectors of streams and messages: schema/vectors/README.md, "Streams and messages".

import { boxKeyOf, open, seal } from './box.mjs'
import { encode } from './cbor.mjs'
import { FrameReader } from './frame.mjs'
import { hex } from './item.mjs'
import { readMessage } from './message.mjs'
import { answer, describe, readAnswers, readBoxes, readDescription } from './relay.mjs'
import { bytesOf, situationOf } from './vectors.mjs'
import { Refusal } from './verdict.mjs'

const NONE = { result: 'none' }

function frame ({ stream, limit }) {
  const reader = new FrameReader(limit)
  reader.add(bytesOf(stream))
  return reader.body === null ? NONE : { body: hex(reader.body) }
}

function describeVector ({ request, secret, topics, now, life }) {
  const boxKey = boxKeyOf(bytesOf(secret))
  return { reply: hex(describe(bytesOf(request), { boxKey, topics, time: now, life })) }
}

function description ({ reply }) {
  const { box, topics, time, life } = readDescription(bytesOf(reply))
  return { box: hex(box), topics, time: Number(time), life: Number(life) }
}

function boxes ({ request }) {
  return { boxes: readBoxes(bytesOf(request)).map(hex) }
}

function answers ({ reply, boxes: count }) {
  const reasons = readAnswers(bytesOf(reply), count)
  return reasons === null ? NONE : { reasons }
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

const catalogBytes = (names, vectors) => names.map((name) => bytesOf(vectors.get(name).bytes))

function submit ({ request, secret, topics, catalogs, now }, vectors) {
  const known = catalogBytes(catalogs, vectors)
  const situation = situationOf({ now, live: true, topic: null, catalogs: known, revocations: [], seen: [] })
  const reasons = answer(bytesOf(request), bytesOf(secret), { ...situation, topics })
  return { reply: hex(encode(reasons)), reasons }
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

const KINDS = { frame, describe: describeVector, description, boxes, answers, box, submit, catalog, message }

/** The outcome of a vector in the words of its `expect`; `vectors` are those of items. */
export function outcome (name, vector, vectors) {
  try {
    return { result: 'ok', ...KINDS[name.split('-')[0]](vector, vectors) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

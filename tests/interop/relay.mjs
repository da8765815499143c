// Bodies of requests and replies, from either side: schema/SPEC.md, sections 9 and 10.

import { open } from './box.mjs'
import { decode, encode, readByteStrings } from './cbor.mjs'
import { Seen, judgeOnce } from './gate.mjs'
import { hex } from './item.mjs'
import { shortKeyOf } from './judge.mjs'
import { demandKeys, isId, isInteger, utf8Size } from './shape.mjs'
import { Refusal, decision, demand } from './verdict.mjs'

const SUBMISSION = { total: 133728, count: 64n, countReason: 'malformed' }
const BOX_MAX = 66608
const TOPICS_MAX = 256
const RECORDS_MAX = 4
const RECORD_MAX = 16384
const TOPIC_MAX = 128
const NOTHING = Buffer.alloc(0)

/** The request of /methrics/relay/1 that names no topic. */
export const DESCRIBE = encode(new Map())

/** A relay's reply to a describe request; of no bytes to what is no such request. `topics` may come in any order. */
export function describe (request, { boxKey, topics, time, life, book }) {
  const { result: topic, reason } = resultOrReason(() => readDescribe(request))
  if (reason) return NOTHING
  const sorted = [...topics].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const said = new Map([['box', boxKey], ['topics', sorted], ['time', time], ['life', life]])
  const records = topics.includes(topic) ? recordsOf(book, topic) : []
  if (records.length) said.set('records', records)
  return encode(said)
}

function readDescribe (request) {
  const map = decode(request)
  demandKeys(map, [], ['topic'], 'malformed')
  demand(!map.has('topic') || isTopic(map.get('topic')), 'malformed')
  return map.get('topic')
}

/** The newest record of a topic's namespace and the two that prove an equivocation, each once: their bytes. */
export function recordsOf (book, topic) {
  const found = new Map()
  for (const newest of book.newestOf(shortKeyOf(topic))) {
    const [key] = [...book.records].find(([, records]) => records.includes(newest))
    for (const { id, raw } of [newest, ...book.proof(Buffer.from(key, 'hex')) ?? []]) found.set(hex(id), raw)
  }
  return [...found.values()].slice(0, RECORDS_MAX)
}

const isRecord = (value) => value instanceof Uint8Array && value.length <= RECORD_MAX
const isTopic = (value) => typeof value === 'string' && utf8Size(value) <= TOPIC_MAX

/** A relay's description as { box, topics, time, life }; a Refusal `malformed` if the reply is none. */
export function readDescription (reply) {
  const map = decode(reply)
  demandKeys(map, ['box', 'topics', 'time', 'life'], ['records', 'again'], 'malformed')
  const { box, topics, time, life, records, again } = Object.fromEntries(map)
  demand(isId(box) && isInteger(time, 0n) && isInteger(life, 0n), 'malformed')
  demand(Array.isArray(topics) && topics.length <= TOPICS_MAX && topics.every(isTopic), 'malformed', 'topics')
  const ascend = topics.every((topic, i) => i === 0 || Buffer.compare(Buffer.from(topics[i - 1]), Buffer.from(topic)) < 0)
  demand(ascend, 'malformed', 'topics do not ascend')
  const isRecords = records === undefined || (Array.isArray(records) && records.length <= RECORDS_MAX && records.every(isRecord))
  demand(isRecords && (again === undefined || isInteger(again, 0n)), 'malformed', 'records or again')
  return { box, topics, time, life, records, again }
}

/** The boxes of a submit request; a Refusal `malformed`, or `oversize` if that is the only fault. */
export function readBoxes (request) {
  const boxes = readByteStrings(request, SUBMISSION)
  demand(boxes.every(({ length }) => length <= BOX_MAX), 'oversize')
  return boxes
}

/** A reply to a request of so many boxes as { reasons, again }, or null if the reply is no answer. */
export function readAnswers (reply, boxes) {
  try {
    const map = decode(reply)
    demandKeys(map, ['answers'], ['again'], 'malformed')
    const { answers: reasons, again } = Object.fromEntries(map)
    const isAnswer = Array.isArray(reasons) && reasons.length === boxes && reasons.every((one) => decision(one) !== undefined)
    return isAnswer && (again === undefined || isInteger(again, 0n)) ? { reasons, again } : null
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return null
  }
}

/** Runs `step` and returns its result, or the reason if it throws a Refusal. */
function resultOrReason (step) {
  try {
    return { result: step() }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { reason: error.reason }
  }
}

/** A relay's reasons for a submit request; `situation` is one of `judge`, whose book learns what is accepted. */
export function answer (request, secretKey, situation) {
  const { result: boxes, reason } = resultOrReason(() => readBoxes(request))
  if (reason) return [reason]
  const seen = new Seen()
  return boxes.map((box) => {
    const { result: bytes, reason } = resultOrReason(() => open(box, secretKey))
    if (reason) return reason
    const verdict = judgeOnce(bytes, situation, seen)
    if (verdict.reason === 'ok') {
      seen.add(verdict.item)
      situation.book.add(verdict)
    }
    return verdict.reason
  })
}


// Bodies of requests and replies, from either side: schema/SPEC.md, sections 9 and 10.

import { open } from './box.mjs'
import { decode, encode, readByteStrings } from './cbor.mjs'
import { Seen, judgeOnce } from './gate.mjs'
import { demandKeys, isId, isInteger, utf8Size } from './shape.mjs'
import { Refusal, decision, demand } from './verdict.mjs'

const SUBMISSION = { total: 133728, count: 64n, countReason: 'malformed', each: 66608n }
const TOPICS_MAX = 256
const TOPIC_MAX = 128
const NOTHING = Buffer.alloc(0)

/** The only request of /methrics/relay/1. */
export const DESCRIBE = encode(new Map())

/** A relay's reply to a describe request; of no bytes to what is no such request. `topics` may come in any order. */
export function describe (request, { boxKey, topics, time, life }) {
  if (!DESCRIBE.equals(request)) return NOTHING
  const sorted = [...topics].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  return encode(new Map([['box', boxKey], ['topics', sorted], ['time', time], ['life', life]]))
}

const isTopic = (value) => typeof value === 'string' && utf8Size(value) <= TOPIC_MAX

/** A relay's description as { box, topics, time, life }; a Refusal `malformed` if the reply is none. */
export function readDescription (reply) {
  const map = decode(reply)
  demandKeys(map, ['box', 'topics', 'time', 'life'], [], 'malformed')
  const { box, topics, time, life } = Object.fromEntries(map)
  demand(isId(box) && isInteger(time, 0n) && isInteger(life, 0n), 'malformed')
  demand(Array.isArray(topics) && topics.length <= TOPICS_MAX && topics.every(isTopic), 'malformed', 'topics')
  const ascend = topics.every((topic, i) => i === 0 || Buffer.compare(Buffer.from(topics[i - 1]), Buffer.from(topic)) < 0)
  demand(ascend, 'malformed', 'topics do not ascend')
  return { box, topics, time, life }
}

/** The boxes of a submit request; a Refusal `malformed` or `oversize`. */
export const readBoxes = (request) => readByteStrings(request, SUBMISSION)

/** The reasons in a reply to a request of so many boxes, or null if the reply is no answer. */
export function readAnswers (reply, boxes) {
  try {
    const reasons = decode(reply)
    const isAnswer = Array.isArray(reasons) && reasons.length === boxes && reasons.every((one) => decision(one) !== undefined)
    return isAnswer ? reasons : null
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


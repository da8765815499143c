// Visits of an app to its entry: schema/SPEC.md, section 20.

import { createHash } from 'node:crypto'
import { decode } from './cbor.mjs'
import { hex } from './item.mjs'
import { demandKeys, isId, isInteger } from './shape.mjs'
import { Refusal, demand } from './verdict.mjs'

const REQUEST = 23060
const REPLY = 6300
const BOXES = 16
const HANDLES = 32
const BOX = 1335
const ANSWER = 176
const TIME_MAX = 253402300799n
const AGAIN_MAX = 86400n

const malformed = (condition, detail) => demand(condition, 'malformed', detail)
const isArrayOf = (value, count, test) => Array.isArray(value) && value.length === count && value.every(test)
const isBytes = (value, size) => value instanceof Uint8Array && value.length === size
const isPair = (value) => Array.isArray(value) && value.length === 2 && isId(value[0]) && isBytes(value[1], BOX)
const handleOf = (box) => createHash('sha256').update(box).digest()

/** The exits and handles of a request's boxes, and the handles that it asks for; all in hex. */
function readRequest (bytes) {
  demand(bytes.length <= REQUEST, 'oversize')
  const value = decode(bytes)
  malformed(Array.isArray(value) && value.length === 2, 'no pair')
  const [boxes, asked] = value
  malformed(isArrayOf(boxes, BOXES, isPair), 'boxes')
  malformed(isArrayOf(asked, HANDLES, isId), 'handles')
  return {
    exits: boxes.map(([exit]) => hex(exit)),
    handles: boxes.map(([, box]) => hex(handleOf(box))),
    asked: asked.map(hex)
  }
}

/** The answers of a reply, in hex, '' where there is none; its time; and after how many seconds to come again. */
function readReply (bytes) {
  demand(bytes.length <= REPLY, 'oversize')
  const map = decode(bytes)
  demandKeys(map, ['answers', 'time'], ['again'], 'malformed')
  const { answers, time, again } = Object.fromEntries(map)
  malformed(isArrayOf(answers, HANDLES, (one) => isBytes(one, ANSWER)), 'answers')
  malformed(isInteger(time, 0n, TIME_MAX), 'time')
  malformed(again === undefined || isInteger(again, 0n, TIME_MAX), 'again')
  return {
    answers: answers.map((one) => one.some((byte) => byte) ? hex(one) : ''),
    time: Number(time),
    again: again === undefined ? null : Number(again < AGAIN_MAX ? again : AGAIN_MAX)
  }
}

/** What is read from a request or a reply, in the words of a vector's `expect`. */
export function outcomeOfVisit ({ request, reply }) {
  try {
    return { result: 'ok', ...request ? readRequest(request) : readReply(reply) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

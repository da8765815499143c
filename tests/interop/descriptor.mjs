// Descriptors of relays: schema/SPEC.md, section 17.

import { decode } from './cbor.mjs'
import { checkSignature, hex, readItem } from './item.mjs'
import { isInteger, isPlainText } from './shape.mjs'
import { Refusal, demand } from './verdict.mjs'

const DAY = 86400n
const AHEAD = 300n
const LAST_DAY = 2932894n
const ROLES = ['entry', 'entry,exit', 'exit']

const malformed = (condition, detail) => demand(condition, 'malformed', detail)
const isArrayOf = (value, most, test) => Array.isArray(value) && value.length <= most && value.every(test)
const isKey = (value) => value instanceof Uint8Array && value.length >= 1 && value.length <= 255
const isDoor = (value) => isPlainText(value, 1, 200) && (value.startsWith('/') || value.startsWith('https://'))
const isTopic = (value) => isPlainText(value, 1, 128)

/** Whether every text is greater than the one before, by the bytes of its UTF-8. */
const ascend = (texts) =>
  texts.every((text, i) => i === 0 || Buffer.compare(Buffer.from(texts[i - 1]), Buffer.from(text)) < 0)

function readBody (map) {
  malformed(map instanceof Map, 'no map')
  const { day, expires, roles, addresses, keys, topics, operator, load } = Object.fromEntries(map)
  malformed(isInteger(day, 0n, LAST_DAY) && isInteger(expires, 0n) && expires === (day + 2n) * DAY, 'times')
  malformed(isArrayOf(roles, 2, (one) => typeof one === 'string') && ROLES.includes(roles.join(',')), 'roles')
  malformed(isArrayOf(addresses, 8, isDoor) && addresses.length > 0, 'addresses')
  malformed(isArrayOf(keys, 2, isKey) && (keys.length > 0) === roles.includes('exit'), 'keys')
  malformed(isArrayOf(topics, 256, isTopic) && ascend(topics), 'topics')
  malformed(operator === undefined || isPlainText(operator, 1, 64), 'operator')
  malformed(load === undefined || isInteger(load, 0n, 100n), 'load')
  return { day, expires, roles, addresses, keys, topics, operator, load }
}

function checked (bytes, now) {
  const item = readItem(bytes)
  malformed(item.kind === 'descriptor', 'another kind')
  demand(item.work === undefined, 'off-schema', 'a needless work stamp')
  const body = readBody(decode(item.payload))
  checkSignature(item)
  if (now !== null) {
    demand(body.day * DAY <= BigInt(now) + DAY + AHEAD, 'early')
    demand(body.expires > BigInt(now), 'expired')
  }
  return { item, body }
}

/** What a vector expects of the bytes of a descriptor at the time `now`, or null for one from a file. */
export function readDescriptor (bytes, now) {
  try {
    const { item, body } = checked(bytes, now)
    return {
      result: 'ok',
      id: hex(item.id),
      relay: hex(item.key),
      day: Number(body.day),
      expires: Number(body.expires),
      roles: body.roles,
      addresses: body.addresses,
      keys: body.keys.map(hex),
      topics: body.topics,
      ...(body.operator !== undefined && { operator: body.operator }),
      ...(body.load !== undefined && { load: Number(body.load) })
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

// The rules about all reports that a type allows: their number (M016, M021) and their size (M015).

import { encode, head } from './cbor.mjs'

const ENVELOPE = 1 + 1 + 64 + 2 // the array, the empty header, the signature and its head
const HEADER = 42
const STAMP = 5 + 9 // "work" and the longest nonce
const ID = 34
const BYTES = 2

const sizeOf = (value) => encode(value).length
const wrapped = (size) => head(BYTES, size).length + size

function binomial (n, k) {
  let result = 1n
  for (let i = 1n; i <= k; i++) result = result * (n - k + i) / i
  return result
}

function sequences ({ steps, offsetEdges, maxSteps }) {
  const buckets = BigInt(offsetEdges.length) + 1n
  let sum = 0n
  for (let length = 1n; length <= maxSteps; length++) {
    sum += BigInt(steps.length) ** length * binomial(length + buckets - 1n, length)
  }
  return sum
}

function distinguishable ({ values, randomize }) {
  if (randomize === undefined) return values
  const odds = BigInt(Math.ceil(Math.exp(Number(randomize) / 1000)))
  return odds < values ? odds : values
}

function reports (type, valuesOf) {
  let product = type.fields.reduce((soFar, field) => soFar * (valuesOf(field) + 1n), 1n)
  if (type.fields.length && (type.kind === 'event' || type.kind === 'state')) product -= 1n
  if (type.count) product *= type.count.max
  if (type.sequence) product *= sequences(type.sequence)
  return product * BigInt(type.oneIn.length)
}

/** The number of distinct reports of a type, time apart. */
export const distinctReports = (type) => reports(type, ({ values }) => values)

/** The same number as the entropy budget counts it. */
export const budgetedReports = (type) => reports(type, distinguishable)

function longestSequence ({ steps, offsetEdges, maxSteps }) {
  const step = 1 + Math.max(...steps.map(sizeOf)) + sizeOf(offsetEdges.length)
  return head(4, maxSteps).length + Number(maxSteps) * step
}

/** The size in bytes of the largest report of a type as an item. */
export function largestReport (name, type) {
  const fields = type.fields.map((field) => sizeOf(field.name) + field.longest)
  const entries = [
    sizeOf('catalog') + ID,
    sizeOf('type') + sizeOf(name),
    sizeOf('time') + sizeOf(type.expires - 1n),
    sizeOf('values') + fields.reduce((sum, size) => sum + size, head(5, fields.length).length)
  ]
  if (type.count) entries.push(sizeOf('count') + sizeOf(type.count.max))
  if (type.oneIn.at(-1) > 1n) entries.push(sizeOf('one_in') + sizeOf(type.oneIn.at(-1)))
  if (type.sequence) entries.push(sizeOf('sequence') + longestSequence(type.sequence))
  const payload = entries.reduce((sum, size) => sum + size, 1)
  return ENVELOPE + wrapped(HEADER + (type.work > 0n ? STAMP : 0)) + wrapped(payload)
}

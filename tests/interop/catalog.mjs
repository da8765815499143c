// Catalogs and whether a report fits its type: schema/SPEC.md, section 4.

import { createHash } from 'node:crypto'
import { budgetedReports, distinctReports, largestReport } from './budget.mjs'
import { ascends, isArray, isDistinct, isLine, isName, readField } from './fields.mjs'
import { ADDRESS, demandKeys, isId, isInteger } from './shape.mjs'
import { demand } from './verdict.mjs'

const LABEL = /^[a-z][a-z0-9-]{0,31}$/
const KINDS = ['event', 'count', 'state', 'sequence']
const PSEUDONYMS = ['none', 'session', 'day']
const CHARTS = ['line', 'bar', 'stack', 'funnel', 'table']
const LONGEST = 31622400n
const REPORT_MAX = 1024
const BITS_MAX = 28n

const offSchema = (condition, detail) => demand(condition, 'off-schema', detail)
const demandInteger = (value, least, most) => offSchema(isInteger(value, least, most), 'M004, M005')
const isIntegers = (value, [fewest, most], least, greatest) =>
  isArray(value, fewest, most) && value.every((one) => isInteger(one, least, greatest))

/** The topic of a namespace: section 6. */
export function topicOf (label, key) {
  const digest = createHash('sha256').update(key).digest().subarray(0, 10)
  return `/methrics/1/${label}-${base32(digest)}/cbor`
}

function base32 (bytes) {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return bits.match(/.{5}/g).map((five) => 'abcdefghijklmnopqrstuvwxyz234567'[parseInt(five, 2)]).join('')
}

const isAddress = (value) => isLine(value, 200) && ADDRESS.test(value)

function checkRelease (map, kind) {
  demandKeys(map, ['delay', 'jitter'], ['every'], 'off-schema')
  demandInteger(map.get('delay'), 300n, LONGEST)
  demandInteger(map.get('jitter'), 0n, LONGEST)
  offSchema(map.has('every') === (kind === 'state'), 'M011')
  if (!map.has('every')) return
  const every = map.get('every')
  offSchema(isIntegers(every, [2, 2], 3600n, LONGEST) && every[0] <= every[1], 'M005, M009')
}

function readCount (map, kind) {
  offSchema((map !== undefined) === (kind === 'count'), 'M011')
  if (map === undefined) return undefined
  demandKeys(map, ['max', 'window'], [], 'off-schema')
  demandInteger(map.get('max'), 1n, 2n ** BITS_MAX)
  demandInteger(map.get('window'), 600n, LONGEST)
  return { max: map.get('max') }
}

function readSequence (map, kind) {
  offSchema((map !== undefined) === (kind === 'sequence'), 'M011')
  if (map === undefined) return undefined
  demandKeys(map, ['steps', 'offset_edges', 'max_steps'], [], 'off-schema')
  const [steps, offsetEdges, maxSteps] = ['steps', 'offset_edges', 'max_steps'].map((key) => map.get(key))
  offSchema(isArray(steps, 1, 32) && steps.every(isName) && isDistinct(steps), 'M006, M008, M013')
  offSchema(isIntegers(offsetEdges, [0, 32], 1n, LONGEST) && ascends(offsetEdges), 'M005, M009, M013')
  demandInteger(maxSteps, 1n, 32n)
  return { steps, offsetEdges, maxSteps }
}

function checkChart (chart, { fields, sequence }) {
  offSchema(typeof chart === 'string', 'M004')
  const [form, ...rest] = chart.split(':')
  offSchema(CHARTS.includes(form), 'M010')
  offSchema(rest.length === 0 || fields.some(({ name }) => name === rest.join(':')), 'M006')
  offSchema(form !== 'funnel' || sequence !== undefined, 'M011')
}

const TYPE_KEYS = [
  'kind', 'question', 'why', 'owner', 'review', 'expires', 'retention_days', 'lateness', 'resolution', 'release',
  'pseudonym', 'entropy_bits', 'chart', 'fields', 'one_in', 'work'
]

function checkTexts (map) {
  const lines = { question: 240, why: 480, owner: 200, review: 200 }
  for (const [key, most] of Object.entries(lines)) offSchema(isLine(map.get(key), most), `M007 ${key}`)
  offSchema(map.get('review').startsWith('https://'), 'M018')
}

function checkNumbers (map) {
  demandInteger(map.get('expires'), 1n, 4294967295n)
  demandInteger(map.get('retention_days'), 1n, 3653n)
  demandInteger(map.get('lateness'), 3600n, LONGEST)
  demandInteger(map.get('resolution'), 600n, LONGEST)
  offSchema(map.get('resolution') % 600n === 0n, 'M005 resolution')
  demandInteger(map.get('entropy_bits'), 0n, BITS_MAX)
  demandInteger(map.get('work'), 0n, 24n)
  offSchema(isIntegers(map.get('one_in'), [1, 8], 1n, 1000000n) && ascends(map.get('one_in')), 'M005, M009, M013')
}

function readType (name, map) {
  offSchema(isName(name), 'M006')
  demandKeys(map, TYPE_KEYS, ['count', 'sequence'], 'off-schema')
  const kind = map.get('kind')
  offSchema(KINDS.includes(kind) && PSEUDONYMS.includes(map.get('pseudonym')), 'M010')
  checkTexts(map)
  checkNumbers(map)
  checkRelease(map.get('release'), kind)
  offSchema(isArray(map.get('fields'), 0, 32), 'M013')
  const fields = map.get('fields').map(readField)
  offSchema(isDistinct(fields.map((field) => field.name)), 'M008')
  offSchema(isDistinct(fields.map((field) => field.source).filter((source) => source !== undefined)), 'M008')
  const [expires, lateness, resolution, oneIn, work] =
    ['expires', 'lateness', 'resolution', 'one_in', 'work'].map((key) => map.get(key))
  const count = readCount(map.get('count'), kind)
  const sequence = readSequence(map.get('sequence'), kind)
  const type = { kind, expires, lateness, resolution, oneIn, work, fields, count, sequence }
  checkChart(map.get('chart'), type)
  offSchema(largestReport(name, type) <= REPORT_MAX, 'M015')
  offSchema(budgetedReports(type) <= 2n ** map.get('entropy_bits'), 'M016')
  offSchema(distinctReports(type) <= 2n ** BITS_MAX, 'M021')
  return type
}

/** A catalog's decoded payload as { label, types: Map of name to type }; a Refusal `off-schema` if it breaks a rule. */
export function readCatalog (map) {
  demandKeys(map, ['label', 'number', 'contact', 'types'], ['previous', 'results'], 'off-schema')
  const [label, number, types] = ['label', 'number', 'types'].map((key) => map.get(key))
  offSchema(typeof label === 'string' && LABEL.test(label), 'M006')
  demandInteger(number, 1n, 4294967295n)
  offSchema(map.has('previous') === (number > 1n), 'M017')
  offSchema(!map.has('previous') || isId(map.get('previous')), 'M004')
  offSchema(isLine(map.get('contact'), 200), 'M007')
  offSchema(!map.has('results') || isAddress(map.get('results')), 'M007, M018')
  offSchema(types instanceof Map && types.size >= 1 && types.size <= 64, 'M004, M013')
  return { label, types: new Map([...types].map(([name, type]) => [name, readType(name, type)])) }
}

function checkSequence (declared, sequence) {
  if (declared === undefined) return offSchema(sequence === undefined, 'a sequence out of place')
  demand(sequence !== undefined, 'empty', 'no sequence')
  offSchema(sequence.length <= declared.maxSteps, 'too many steps')
  let previous = 0n
  for (const [step, offset] of sequence) {
    offSchema(declared.steps.includes(step), 'an undeclared step')
    offSchema(isInteger(offset, previous, BigInt(declared.offsetEdges.length)), 'offset')
    previous = offset
  }
}

/** Step 4 of section 7: whether a report fits a type of its catalog. Returns the type. */
export function checkFit (report, catalog) {
  const type = catalog.types.get(report.type)
  offSchema(type !== undefined, 'an undeclared type')
  for (const [name, value] of report.values) {
    const field = type.fields.find((one) => one.name === name)
    offSchema(field !== undefined && field.accepts(value), `value of ${name}`)
  }
  offSchema(type.oneIn.includes(report.oneIn), 'an undeclared rate')
  if (type.count) offSchema(isInteger(report.count, 1n, type.count.max), 'count')
  else offSchema(report.count === undefined, 'a count out of place')
  checkSequence(type.sequence, report.sequence)
  const shares = type.kind === 'count' || type.kind === 'sequence' || type.fields.length === 0 || report.values.size > 0
  demand(shares, 'empty', 'no values')
  demand(report.time % type.resolution === 0n, 'unrounded')
  return type
}

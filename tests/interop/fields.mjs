// The seven types of fields: schema/SPEC.md, section 4.
//
// A field that was read has { name, source, randomize, values, accepts(value), longest }: the number of its wire
// values, the test of one of them, and the size in bytes of the longest as CBOR.

import { encode } from './cbor.mjs'
import { COUNTRIES, LANGUAGES } from './codes.mjs'
import { demandKeys, isInteger, isPlainText } from './shape.mjs'
import { demand } from './verdict.mjs'

const NAME = /^[a-z][a-z0-9_]{0,31}$/
const WORD = /^[A-Za-z0-9]([A-Za-z0-9 ._+/-]{0,30}[A-Za-z0-9._+/-])?$/
const DECIMAL = /^-?(0|[1-9][0-9]{0,15})\.[0-9]{0,8}[1-9]$/
const BLANK = /^[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]*$/
const NUMBER = /^(0|[1-9][0-9]*)$/
const RESERVED = ['report', 'time', 'day', 'received', 'count', 'one_in', 'sequence', 'step', 'offset', 'position', 'only', 'n']
const OTHER = 'other'
const SCALE = 9
const LAST_MILESTONE = 400n
const EDGE_MAX = 2n ** 53n - 1n
const UNIT_MAX = 24

const offSchema = (condition, detail) => demand(condition, 'off-schema', detail)

export const isName = (value) => typeof value === 'string' && NAME.test(value)
export const isLine = (value, most) => isPlainText(value, 1, most) && !BLANK.test(value)
export const isArray = (value, least, most) => Array.isArray(value) && value.length >= least && value.length <= most
export const ascends = (values) => values.every((value, i) => i === 0 || values[i - 1] < value)
export const isDistinct = (values) => new Set(values).size === values.length

const sizeOf = (value) => encode(value).length
const longestOf = (values) => Math.max(...values.map(sizeOf))

function choice (values, other) {
  const accepted = new Set([...values, other])
  return { values: BigInt(accepted.size), accepts: (value) => accepted.has(value), longest: longestOf([...accepted]) }
}

function index (last) {
  return { values: last + 1n, accepts: (value) => isInteger(value, 0n, last), longest: sizeOf(last) }
}

function readEnum (map) {
  const words = map.get('values')
  offSchema(isArray(words, 1, 256), 'M013')
  offSchema(words.every((word) => typeof word === 'string' && WORD.test(word) && word !== OTHER), 'M006, M012')
  offSchema(isDistinct(words), 'M008')
  return choice(words, OTHER)
}

function readFlag () {
  return { values: 2n, accepts: (value) => typeof value === 'boolean', longest: 1 }
}

/** An edge as an integer, scaled so that every decimal is whole: edges are compared exactly. */
function scaled (edge) {
  if (isInteger(edge, -EDGE_MAX, EDGE_MAX)) return edge * 10n ** BigInt(SCALE)
  offSchema(typeof edge === 'string' && DECIMAL.test(edge), 'M004, M006')
  const [whole, fraction] = edge.split('.')
  return BigInt(whole.replace('-', '') + fraction.padEnd(SCALE, '0')) * (edge.startsWith('-') ? -1n : 1n)
}

function readBucket (map) {
  const edges = map.get('edges')
  offSchema(isArray(edges, 1, 64), 'M013')
  offSchema(ascends(edges.map(scaled)), 'M009')
  offSchema(!map.has('unit') || isLine(map.get('unit'), UNIT_MAX), 'M004, M007')
  return index(BigInt(edges.length))
}

function readVersion (map) {
  const max = map.get('max')
  offSchema(isArray(max, 2, 3) && max.every((one) => isInteger(one, 0n, 9999n)), 'M005, M013')
  const accepts = (value) => {
    if (typeof value !== 'string') return false
    const parts = value.split('.')
    return value === OTHER ||
      (parts.length === max.length && parts.every((part, i) => NUMBER.test(part) && BigInt(part) <= max[i]))
  }
  return { values: max.reduce((product, one) => product * (one + 1n), 1n) + 1n, accepts, longest: longestOf([OTHER, max.join('.')]) }
}

function readCodes (map, known, other) {
  const codes = map.get('values') ?? [...known]
  offSchema(isArray(codes, 1, known.size) && codes.every((code) => known.has(code)), 'M010, M013')
  offSchema(isDistinct(codes), 'M008')
  return choice(codes, other)
}

function readCount (map) {
  const max = map.get('max')
  offSchema(isInteger(max, 1n, 65535n), 'M005')
  return index(max)
}

const TYPES = {
  enum: { keys: ['values'], optional: [], read: readEnum, randomizes: true },
  flag: { keys: [], optional: [], read: readFlag, randomizes: true },
  bucket: { keys: ['edges'], optional: ['unit'], read: readBucket, randomizes: true },
  version: { keys: ['max'], optional: [], read: readVersion, randomizes: false },
  country: { keys: [], optional: ['values'], read: (map) => readCodes(map, COUNTRIES, 'ZZ'), randomizes: true },
  language: { keys: [], optional: ['values'], read: (map) => readCodes(map, LANGUAGES, OTHER), randomizes: true },
  count: { keys: ['max'], optional: [], read: readCount, randomizes: false }
}

const isFlag = (map) => map.get('type') === 'flag'

function isInstallAge (map) {
  return map.get('type') === 'bucket' && map.get('edges').join() === '1,4,24'
}

function isMilestone (map) {
  if (map.get('type') !== 'enum') return false
  const days = map.get('values').map((word) => word.startsWith('d') && NUMBER.test(word.slice(1)) ? BigInt(word.slice(1)) : -1n)
  return days[0] === 0n && ascends(days) && days.at(-1) <= LAST_MILESTONE
}

const SOURCES = {
  first_of_day: isFlag,
  first_of_week: isFlag,
  first_of_month: isFlag,
  install_age: isInstallAge,
  milestone: isMilestone
}

/** A declared field; a Refusal `off-schema` if the declaration breaks a rule. */
export function readField (map) {
  offSchema(map instanceof Map, 'M004')
  const typeName = map.get('type')
  offSchema(typeof typeName === 'string' && Object.hasOwn(TYPES, typeName), 'M010')
  const type = TYPES[typeName]
  demandKeys(map, ['name', 'type', 'says', ...type.keys], ['source', 'randomize', ...type.optional], 'off-schema')
  const [name, source, randomize] = ['name', 'source', 'randomize'].map((key) => map.get(key))
  offSchema(isName(name) && !RESERVED.includes(name), 'M006, M012')
  offSchema(isLine(map.get('says'), 240), 'M007')
  const domain = type.read(map)
  if (source !== undefined) {
    offSchema(typeof source === 'string' && Object.hasOwn(SOURCES, source), 'M010')
    offSchema(SOURCES[source](map), 'M019')
  }
  if (randomize !== undefined) {
    offSchema(isInteger(randomize, 100n, 10000n), 'M005')
    offSchema(type.randomizes && source === undefined, 'M020')
  }
  return { name, source, randomize, ...domain }
}

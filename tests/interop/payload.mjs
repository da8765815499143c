// Payloads but catalogs: schema/SPEC.md, section 3. Each reader takes decoded CBOR and returns a plain object.

import { ADDRESS, demandKeys, isId, isInteger, isPlainText } from './shape.mjs'
import { demand } from './verdict.mjs'

const LAST_SECOND = 253402300799n
const TICK = 600n
const DAY = 86400n
const MOST_ENTRIES = 8
const MOST_VALUES = 32
const NAME = /^[a-z][a-z0-9_]{0,31}$/

const malformed = (condition, detail) => demand(condition, 'malformed', detail)
const isSeconds = (value) => isInteger(value, 0n, LAST_SECOND)
const isText = (value, most, least = 1) => isPlainText(value, least, most)

function demandRounded (...times) {
  for (const time of times) demand(time % TICK === 0n, 'unrounded')
}

function isStep (value) {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && isInteger(value[1], 0n)
}

function isSequence (value) {
  return Array.isArray(value) && value.length > 0 && value.every(isStep)
}

function readReport (map) {
  demandKeys(map, ['catalog', 'type', 'time', 'values'], ['count', 'one_in', 'sequence'], 'malformed')
  const { catalog, type, time, values, count, one_in: oneIn, sequence } = Object.fromEntries(map)
  malformed(isId(catalog), 'catalog')
  malformed(typeof type === 'string', 'type')
  malformed(isSeconds(time), 'time')
  // A value of any shape: whether it fits its field is a question for the catalog.
  malformed(values instanceof Map, 'values')
  malformed(count === undefined || isInteger(count, 1n), 'count')
  malformed(oneIn === undefined || isInteger(oneIn, 2n), 'one_in')
  malformed(sequence === undefined || isSequence(sequence), 'sequence')
  return { catalog, type, time, values, count, oneIn: oneIn ?? 1n, sequence }
}

function readErasure (map) {
  demandKeys(map, ['catalog', 'inner', 'day'], [], 'malformed')
  const { catalog, inner, day } = Object.fromEntries(map)
  malformed(isId(catalog) && isId(inner) && isInteger(day, 0n, LAST_SECOND / DAY), 'erasure')
  return { catalog, inner, day }
}

/** Whether every byte string is greater than the one before. */
const ascend = (ids) => ids.every((id, i) => i === 0 || Buffer.compare(ids[i - 1], id) < 0)

function readListing (map) {
  demandKeys(map, ['catalog', 'listed'], ['delisted'], 'malformed')
  const { catalog, listed, delisted } = Object.fromEntries(map)
  malformed(isId(catalog) && isSeconds(listed), 'listing')
  malformed(delisted === undefined || (isSeconds(delisted) && delisted > listed), 'delisted')
  return { catalog, listed, delisted }
}

function readRevoked ([name, map]) {
  malformed(NAME.test(name), 'name')
  demandKeys(map, ['time', 'reason'], [], 'malformed')
  const { time, reason } = Object.fromEntries(map)
  malformed(isSeconds(time) && isText(reason, 200), 'revocation')
  return [name, time]
}

const isArrayOf = (value, most, test) => Array.isArray(value) && value.length <= most && value.every(test)

function readRecord (map) {
  malformed(map instanceof Map, 'no map')
  const { time, expires, previous, catalogs, revoked, settled, next, issuers, results } = Object.fromEntries(map)
  malformed(isSeconds(time) && isSeconds(expires) && expires > time, 'times')
  malformed(settled === undefined || (isSeconds(settled) && settled < time), 'settled')
  malformed(isArrayOf(previous, 4, isId) && ascend(previous), 'previous')
  malformed(isArrayOf(catalogs, 32, () => true), 'catalogs')
  const listings = catalogs.map(readListing)
  malformed(ascend(listings.map(({ catalog }) => catalog)), 'catalogs')
  malformed(revoked instanceof Map && revoked.size <= 256, 'revoked')
  const revocations = new Map([...revoked].map(readRevoked))
  malformed(next === undefined || isId(next), 'next')
  malformed(issuers === undefined || isArrayOf(issuers, 8, isId), 'issuers')
  malformed(results === undefined || (isText(results, 200) && ADDRESS.test(results)), 'results')
  demandRounded(...revocations.values())
  return { time, expires, previous, listings, revocations, settled }
}

function isNews (entry) {
  if (!(entry instanceof Map) || !isText(entry.get('text'), 500)) return false
  const url = entry.get('url')
  return url === undefined || (isText(url, 200) && url.startsWith('https://'))
}

function isSelector (value) {
  return value instanceof Map && value.size <= MOST_ENTRIES && [...value].every(([name, allowed]) =>
    isText(name, 64) && Array.isArray(allowed) && allowed.length <= MOST_VALUES && allowed.every((one) => isText(one, 64)))
}

const isListOf = (test) => (value) => Array.isArray(value) && value.length <= MOST_ENTRIES && value.every(test)

const ANNOUNCED = {
  news: isListOf(isNews),
  newest_version: (value) => isText(value, 64),
  report_interval: (value) => isInteger(value, 0n),
  relays: isListOf((value) => isText(value, 200)),
  selector: isSelector
}

function readAnnouncement (map) {
  malformed(map instanceof Map, 'no map')
  const [time, expires] = [map.get('time'), map.get('expires')]
  malformed(isSeconds(time) && isSeconds(expires) && expires > time, 'times')
  for (const [key, test] of Object.entries(ANNOUNCED)) malformed(!map.has(key) || test(map.get(key)), key)
  demand(!map.has('report_interval') || map.get('report_interval') >= DAY, 'off-schema', 'more than once a day')
  demandRounded(time, expires)
  return { time, expires }
}

const MOST_COUNTED = 9007199254740991n
const isCount = (value) => isInteger(value, 0n, MOST_COUNTED)

/** Whether a decoded value names a shard: section 14. */
export const isShard = (value) => Array.isArray(value) && value.length === 2 && [2n, 4n, 8n, 16n].includes(value[1]) &&
  isInteger(value[0], 1n, value[1])

function readManifest (map) {
  const keys = ['namespace', 'day', 'as_of', 'closed', 'count', 'digest', 'late', 'erasures', 'erasures_digest']
  demandKeys(map, keys, ['record', 'shard'], 'malformed')
  const { namespace, day, as_of: asOf, closed, count, digest, late, erasures, record, shard } = Object.fromEntries(map)
  const erasuresDigest = map.get('erasures_digest')
  malformed([namespace, digest, erasuresDigest].every(isId) && (record === undefined || isId(record)), 'ids')
  malformed(isInteger(day, 0n, LAST_SECOND / DAY) && isSeconds(asOf), 'times')
  malformed(typeof closed === 'boolean', 'closed')
  malformed([count, late, erasures].every(isCount) && late <= (closed ? count : 0n), 'counts')
  malformed(!closed || asOf >= (day + 1n) * DAY, 'closed before its end')
  malformed(shard === undefined || isShard(shard), 'shard')
  return { namespace, day, asOf, closed, count, digest, late, erasures, erasuresDigest, record, shard }
}

const READERS = {
  report: readReport,
  erasure: readErasure,
  record: readRecord,
  announcement: readAnnouncement,
  manifest: readManifest
}

/** The payload of a kind but `catalog`; a Refusal `malformed`, `off-schema` or `unrounded` if it breaks a rule. */
export function readPayload (kind, value) {
  return READERS[kind](value)
}

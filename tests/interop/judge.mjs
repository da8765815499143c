// The verdict on one item: schema/SPEC.md, section 7.

import { decode } from './cbor.mjs'
import { checkFit, readCatalog, topicOf } from './catalog.mjs'
import { checkSignature, hex, readItem, zeroBits } from './item.mjs'
import { readPayload } from './payload.mjs'
import { Refusal, demand } from './verdict.mjs'

const AHEAD = 300n
const DAY = 86400n
const SIGNED_BY_NAMESPACE = ['catalog', 'record', 'announcement']

/** The catalogs and records that a node knows. */
export class Book {
  catalogs = new Map() // by id in hex: { key, topic, types }
  records = new Map() // by namespace key in hex: [{ id, body, raw }], in the order of arrival

  /** Lets an accepted catalog or record take effect. */
  add ({ item, body }) {
    if (item.kind === 'catalog') {
      this.catalogs.set(hex(item.id), { key: item.key, topic: topicOf(body.label, item.key), types: body.types })
    } else if (item.kind === 'record') {
      const known = this.#recordsOf(item.key).filter(({ id }) => !id.equals(item.id))
      this.records.set(hex(item.key), [...known, { id: item.id, body, raw: item.raw }])
    }
  }

  #recordsOf (key) {
    return this.records.get(hex(key)) ?? []
  }

  catalog (id) {
    return this.catalogs.get(hex(id))
  }

  /** The newest record of a namespace key: { id, body, raw }, or undefined. */
  newest (key) {
    return this.#recordsOf(key).toSorted(byRank).at(-1)
  }

  /** The newest record of every key with this short key. */
  newestOf (shortKey) {
    const keys = [...this.records.keys()].map((digits) => Buffer.from(digits, 'hex'))
    return keys.filter((key) => shortKeyOfKey(key) === shortKey).map((key) => this.newest(key))
  }

  everListed (key, catalog) {
    return this.#recordsOf(key).some(({ body }) => listingIn(body, catalog) !== undefined)
  }

  /** Whether the newest record of a key leaves contradictions of the time of `body` open. */
  #isOpen (key, { time }) {
    const { settled } = this.newest(key).body
    return settled === undefined || time > settled
  }

  /** The records of a key that no other one names as previous and that are not settled, newest first. */
  heads (key) {
    const records = this.#recordsOf(key)
    const isHead = ({ id, body }) => this.#isOpen(key, body) && !records.some((one) => names(one.body, id))
    return records.filter(isHead).toSorted(byRank).reverse()
  }

  /** The oldest two records of a key that prove an equivocation, the older first, or null. */
  proof (key) {
    const records = this.#recordsOf(key).toSorted(byRank)
    for (const [i, older] of records.entries()) {
      for (const [k, newer] of records.entries()) {
        if (k <= i || !this.#isOpen(key, newer.body) || !conflict(older, newer)) continue
        const healed = records.slice(k + 1).some(({ body }) => names(body, older.id) && names(body, newer.id))
        if (!healed) return [older, newer]
      }
    }
    return null
  }
}

const byRank = (one, other) => Number(one.body.time - other.body.time) || Buffer.compare(one.id, other.id)
const names = (body, id) => body.previous.some((one) => Buffer.compare(one, id) === 0)

function conflict (older, newer) {
  if (names(older.body, newer.id) || names(newer.body, older.id)) return false
  if (newer.body.settled !== undefined && older.body.time <= newer.body.settled) return false
  const [few, many] = [older.body.previous, newer.body.previous]
  return few.some((id) => names(newer.body, id)) || few.length + many.length === 0
}

/** The entry of a catalog in the body of a record, or undefined. */
export const listingIn = (body, catalog) =>
  body?.listings.find((listing) => Buffer.compare(listing.catalog, catalog) === 0)

function isListedAt (body, catalog, time, resolution) {
  const listing = listingIn(body, catalog)
  if (listing === undefined || time >= body.expires) return false
  return time + resolution > listing.listed && (listing.delisted === undefined || time < listing.delisted)
}

export const shortKeyOfKey = (key) => shortKeyOf(topicOf('any', key))
export const shortKeyOf = (topic) => topic.slice(0, -'/cbor'.length).split('-').at(-1)

function checkNamespace (key, topics) {
  const shortKey = shortKeyOfKey(key)
  demand(topics === null || topics.some((topic) => shortKeyOf(topic) === shortKey), 'foreign', 'another namespace')
}

function checkTopic (topic, topics) {
  demand(topics === null || topics.includes(topic), 'foreign', 'another topic')
}

/** Step 2 for items that the namespace key signs. */
function readSignedByNamespace (item, topics) {
  checkNamespace(item.key, topics)
  checkSignature(item)
  const payload = decode(item.payload)
  if (item.kind !== 'catalog') return readPayload(item.kind, payload)
  const body = readCatalog(payload)
  checkTopic(topicOf(body.label, item.key), topics)
  return body
}

/** The comparison with the topic that even a known item has to pass. */
export function checkForeign (item, { topics, book }) {
  if (SIGNED_BY_NAMESPACE.includes(item.kind)) {
    checkNamespace(item.key, topics)
    if (item.kind === 'catalog') checkTopic(topicOf(readCatalog(decode(item.payload)).label, item.key), topics)
  } else {
    const catalog = book.catalog(readPayload(item.kind, decode(item.payload)).catalog)
    if (catalog !== undefined) checkTopic(catalog.topic, topics)
  }
}

/** Step 7 for what names a catalog. */
function checkReportNow (report, type, catalog, { now, live, book }) {
  demand(report.time < type.expires, 'expired')
  if (live) demand(report.time <= now + AHEAD, 'early')
  if (live) demand(now - report.time <= type.lateness, 'late')
  const record = book.newest(catalog.key)?.body
  const listed = live
    ? isListedAt(record, report.catalog, report.time, type.resolution)
    : book.everListed(catalog.key, report.catalog)
  demand(listed, 'unlisted')
  const revoked = record.revocations.get(report.type)
  demand(revoked === undefined || report.time < revoked, 'revoked')
}

function judgeReport (item, body, situation) {
  const catalog = knownCatalog(item, body, situation)
  const type = checkFit(body, catalog)
  if (type.work === 0n) demand(item.work === undefined, 'off-schema', 'a needless work stamp')
  else demand(item.work !== undefined && zeroBits(item) >= type.work, 'no-work')
  checkSignature(item)
  checkReportNow(body, type, catalog, situation)
}

function judgeErasure (item, body, situation) {
  knownCatalog(item, body, situation)
  checkSignature(item)
  demand(!situation.live || body.day * DAY <= situation.now + AHEAD, 'early')
}

/** Step 3: the catalog that a report or an erasure names. */
function knownCatalog (item, body, { topics, book }) {
  const catalog = book.catalog(body.catalog)
  if (catalog === undefined) {
    checkSignature(item)
    demand(false, 'unknown-catalog')
  }
  checkTopic(catalog.topic, topics)
  return catalog
}

function judgeCatalog (item, body, { live, book }) {
  if (live) demand(listingIn(book.newest(item.key)?.body, item.id) !== undefined, 'unlisted')
}

function judgeRecord (item, body, { now, live }) {
  demand(!live || body.time <= now + AHEAD, 'early')
}

function judgeAnnouncement (item, body, { now, live }) {
  if (!live) return
  demand(body.time <= now + AHEAD, 'early')
  demand(now < body.expires, 'expired')
}

const JUDGES = {
  report: judgeReport,
  erasure: judgeErasure,
  catalog: judgeCatalog,
  record: judgeRecord,
  announcement: judgeAnnouncement
}

/** Judges an item that `readItem` returned. Returns its body or throws a Refusal. */
export function judgeRead (item, situation) {
  demand(item.kind !== 'manifest', 'malformed', 'never on a topic')
  demand(item.kind !== 'descriptor', 'unknown-kind', 'on a topic of its own')
  demand(item.kind === 'report' || item.work === undefined, 'off-schema', 'a needless work stamp')
  const body = SIGNED_BY_NAMESPACE.includes(item.kind)
    ? readSignedByNamespace(item, situation.topics)
    : readPayload(item.kind, decode(item.payload))
  JUDGES[item.kind](item, body, situation)
  return body
}

/**
 * Judges the bytes of an item in a situation { now: BigInt, live, topics, book }. `topics` are those that the item
 * may belong to, or null if there is none to compare with.
 *
 * Returns { reason, item, body }: `item` is null unless its layout could be read, `body` unless the reason is `ok`.
 */
export function judge (bytes, situation) {
  let item = null
  try {
    item = readItem(bytes)
    return { reason: 'ok', item, body: judgeRead(item, situation) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { reason: error.reason, item, body: null }
  }
}

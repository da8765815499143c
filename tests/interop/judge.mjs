// The verdict on one item: schema/SPEC.md, section 7.

import { decode } from './cbor.mjs'
import { checkFit, readCatalog, topicOf } from './catalog.mjs'
import { checkSignature, hex, readItem, zeroBits } from './item.mjs'
import { readPayload } from './payload.mjs'
import { Refusal, demand } from './verdict.mjs'

const AHEAD = 300n
const SIGNED_BY_NAMESPACE = ['catalog', 'revocation', 'announcement']

/** The catalogs and revocations that a node knows. */
export class Book {
  catalogs = new Map() // by id in hex: { key, topic, types }
  revocations = new Map() // by namespace key in hex and type: the earliest time

  /** A book that knows no more than this one and may learn more by itself. */
  copy () {
    const book = new Book()
    book.catalogs = new Map(this.catalogs)
    book.revocations = new Map(this.revocations)
    return book
  }

  /** Lets an accepted catalog or revocation take effect. */
  add ({ item, body }) {
    if (item.kind === 'catalog') {
      this.catalogs.set(hex(item.id), { key: item.key, topic: topicOf(body.label, item.key), types: body.types })
    } else if (item.kind === 'revocation') {
      const name = `${hex(item.key)} ${body.type}`
      const before = this.revocations.get(name)
      if (before === undefined || body.time < before) this.revocations.set(name, body.time)
    }
  }

  catalog (id) {
    return this.catalogs.get(hex(id))
  }

  knowsNamespace (key) {
    return [...this.catalogs.values()].some((catalog) => Buffer.compare(catalog.key, key) === 0)
  }

  isRevoked (key, type, time) {
    const since = this.revocations.get(`${hex(key)} ${type}`)
    return since !== undefined && time >= since
  }
}

const shortKeyOf = (topic) => topic.slice(0, -'/cbor'.length).split('-').at(-1)

function checkNamespace (key, topics) {
  const shortKey = shortKeyOf(topicOf('any', key))
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
  demand(!book.isRevoked(catalog.key, report.type, report.time), 'revoked')
}

function judgeReport (item, body, situation) {
  const catalog = knownCatalog(item, body, situation)
  const type = checkFit(body, catalog)
  if (type.work === 0n) demand(item.work === undefined, 'off-schema', 'a needless work stamp')
  else demand(item.work !== undefined && zeroBits(item.id) >= type.work, 'no-work')
  checkSignature(item)
  checkReportNow(body, type, catalog, situation)
}

function judgeErasure (item, body, situation) {
  knownCatalog(item, body, situation)
  checkSignature(item)
  demand(!situation.live || body.time <= situation.now + AHEAD, 'early')
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

function judgeNotice (item, body, { now, live, book }) {
  demand(book.knowsNamespace(item.key), 'unknown-catalog')
  if (item.kind !== 'announcement' || !live) return
  demand(body.time <= now + AHEAD, 'early')
  demand(now < body.expires, 'expired')
}

const JUDGES = {
  report: judgeReport,
  erasure: judgeErasure,
  catalog: () => {},
  revocation: judgeNotice,
  announcement: judgeNotice
}

/** Judges an item that `readItem` returned. Returns its body or throws a Refusal. */
export function judgeRead (item, situation) {
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

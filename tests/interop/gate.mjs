// The verdict on a bundle: schema/SPEC.md, sections 5 and 7.

import { decode, readByteStrings } from './cbor.mjs'
import { hex, readItem } from './item.mjs'
import { checkForeign, judge, listingIn, shortKeyOf, shortKeyOfKey } from './judge.mjs'
import { readPayload } from './payload.mjs'
import { Refusal, decision, demand } from './verdict.mjs'

const BUNDLE = { total: 131072, count: 1025n, countReason: 'oversize', each: 65536n }
const ID_SIZE = 32

/** Items that passed: for each id the signature and nonce that it came with. */
export class Seen {
  #marks = new Map()

  add (item) {
    this.#marks.set(hex(item.id), markOf(item))
  }

  hasId ({ id }) {
    return this.#marks.has(hex(id))
  }

  has (item) {
    return this.#marks.get(hex(item.id)) === markOf(item)
  }
}

const markOf = ({ signature, work }) => `${hex(signature)} ${work}`

/** Whether a catalog that passed before is no longer known, so that it has to be read again to take effect. */
function isForgottenCatalog (item, book) {
  return item.kind === 'catalog' && book.catalog(item.id) === undefined
}

/** The verdict on an item of which `seen` may know that it passed before. */
export function judgeOnce (bytes, situation, seen) {
  try {
    const item = readItem(bytes)
    if (seen.has(item) && !isForgottenCatalog(item, situation.book)) {
      checkForeign(item, situation)
      return { reason: 'duplicate', item, body: null }
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { reason: error.reason, item: null, body: null }
  }
  const verdict = judge(bytes, situation)
  if (verdict.reason === 'ok' && seen.hasId(verdict.item)) return { ...verdict, reason: 'duplicate' }
  return verdict
}

/** The head of a bundle and its items. */
function readBundle (bytes) {
  const [about, ...items] = readByteStrings(bytes, BUNDLE)
  demand(items.length > 0, 'malformed', 'no items')
  demand(about.length === ID_SIZE || (about.length === 0 && items.length === 1), 'malformed', 'the head')
  return { about, items }
}

/** Why a part of a bundle about a catalog must not be in it, or null. */
function misplaced (bytes, about) {
  try {
    const item = readItem(bytes)
    if (item.kind !== 'report' && item.kind !== 'erasure') return 'malformed'
    return Buffer.compare(readPayload(item.kind, decode(item.payload)).catalog, about) === 0 ? null : 'malformed'
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return error.reason === 'unknown-kind' ? 'malformed' : null
  }
}

const result = (reason, accepted = [], refused = [], waits = null) => ({ reason, accepted, refused, waits })
const waitForRecord = (shortKey, refused = []) => result('unlisted', [], refused, `record:${shortKey}`)

/** The verdict on a bundle of a catalog that is not known. */
function judgeUnknown (about, { live, topics, book }) {
  const shortKey = topics === null ? null : shortKeyOf(topics[0])
  const asks = live && shortKey !== null
  if (asks && !book.newestOf(shortKey).some(({ body }) => listingIn(body, about))) return waitForRecord(shortKey)
  return result('unknown-catalog', [], [], hex(about))
}

function onlyErasures (items) {
  try {
    return items.every((bytes) => readItem(bytes).kind === 'erasure')
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return false
  }
}

/** The verdict on the items of a known catalog. */
function judgeParts (about, catalog, items, situation, seen) {
  const record = situation.book.newest(catalog.key)?.body
  const here = new Set()
  const accepted = []
  const refused = []
  let outdated = false
  for (const bytes of items) {
    const wrong = misplaced(bytes, about)
    const verdict = wrong === null ? judgeOnce(bytes, situation, seen) : { reason: wrong }
    const { item, body } = verdict
    const reason = verdict.reason === 'ok' && here.has(hex(item.id)) ? 'duplicate' : verdict.reason
    if (reason !== 'ok') refused.push(reason)
    if (decision(reason) === 'REJECT') return result(reason, [], refused)
    if (reason === 'unlisted' && situation.live) {
      outdated ||= readPayload('report', decode(item.payload)).time >= record.expires
    }
    if (reason !== 'ok') continue
    here.add(hex(item.id))
    accepted.push({ ...item, body })
  }
  if (outdated) return waitForRecord(shortKeyOfKey(catalog.key))
  return result(accepted.length ? 'ok' : refused[0], accepted, refused)
}

const NO_NOTICE = ['report', 'erasure', 'manifest']

function judgeNotice (bytes, situation, seen) {
  let item
  try {
    item = readItem(bytes)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return result(error.reason, [], [error.reason])
  }
  if (NO_NOTICE.includes(item.kind)) return result('malformed', [], ['malformed'])
  const { reason } = judgeOnce(bytes, situation, seen)
  if (reason === 'unlisted') return waitForRecord(shortKeyOfKey(item.key), [reason])
  return reason === 'ok' ? result(reason, [item]) : result(reason, [], [reason])
}

/**
 * Judges a bundle in a situation as `judge` takes it, with a `Seen` of items that passed before.
 *
 * Returns { reason, accepted: items to keep, refused: the reasons of the others in order, waits: the id of the catalog
 * in hex, or `record:` and a short key, or null }. Neither the situation's book nor `seen` is changed.
 */
export function judgeBundle (bytes, situation, seen) {
  let bundle
  try {
    bundle = readBundle(bytes)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return result(error.reason)
  }
  const { about, items } = bundle
  if (about.length === 0) return judgeNotice(items[0], situation, seen)
  const { book, live, topics } = situation
  const catalog = book.catalog(about)
  if (catalog === undefined) return judgeUnknown(about, situation)
  if (topics !== null && !topics.includes(catalog.topic)) return result('foreign')
  const listed = listingIn(book.newest(catalog.key)?.body, about) !== undefined
  if (live && !listed && !onlyErasures(items)) return waitForRecord(shortKeyOfKey(catalog.key))
  return judgeParts(about, catalog, items, situation, seen)
}

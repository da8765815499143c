// The verdict on a bundle: schema/SPEC.md, sections 5 and 7.

import { readByteStrings } from './cbor.mjs'
import { hex, readItem } from './item.mjs'
import { checkForeign, judge } from './judge.mjs'
import { Refusal, decision } from './verdict.mjs'

const BUNDLE = { total: 131072, count: 1024n, countReason: 'oversize', each: 65536n }

/** Items that passed: their ids, and for each id the signatures that it came with. */
export class Seen {
  #signatures = new Map()

  add ({ id, signature }) {
    this.#signatures.set(hex(id), hex(signature))
  }

  hasId ({ id }) {
    return this.#signatures.has(hex(id))
  }

  has ({ id, signature }) {
    return this.#signatures.get(hex(id)) === hex(signature)
  }

  /** What is true of either. */
  static union (one, other) {
    return { hasId: (item) => one.hasId(item) || other.hasId(item), has: (item) => one.has(item) || other.has(item) }
  }
}

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

/**
 * Judges a bundle in a situation as `judge` takes it, with a `Seen` of items that passed before.
 *
 * Returns { reason, accepted: items to keep, refused: the reasons of the others in order }. Neither the situation's
 * book nor `seen` is changed.
 */
export function judgeBundle (bytes, situation, seen) {
  let parts
  try {
    parts = readByteStrings(bytes, BUNDLE)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { reason: error.reason, accepted: [], refused: [] }
  }
  const book = situation.book.copy()
  const here = new Seen()
  const accepted = []
  const refused = []
  for (const part of parts) {
    const { reason, item, body } = judgeOnce(part, { ...situation, book }, Seen.union(seen, here))
    if (reason !== 'ok') refused.push(reason)
    if (decision(reason) === 'REJECT') return { reason, accepted: [], refused }
    if (body !== null) book.add({ item, body })
    if (reason !== 'ok') continue
    here.add(item)
    accepted.push(item)
  }
  return { reason: reasonOf(accepted, refused), accepted, refused }
}

function reasonOf (accepted, refused) {
  const unjudged = refused.find((reason) => reason === 'unknown-catalog' || reason === 'unknown-kind')
  if (unjudged !== undefined) return unjudged
  return accepted.length ? 'ok' : refused[0]
}

// Reads and judges the vectors of schema/vectors: the format is that of its README.

import { readFileSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { decode } from './cbor.mjs'
import { readCatalog } from './catalog.mjs'
import { Seen, judgeBundle } from './gate.mjs'
import { hex, readItem } from './item.mjs'
import { Book, judge } from './judge.mjs'
import { readPayload } from './payload.mjs'
import { decision } from './verdict.mjs'

/** All vectors of a folder by name. */
export function readVectors (folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.json')).sort()
  return new Map(names.map((name) => [basename(name, '.json'), JSON.parse(readFileSync(join(folder, name), 'utf8'))]))
}

/** Bytes from hex digits, or from [hex digits, how often repeated, hex digits, how often repeated, ...]. */
export function bytesOf (given) {
  if (typeof given === 'string') return Buffer.from(given, 'hex')
  return Buffer.concat(given.flatMap((digits, i) => i % 2 ? [] : [Buffer.from(digits.repeat(given[i + 1]), 'hex')]))
}

/** What a node knows and when it judges: `catalogs`, `records` and `seen` are the bytes of items known beforehand. */
export function situationOf ({ now, live, topic, catalogs, records, seen }) {
  const book = new Book()
  for (const bytes of catalogs) {
    const item = readItem(bytes)
    book.add({ item, body: readCatalog(decode(item.payload)) })
  }
  for (const bytes of records) {
    const item = readItem(bytes)
    book.add({ item, body: readPayload(item.kind, decode(item.payload)) })
  }
  const passed = new Seen()
  for (const bytes of seen) passed.add(readItem(bytes))
  return { now: BigInt(now), live, topics: topic === null ? null : [topic], book, seen: passed }
}

/** The situation of one of `vectors`. */
export function situationOfVector (vector, vectors) {
  return situationOf({
    ...vector,
    catalogs: vector.catalogs.map((name) => bytesOf(vectors.get(name).bytes)),
    records: vector.records.map((name) => bytesOf(vectors.get(name).bytes)),
    seen: vector.seen.map(bytesOf)
  })
}

/** The verdict on bytes, in the words of a vector's `expect`. */
export function verdictOn (bytes, isBundle, situation) {
  if (isBundle) {
    const { reason, accepted, refused, waits } = judgeBundle(bytes, situation, situation.seen)
    return { decision: decision(reason), reason, accepted: accepted.map(({ id }) => hex(id)), refused, waits }
  }
  const { reason, item } = judge(bytes, situation)
  const named = item === null ? {} : { id: hex(item.id), key: hex(item.key) }
  return { decision: decision(reason), reason, ...named }
}

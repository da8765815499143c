// What a node tells about records: schema/SPEC.md, section 9.

import { hex } from './item.mjs'
import { shortKeyOf } from './judge.mjs'

const RECORDS_MAX = 4

/** The newest record of a topic's namespace and the two that prove an equivocation, each once: their bytes. */
export function recordsOf (book, topic) {
  const found = new Map()
  for (const newest of book.newestOf(shortKeyOf(topic))) {
    const [key] = [...book.records].find(([, records]) => records.includes(newest))
    for (const { id, raw } of [newest, ...book.proof(Buffer.from(key, 'hex')) ?? []]) found.set(hex(id), raw)
  }
  return [...found.values()].slice(0, RECORDS_MAX)
}

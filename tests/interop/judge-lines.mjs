// Judges what comes in as lines of JSON on standard input, and prints one verdict for each line.
//
// A line is a vector of schema/vectors whose `catalogs` and `records` are bytes like `seen`, not names.

import { createInterface } from 'node:readline'
import { bytesOf, situationOf, verdictOn } from './vectors.mjs'

for await (const line of createInterface({ input: process.stdin })) {
  const { catalogs, records, seen, bytes, bundle, ...rest } = JSON.parse(line)
  const [known, inForce, passed] = [catalogs, records, seen].map((items) => items.map(bytesOf))
  const situation = situationOf({ ...rest, catalogs: known, records: inForce, seen: passed })
  const verdict = verdictOn(bytesOf(bytes ?? bundle), bytes === undefined, situation)
  process.stdout.write(JSON.stringify(verdict) + '\n')
}

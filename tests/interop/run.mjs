// Judges every vector of a folder and prints each verdict as a line of JSON: {name, verdict, expected, agrees}.
//
// Usage: node run.mjs VECTORS_DIR [flips [MOST]]
// With `flips`, every vector is judged with any one byte of it changed instead, at MOST places of each vector at
// most, and the lines are {name, places, accepted: places where the changed bytes were accepted all the same}.

import { isDeepStrictEqual } from 'node:util'
import { bytesOf, readVectors, situationOfVector, verdictOn } from './vectors.mjs'

const [folder, mode, most = '128'] = process.argv.slice(2)
const vectors = readVectors(folder)
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

/** Up to `count` places from 0 to length - 1, evenly spread. */
function places (length, count) {
  const step = Math.max(1, length / count)
  return Array.from({ length: Math.ceil(length / step) }, (_, i) => Math.floor(i * step))
}

/** The places where one changed byte does not keep the vector from being accepted. */
function acceptedAlthoughChanged (bytes, isBundle, situation, at) {
  return at.filter((place) => {
    const changed = Buffer.from(bytes)
    changed[place] ^= 1 + place % 255
    return verdictOn(changed, isBundle, situation).decision === 'ACCEPT'
  })
}

for (const [name, vector] of vectors) {
  const isBundle = vector.bundle !== undefined
  const bytes = bytesOf(isBundle ? vector.bundle : vector.bytes)
  const situation = situationOfVector(vector, vectors)
  if (mode === 'flips') {
    const at = places(bytes.length, Number(most))
    say({ name, places: at.length, accepted: acceptedAlthoughChanged(bytes, isBundle, situation, at) })
  } else {
    const verdict = verdictOn(bytes, isBundle, situation)
    say({ name, verdict, expected: vector.expect, agrees: isDeepStrictEqual(verdict, vector.expect) })
  }
}

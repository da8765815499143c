// Judges every vector of a folder and prints each verdict as a line of JSON: {name, verdict, expected, agrees}.
//
// Usage: node run.mjs VECTORS_DIR [requests | records | manifests | descriptors | visits | reconcile | envelopes | flips [MOST]]
// With `requests`, the vectors of streams and messages below the folder are run instead, and `verdict` is the outcome.
// With `records`, the histories of records below the folder are read, in the given order and in reverse.
// With `manifests` or `descriptors`, the manifests or descriptors below the folder are read.
// With `visits`, the requests and replies of visits below the folder are read.
// With `reconcile`, fingerprints and digests below the folder are computed, and requests and replies are read.
// With `envelopes`, the key configurations, boxes and answers below the folder are read and sealed again.
// With `flips`, every vector whose name starts with `ok-` is judged with any one byte of it changed instead, at MOST
// places of each at most, and the lines are {name, places, accepted: places where the changed bytes were accepted}.

import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { readDescriptor } from './descriptor.mjs'
import { outcome as outcomeOfEnvelope } from './envelopes.mjs'
import { outcome } from './requests.mjs'
import { hex, readItem } from './item.mjs'
import { readManifest } from './manifest.mjs'
import { dayDigest, isReply, isRequest, partsOf, setDigest } from './reconcile.mjs'
import { bytesOf, readVectors, situationOf, situationOfVector, verdictOn } from './vectors.mjs'
import { outcomeOfVisit } from './visit.mjs'

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

function judgeVector (name, vector, mode) {
  const isBundle = vector.bundle !== undefined
  const bytes = bytesOf(isBundle ? vector.bundle : vector.bytes)
  const situation = situationOfVector(vector, vectors)
  if (mode === 'flips') {
    const at = places(bytes.length, Number(most))
    return { name, places: at.length, accepted: acceptedAlthoughChanged(bytes, isBundle, situation, at) }
  }
  return compared(name, verdictOn(bytes, isBundle, situation), vector.expect)
}

/** What a node knows of the one namespace whose records it got in this order. */
function known (records) {
  const { book } = situationOf({ now: 0, live: false, topic: null, catalogs: [], records, seen: [] })
  const key = readItem(records[0]).key
  const ids = (found) => found.map(({ id }) => hex(id))
  const proof = book.proof(key)
  return { newest: hex(book.newest(key).id), heads: ids(book.heads(key)), proof: proof && ids(proof) }
}

/** The kinds of vectors of reconciliation: what is expected of each, and what comes out here. */
const RECONCILE = {
  parts: ({ ids, prefix, salt, parts }) => [hex(partsOf(ids.map(bytesOf), prefix, bytesOf(salt))), parts],
  day: ({ namespace, set, day, ids, digest }) =>
    [hex(dayDigest(bytesOf(namespace), set, day, ids.map(bytesOf))), digest],
  digest: ({ namespace, set, days, digest }) => {
    const read = days.map((one) => ({ ...one, digest: bytesOf(one.digest) }))
    return [hex(setDigest(bytesOf(namespace), set, read)), digest]
  },
  request: ({ request, ok }) => [isRequest(bytesOf(request)), ok],
  reply: ({ to, reply, ok }) => [isReply(to, bytesOf(reply)), ok]
}

function compared (name, verdict, expected) {
  return { name, verdict, expected, agrees: isDeepStrictEqual(verdict, expected) }
}

if (mode === 'requests') {
  for (const [name, vector] of readVectors(join(folder, 'requests'))) {
    say(compared(name, outcome(name, vector, vectors), vector.expect))
  }
} else if (mode === 'records') {
  for (const [name, { records, expect }] of readVectors(join(folder, 'records'))) {
    for (const order of [records, records.toReversed()]) say(compared(name, known(order.map(bytesOf)), expect))
  }
} else if (mode === 'manifests' || mode === 'descriptors') {
  const read = mode === 'manifests' ? readManifest : readDescriptor
  for (const [name, { bytes, now, expect }] of readVectors(join(folder, mode))) {
    say(compared(name, read(bytesOf(bytes), now), expect))
  }
} else if (mode === 'visits') {
  for (const [name, vector] of readVectors(join(folder, 'visits'))) {
    const bytes = Object.fromEntries(['request', 'reply'].map((key) => [key, vector[key] && bytesOf(vector[key])]))
    const answers = vector.expect.answers?.map((one) => hex(bytesOf(one)))
    say(compared(name, outcomeOfVisit(bytes), answers ? { ...vector.expect, answers } : vector.expect))
  }
} else if (mode === 'envelopes') {
  for (const [name, vector] of readVectors(join(folder, 'envelopes'))) {
    say(compared(name, outcomeOfEnvelope(name, vector), vector.expect))
  }
} else if (mode === 'reconcile') {
  for (const [name, vector] of readVectors(join(folder, 'reconcile'))) {
    say(compared(name, ...RECONCILE[name.split('-')[0]](vector)))
  }
} else {
  for (const [name, vector] of vectors) {
    if (mode !== 'flips' || name.startsWith('ok-')) say(judgeVector(name, vector, mode))
  }
}

// Manifests of aggregators: schema/SPEC.md, section 14.

import { decode } from './cbor.mjs'
import { checkSignature, hex, readItem } from './item.mjs'
import { readPayload } from './payload.mjs'
import { Refusal, demand } from './verdict.mjs'

const AHEAD = 300n

function checked (bytes, now) {
  const item = readItem(bytes)
  demand(item.kind === 'manifest', 'malformed', 'another kind')
  demand(item.work === undefined, 'off-schema', 'a needless work stamp')
  const body = readPayload('manifest', decode(item.payload))
  checkSignature(item)
  demand(now === null || body.asOf <= BigInt(now) + AHEAD, 'early')
  return { item, body }
}

/** What a vector expects of the bytes of a manifest at the time `now`, or null for one from a file. */
export function readManifest (bytes, now) {
  try {
    const { item, body } = checked(bytes, now)
    return {
      result: 'ok',
      id: hex(item.id),
      signer: hex(item.key),
      namespace: hex(body.namespace),
      day: Number(body.day),
      as_of: Number(body.asOf),
      closed: body.closed,
      count: Number(body.count),
      late: Number(body.late),
      erasures: Number(body.erasures),
      ...(body.shard && { shard: body.shard.map(Number) })
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

// The one message of each side of a stream: schema/SPEC.md, section 9.

export const CATALOG_PROTOCOL = { id: '/methrics/catalog/1', request: 32, reply: 65536 }
export const DESCRIPTORS_PROTOCOL = { id: '/methrics/descriptors/1', request: 0, reply: 1044480 }
export const EXIT_PROTOCOL = { id: '/methrics/exit/1', request: 262152, reply: 2097216 }

const HEAD = 4

/** A message: the length of its body, then the body. */
export function frame (body) {
  const head = Buffer.alloc(HEAD)
  head.writeUInt32BE(body.length)
  return Buffer.concat([head, body])
}

/**
 * Collects the parts of a stream as they come. `body` is null until the first message is complete; `failed` says that
 * its length is over the limit. What follows the message is dropped.
 */
export class FrameReader {
  #bytes = Buffer.alloc(0)
  body = null
  failed = false

  constructor (limit) {
    this.limit = limit
  }

  add (part) {
    if (this.body !== null || this.failed) return
    this.#bytes = Buffer.concat([this.#bytes, part])
    if (this.#bytes.length < HEAD) return
    const length = this.#bytes.readUInt32BE()
    this.failed = length > this.limit
    if (!this.failed && this.#bytes.length >= HEAD + length) this.body = this.#bytes.subarray(HEAD, HEAD + length)
  }
}

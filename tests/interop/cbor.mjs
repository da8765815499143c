// CBOR in the deterministic encoding of schema/SPEC.md, section 1: a strict reader and a writer.
//
// Integers are BigInt, texts are strings, byte strings are Uint8Array, maps are Map.

import { demand } from './verdict.mjs'

const UINT = 0
const NEGATIVE = 1
const BYTES = 2
const TEXT = 3
const ARRAY = 4
const MAP = 5
const SIMPLE = 7
const FALSE = 20n
const TRUE = 21n
const DEEPEST = 8
const UINT_MAX = 2n ** 64n - 1n

// ignoreBOM keeps U+FEFF at the start of a text, which the decoder would drop otherwise.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const malformed = (condition, detail) => demand(condition, 'malformed', detail)

/** Reads one CBOR data item after the other from bytes that it never copies or changes. */
export class Reader {
  constructor (bytes) {
    this.bytes = bytes
    this.at = 0
  }

  get left () {
    return this.bytes.length - this.at
  }

  /** The next n bytes; n is compared with the bytes at hand before anything is allocated. */
  take (n) {
    malformed(n <= this.left, 'bytes are missing')
    const part = this.bytes.subarray(this.at, this.at + Number(n))
    this.at += Number(n)
    return part
  }

  /** [major type, argument as BigInt] of a head, which has to be the shortest for its argument. */
  head () {
    const first = this.take(1)[0]
    const info = first & 31
    if (info < 24) return [first >> 5, BigInt(info)]
    malformed(info < 28, 'a reserved or indefinite length')
    const size = 1 << (info - 24)
    let argument = 0n
    for (const byte of this.take(size)) argument = argument << 8n | BigInt(byte)
    malformed(argument >= (size === 1 ? 24n : 1n << BigInt(size * 4)), 'a head that is not the shortest')
    return [first >> 5, argument]
  }

  /** The contents of a byte string; a Refusal `oversize` if it has more than `most` bytes, at hand or not. */
  byteString (most = UINT_MAX) {
    const [major, length] = this.head()
    malformed(major === BYTES, 'no byte string')
    demand(length <= most, 'oversize')
    return this.take(length)
  }

  /** Any value; arrays and maps nest `levels` deep at most. `keyTypes` are the major types that a map's keys may have. */
  value (levels = DEEPEST, keyTypes = [TEXT]) {
    const [major, argument] = this.head()
    switch (major) {
      case UINT: return argument
      case NEGATIVE: return -1n - argument
      case BYTES: return this.take(argument)
      case TEXT: return this.text(argument)
      case ARRAY: return this.array(argument, levels)
      case MAP: return this.map(argument, levels, keyTypes)
      case SIMPLE:
        // A false or true in two bytes has an argument under 32 and is caught as a head that is too long.
        malformed(argument === FALSE || argument === TRUE, 'a simple value or a float')
        return argument === TRUE
      default: return malformed(false, 'a tag')
    }
  }

  text (length) {
    const bytes = this.take(length)
    try {
      return utf8.decode(bytes)
    } catch {
      return malformed(false, 'text that is not UTF-8')
    }
  }

  array (count, levels) {
    malformed(levels > 0, 'nested too deep')
    malformed(count <= this.left, 'an array longer than the bytes at hand')
    return Array.from({ length: Number(count) }, () => this.value(levels - 1))
  }

  map (count, levels, keyTypes) {
    malformed(levels > 0, 'nested too deep')
    malformed(count * 2n <= this.left, 'a map longer than the bytes at hand')
    const entries = new Map()
    let previous = null
    for (let i = 0n; i < count; i++) {
      const start = this.at
      malformed(this.left && keyTypes.includes(this.bytes[start] >> 5), 'a key of another type')
      const key = this.value(0)
      const encoded = this.bytes.subarray(start, this.at)
      malformed(previous === null || Buffer.compare(previous, encoded) < 0, 'keys do not ascend')
      previous = encoded
      entries.set(key, this.value(levels - 1))
    }
    return entries
  }

  /** The contents of an array of one to `count` byte strings of at most `each` bytes, read from front to back. */
  byteStrings ({ count: most, countReason, each }) {
    const [major, count] = this.head()
    malformed(major === ARRAY && count > 0n, 'no array, or an empty one')
    demand(count <= most, countReason, 'too many')
    return Array.from({ length: Number(count) }, () => this.byteString(each))
  }

  end () {
    malformed(this.left === 0, 'bytes behind the value')
  }
}

/** The one value that `bytes` encode; a Refusal `malformed` if they break a rule of section 1. */
export function decode (bytes) {
  const reader = new Reader(bytes)
  const value = reader.value()
  reader.end()
  return value
}

/** The same for COSE's protected header, whose keys may be unsigned integers too. */
export function decodeHeader (bytes) {
  const reader = new Reader(bytes)
  const value = reader.value(DEEPEST, [UINT, TEXT])
  reader.end()
  return value
}

/** The byte strings of an array that is all of `bytes`, within limits { total, count, countReason, each }. */
export function readByteStrings (bytes, limits) {
  demand(bytes.length <= limits.total, 'oversize')
  const reader = new Reader(bytes)
  const strings = reader.byteStrings(limits)
  reader.end()
  return strings
}

/** The head of a CBOR data item: its major type and argument in the fewest bytes. */
export function head (major, argument) {
  const n = BigInt(argument)
  if (n < 24n) return Buffer.from([major << 5 | Number(n)])
  const exponent = [1, 2, 4, 8].findIndex((size) => n < 1n << BigInt(8 * size))
  const size = 1 << exponent
  const digits = n.toString(16).padStart(2 * size, '0')
  return Buffer.concat([Buffer.from([major << 5 | (24 + exponent)]), Buffer.from(digits, 'hex')])
}

/** The bytes of a value of the kinds that `decode` returns; keys of maps are sorted here. */
export function encode (value) {
  if (typeof value === 'boolean') return Buffer.from([value ? 0xf5 : 0xf4])
  if (typeof value === 'number' || typeof value === 'bigint') {
    const n = BigInt(value)
    return n < 0n ? head(NEGATIVE, -1n - n) : head(UINT, n)
  }
  if (typeof value === 'string') {
    const bytes = Buffer.from(value, 'utf8')
    return Buffer.concat([head(TEXT, bytes.length), bytes])
  }
  if (value instanceof Uint8Array) return Buffer.concat([head(BYTES, value.length), value])
  if (Array.isArray(value)) return Buffer.concat([head(ARRAY, value.length), ...value.map(encode)])
  const entries = [...value].map(([key, one]) => [encode(key), encode(one)])
  entries.sort(([a], [b]) => Buffer.compare(a, b))
  return Buffer.concat([head(MAP, entries.length), ...entries.flat()])
}

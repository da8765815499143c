// Questions about decoded CBOR values that payloads and catalogs both ask.

import { demand } from './verdict.mjs'

/** The form of an address: section 4. */
export const ADDRESS = /^https:\/\/[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(\/[A-Za-z0-9._~/?=&%+#-]*)?$/

export const UINT_MAX = 2n ** 64n - 1n

const BARRED = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u

/** Whether it is an integer within both ends. */
export function isInteger (value, least, most = UINT_MAX) {
  return typeof value === 'bigint' && value >= least && value <= most
}

/** Whether it is a byte string of 32 bytes. */
export function isId (value) {
  return value instanceof Uint8Array && value.length === 32
}

/** The number of bytes of a text in UTF-8. */
export const utf8Size = (text) => Buffer.byteLength(text, 'utf8')

/** Whether it is text without the characters that section 3 bars, of a number of bytes within both ends. */
export function isPlainText (value, least, most) {
  return typeof value === 'string' && !BARRED.test(value) && utf8Size(value) >= least && utf8Size(value) <= most
}

/** Throws a Refusal unless `value` is a map with all of `mandatory` and no keys but those and `optional`. */
export function demandKeys (value, mandatory, optional, reason) {
  demand(value instanceof Map, reason, 'no map')
  for (const key of mandatory) demand(value.has(key), reason, `${key} is missing`)
  for (const key of value.keys()) demand(mandatory.includes(key) || optional.includes(key), reason, `unknown key ${key}`)
}

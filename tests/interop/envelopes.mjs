// Runs the vectors of envelopes: schema/vectors/README.md, "Envelopes".

import {
  open, openAnswer, readConfiguration, readKeys, readQuestion, readResponse, seal, sealAnswer, writeQuestion, writeResponse
} from './envelope.mjs'
import { hex } from './item.mjs'
import { bytesOf } from './vectors.mjs'
import { Refusal } from './verdict.mjs'

const DAY = 86400n
const publicOf = (secret) => seal(0, Buffer.from([9, ...Buffer.alloc(31)]), Buffer.alloc(0), secret).enc

function keys ({ keys: document }) {
  return { configs: readKeys(bytesOf(document)).map((one) => ({ ...one, public: hex(one.public) })) }
}

/** Opens the box; where the vector gives e, sealing the question again has to give the same bytes. */
function box ({ box: given, exits, ephemeral }) {
  const [bytes, secrets] = [bytesOf(given), new Map(exits.map(([id, secret]) => [id, bytesOf(secret)]))]
  const { keyId, message } = open(bytes, secrets)
  const { resource, content } = readQuestion(message)
  if (ephemeral) {
    const again = seal(keyId, publicOf(secrets.get(keyId)), writeQuestion(resource, content), bytesOf(ephemeral)).box
    if (!again.equals(bytes)) return { resealed: hex(again) }
  }
  return { resource, content: hex(content) }
}

/** Opens the answer to a question that is sealed here, and seals it again. */
function answer ({ answer: given, resource, content, config, ephemeral }) {
  const { key_id: keyId, public: publicKey } = readConfiguration(bytesOf(config))
  const sealed = seal(keyId, publicKey, writeQuestion(resource, bytesOf(content)), bytesOf(ephemeral))
  const bytes = bytesOf(given)
  const read = readResponse(resource, openAnswer(sealed, bytes))
  const again = sealAnswer(sealed, bytes.subarray(0, 32), writeResponse(resource, read))
  if (read.again !== DAY && !again.equals(bytes)) return { resealed: hex(again) }
  const number = (value) => value === null ? null : Number(value)
  return { answer: read.answer, time: Number(read.time), again: number(read.again), items: read.items.map(hex) }
}

const KINDS = { keys, box, answer }

/** The outcome of a vector in the words of its `expect`. */
export function outcome (name, vector) {
  try {
    return { result: 'ok', ...KINDS[name.split('-')[0]](vector) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { result: error.reason }
  }
}

// The three verdicts and their reasons: schema/SPEC.md, sections 7 and 8.

const DECISIONS = {
  ACCEPT: ['ok'],
  REJECT: ['oversize', 'malformed', 'bad-key', 'forged', 'off-schema', 'empty', 'unrounded', 'no-work', 'foreign'],
  IGNORE: ['duplicate', 'early', 'late', 'unknown-kind', 'unknown-catalog', 'unlisted', 'erased', 'revoked', 'expired', 'quota']
}

const decisionOf = new Map(
  Object.entries(DECISIONS).flatMap(([decision, reasons]) => reasons.map((reason) => [reason, decision]))
)

/** ACCEPT, REJECT or IGNORE for a reason of section 8. */
export function decision (reason) {
  return decisionOf.get(reason)
}

/** An item or a bundle that must not be accepted, with its reason of section 8. */
export class Refusal extends Error {
  constructor (reason, detail = '') {
    super(detail ? `${reason}: ${detail}` : reason)
    this.reason = reason
  }
}

/** Throws a Refusal with this reason unless the condition holds. */
export function demand (condition, reason, detail) {
  if (!condition) throw new Refusal(reason, detail)
}

/**
 * The challenge that a client gets for a correct password and sends back with a second-factor code. It says
 * who gave the password, and only POST /login/mfa accepts it. Its format is
 * `mfa.userId.sessionVersion.expires.HMAC-SHA-256`, so nothing is stored.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Lifetime of a challenge, in seconds: enough time to find one's phone. */
export const CHALLENGE_SECONDS = 5 * 60

interface Subject {
  id: string
  sessionVersion: number
}

/** @param key HMAC key of the refresh tokens */
export function newChallenge({ id, sessionVersion }: Subject, key: Buffer, now: Date): string {
  const expires = Math.floor(now.getTime() / 1000) + CHALLENGE_SECONDS
  const text = `mfa.${id}.${sessionVersion}.${expires}`
  return `${text}.${mac(text, key)}`
}

/**
 * Checks a challenge.
 * @param key HMAC key of the refresh tokens
 * @returns who gave the password, and their sessionVersion at that time, which the caller must compare with
 *   the current one. Undefined for a challenge that is forged or expired
 */
export function readChallenge(challenge: string, key: Buffer, now: Date): Subject | undefined {
  const [, text = '', id = '', version, expires] =
    /^(mfa\.([0-9a-f]{24})\.(\d{1,15})\.(\d{1,12}))\.[\w-]{43}$/.exec(challenge) ?? []
  const [given, right] = [Buffer.from(challenge), Buffer.from(`${text}.${mac(text, key)}`)]
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined
  return Number(expires) * 1000 > now.getTime() ? { id, sessionVersion: Number(version) } : undefined
}

const mac = (text: string, key: Buffer) => createHmac('sha256', key).update(text).digest('base64url')

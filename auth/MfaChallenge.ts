/**
 * The challenge between a right password and the code of the second factor: it says who has given the password, and
 * is good for POST /login/mfa alone. `mfa.userId.sessionVersion.expires.HMAC-SHA-256`: nothing is stored.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Lifetime in seconds: time to find the phone. */
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
 * @returns who has given the password, whose sessions must not have been ended since; undefined for what was not made
 *   here or has expired
 */
export function readChallenge(challenge: string, key: Buffer, now: Date): Subject | undefined {
  const [, text = '', id = '', version, expires] =
    /^(mfa\.([0-9a-f]{24})\.(\d{1,15})\.(\d{1,12}))\.[\w-]{43}$/.exec(challenge) ?? []
  const [given, right] = [Buffer.from(challenge), Buffer.from(`${text}.${mac(text, key)}`)]
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined
  return Number(expires) * 1000 > now.getTime() ? { id, sessionVersion: Number(version) } : undefined
}

const mac = (text: string, key: Buffer) => createHmac('sha256', key).update(text).digest('base64url')

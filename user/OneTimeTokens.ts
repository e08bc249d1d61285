/**
 * The tokens in emailed links: `<user id>.<256 random bits>`. Only a hash is stored. It is part of the user's
 * document, so that one database operation uses the token and makes the change (OWASP Forgot Password Cheat
 * Sheet, "URL Tokens").
 */
import { createHash, randomBytes } from 'node:crypto'

const MINUTE = 60 * 1000
/** How long a link that resets a password is valid, in milliseconds. */
export const RESET_LIFETIME = 30 * MINUTE
/**
 * How long a link that confirms an email is valid, in milliseconds. People may read a new account's email
 * later.
 */
export const CONFIRMATION_LIFETIME = 24 * 60 * MINUTE

/** @returns the token for the link, and the hash to store */
export function newToken(userId: string): { token: string; hash: string } {
  const token = `${userId}.${randomBytes(32).toString('base64url')}`
  return { token, hash: hash(token) }
}

/** @returns the user that the token names, and its hash. Undefined if the text cannot be a token */
export function readToken(token: string): { userId: string; hash: string } | undefined {
  const [, userId] = /^([0-9a-f]{24})\.[\w-]{43}$/.exec(token) ?? []
  return userId === undefined ? undefined : { userId, hash: hash(token) }
}

/** A plain hash is enough for 256 random bits (OWASP ASVS 5.0, 6.5.2). */
const hash = (token: string) => createHash('sha256').update(token).digest('base64url')

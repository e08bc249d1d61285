/**
 * The tokens in the links of mails: `<user id>.<256 random bits>`. Only a hash is stored, with the user, so that
 * one database operation takes the token and does what it is for (OWASP Forgot Password Cheat Sheet, "URL Tokens").
 */
import { createHash, randomBytes } from 'node:crypto'

const MINUTE = 60 * 1000
/** A link that resets a password is good for so long, in milliseconds. */
export const RESET_LIFETIME = 30 * MINUTE
/** A link that confirms an e-mail: people look at a new account's mail later. */
export const CONFIRMATION_LIFETIME = 24 * 60 * MINUTE

/** @returns the token for the link, and the hash to store */
export function newToken(userId: string): { token: string; hash: string } {
  const token = `${userId}.${randomBytes(32).toString('base64url')}`
  return { token, hash: hash(token) }
}

/** @returns whose token it says it is, and its hash; undefined for what cannot be one */
export function readToken(token: string): { userId: string; hash: string } | undefined {
  const [, userId] = /^([0-9a-f]{24})\.[\w-]{43}$/.exec(token) ?? []
  return userId === undefined ? undefined : { userId, hash: hash(token) }
}

/** Of 256 random bits a plain hash is enough (OWASP ASVS 5.0, 6.5.2). */
const hash = (token: string) => createHash('sha256').update(token).digest('base64url')

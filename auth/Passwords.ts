/**
 * Passwords: hashing, verification, and which ones are accepted.
 *
 * A stored hash is `v1` + bcrypt(base64(HMAC-SHA-384(password, pepper))). The HMAC makes any length and any
 * character fit bcrypt's 72 bytes (64 in base64, no NUL), and its key is not in the database: a leaked database
 * alone cannot be attacked (OWASP Password Storage Cheat Sheet, "Peppering", "Pre-hashing with bcrypt").
 */
import { createHmac } from 'node:crypto'
import bcrypt from 'bcryptjs'
import { type FieldError, Problem } from '../api/Problem.ts'
import type { Settings } from '../api/Settings.ts'

const VERSION = 'v1'
/** One shape for what bcryptjs can verify: $2x is a broken variant that no one should have. */
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/
/** A stored hash of a higher cost would occupy a function for seconds; no one sets one on purpose. */
const MAX_COST = 15
/** NIST SP 800-63B-4 section 3.1.1.2 asks verifiers to permit at least 64. */
export const PASSWORD_MAX_LENGTH = 128

interface HashSettings {
  /** HMAC key of at least 32 bytes. */
  pepper: Buffer
  /** bcrypt's cost: 2^cost rounds. */
  cost: number
}

/** The settings that a new password needs. */
export const NEW_PASSWORD = ['PEPPER', 'BCRYPT_COST', 'PASSWORD_MIN_LENGTH', 'PRODUCT_NAME'] as const

/**
 * Checks a new password and hashes it.
 * @param path the field of the request that holds it, for the errors
 * @param own the user's name and email, which must not make up the password
 * @returns the versioned hash to store
 * @throws Problem `invalid_request` (400) with an error for each rule that the password breaks
 */
export async function hashNewPassword(
  path: string,
  password: string,
  own: Omit<Own, 'product'>,
  settings: Pick<Settings, (typeof NEW_PASSWORD)[number]>,
): Promise<string> {
  const { PEPPER, BCRYPT_COST, PASSWORD_MIN_LENGTH, PRODUCT_NAME } = settings
  const errors = await passwordErrors(password, { ...own, product: PRODUCT_NAME }, PASSWORD_MIN_LENGTH)
  if (errors.length > 0) {
    throw new Problem('invalid_request', { errors: errors.map(({ message }) => ({ path, message })) })
  }
  return hashPassword(password, { pepper: PEPPER, cost: BCRYPT_COST })
}

/** @returns the versioned hash to store */
export async function hashPassword(password: string, { pepper, cost }: HashSettings): Promise<string> {
  return VERSION + (await bcrypt.hash(prehash(password, pepper), cost))
}

/**
 * Compares a password with a stored hash. Spends one bcrypt whatever it is given, so that a missing account,
 * a malformed hash and a wrong password take the same time (OWASP Authentication Cheat Sheet, "Authentication
 * and Error Messages").
 * @param stored a versioned hash, a plain `$2a$`, `$2b$` or `$2y$` hash from another system, or undefined for no account
 * @returns whether it matches, and whether the hash is older or cheaper than one made today and should be replaced
 */
export async function verifyPassword(
  password: string,
  stored: string | undefined,
  { pepper, cost }: HashSettings,
): Promise<{ matches: boolean; outdated: boolean }> {
  const versioned = stored?.startsWith(VERSION) ?? false
  const hash = versioned ? stored!.slice(VERSION.length) : stored
  const storedCost = Number(BCRYPT.exec(hash ?? '')?.[1])

  if (hash === undefined || !(storedCost >= 4 && storedCost <= MAX_COST)) {
    await bcrypt.compare(prehash(password, pepper), decoy(cost))
    return { matches: false, outdated: false }
  }
  const matches = await bcrypt.compare(versioned ? prehash(password, pepper) : password, hash)
  if (!matches) {
    // A hash of a lower cost would show by its speed that there is an account. The rounds add up to those of one
    // hash of today's cost: 2^s + 2^s + 2^(s+1) + ... + 2^(cost-1) = 2^cost. (A higher cost cannot be hidden.)
    for (let rest = storedCost; rest < cost; rest++) await bcrypt.compare('', decoy(rest))
  }
  return { matches, outdated: !versioned || storedCost < cost }
}

/** Words that guessers try first with a user's password. */
interface Own {
  name: string
  email: string
  /** What we call ourselves. */
  product: string
}

/**
 * Why a new password is not accepted (NIST SP 800-63B-4 section 3.1.1.2: length and a blocklist, no
 * composition rules).
 * @param own the user's name and e-mail and the product's name, which must not make up the password
 * @returns one error for each rule that it breaks, in the shape of a problem's `errors`
 */
export async function passwordErrors(password: string, own: Own, minLength: number): Promise<FieldError[]> {
  const complain = (message: string) => [{ path: 'password', message }]
  // In characters (code points). NFKC makes 18 of one (U+FDFA) and one of two: both forms must be long enough.
  const lengths = [password, password.normalize('NFKC')].map((text) => [...text].length)
  if (Math.min(...lengths) < minLength) return complain(`must have at least ${minLength} characters`)
  if (Math.max(...lengths) > PASSWORD_MAX_LENGTH)
    return complain(`must have at most ${PASSWORD_MAX_LENGTH} characters`)
  if (isMadeOf(password, own))
    return complain('must not be made of your name, your e-mail address or our name')
  if (await isCommon(password)) return complain('is too common: it is on lists that attackers try first')
  return []
}

/** NFKC, so that a password typed on another keyboard or system gives the same bytes (RFC 8265 section 4.2). */
const prehash = (password: string, pepper: Buffer) =>
  createHmac('sha384', pepper).update(password.normalize('NFKC')).digest('base64')

/** A well-formed hash that no password has: its digest is all zeros. */
const decoy = (cost: number) => `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`

const letters = (text: string) =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]/gu, '')

/** True when nothing worth guessing is left after the user's own words are taken out. */
function isMadeOf(password: string, { name, email, product }: Own): boolean {
  const words = [name, email, product, ...name.split(/\s+/), ...email.split(/[@.+_-]/)]
    .map(letters)
    .filter((word) => word.length >= 3)
    .toSorted((a, b) => b.length - a.length)
  const password_ = letters(password)
  const rest = words.reduce((text, word) => text.replaceAll(word, ''), password_)
  // A year or another number after one's own name is what attackers try next.
  return rest.length < password_.length && /^(.{0,3}|\d{0,6})$/su.test(rest)
}

let commonPasswords: Promise<Set<string>> | undefined

async function isCommon(password: string): Promise<boolean> {
  // Loaded with the first registration: a login should not pay for 49,000 words.
  commonPasswords ??= import('@zxcvbn-ts/language-common').then(
    // A CommonJS package: a chunk of esbuild has its members under `default` only.
    ({ default: { dictionary } }) => new Set(dictionary['passwords-common']),
  )
  const list = await commonPasswords
  const candidate = password.normalize('NFKC').toLowerCase()
  const trimmed = candidate.trim()
  // The usual answer to "too common" is to add a number to it.
  return [trimmed, trimmed.replace(/\d{1,4}$/, '')].some((text) => list.has(text)) || isRepetitive(candidate)
}

/** aaaaaaaa, abcabcabc, 12341234x, and eight spaces */
const isRepetitive = (text: string) => /^(.{1,6})\1+.{0,3}$/su.test(text)

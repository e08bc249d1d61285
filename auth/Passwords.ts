/**
 * Passwords: hashing, verification, and rules for new ones.
 *
 * A stored hash is `v1` + bcrypt(base64(HMAC-SHA-384(password, pepper))). The HMAC makes passwords of any
 * length and with any characters fit bcrypt's 72 bytes (64 in base64, no NUL). Its key is not in the
 * database, so a leaked database alone is not enough to guess passwords (OWASP Password Storage Cheat Sheet,
 * "Peppering", "Pre-hashing with bcrypt").
 */
import { createHmac } from 'node:crypto'
import bcrypt from 'bcryptjs'
import { type FieldError, Problem } from '../api/Problem.ts'
import type { Settings } from '../api/Settings.ts'

const VERSION = 'v1'
/** The hashes that bcryptjs can verify. $2x is a broken variant that no one should have. */
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/
/**
 * A stored hash of a higher cost would occupy a function for seconds, and no one sets such a cost on purpose.
 */
const MAX_COST = 15
/** In characters. NIST SP 800-63B-4 section 3.1.1.2 requires verifiers to permit at least 64. */
export const PASSWORD_MAX_LENGTH = 128

interface HashSettings {
  /** HMAC key of at least 32 bytes. */
  pepper: Buffer
  /** bcrypt's cost: 2^cost rounds. */
  cost: number
}

/** The settings that hashNewPassword needs. */
export const NEW_PASSWORD = ['PEPPER', 'BCRYPT_COST', 'PASSWORD_MIN_LENGTH', 'PRODUCT_NAME'] as const

/**
 * Checks a new password and hashes it.
 * @param path the request field that holds the password, for the errors
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
 * Compares a password with a stored hash. It always does the work of one bcrypt hash, so that a missing
 * account, a malformed hash and a wrong password take the same time (OWASP Authentication Cheat Sheet,
 * "Authentication and Error Messages").
 * @param stored a versioned hash, a plain `$2a$`, `$2b$` or `$2y$` hash from another system, or undefined for
 *   no account
 * @returns whether the password matches, and whether the hash is older or cheaper than today's and should be
 *   replaced
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
    // A hash of a lower cost is faster, which would reveal that the account exists. These extra rounds make
    // up for it: 2^s + 2^s + 2^(s+1) + ... + 2^(cost-1) = 2^cost. (A higher cost cannot be hidden.)
    for (let extraCost = storedCost; extraCost < cost; extraCost++) await bcrypt.compare('', decoy(extraCost))
  }
  return { matches, outdated: !versioned || storedCost < cost }
}

/** The words that an attacker tries first for this user. */
interface Own {
  name: string
  email: string
  /** The name of the product. */
  product: string
}

/**
 * Checks a new password (NIST SP 800-63B-4 section 3.1.1.2: length and a blocklist, no composition rules).
 * @param own the user's name and email and the product's name, which must not make up the password
 * @param minLength in characters
 * @returns the rule that the password breaks, in the format of a problem's `errors`. Empty if it is accepted
 */
export async function passwordErrors(password: string, own: Own, minLength: number): Promise<FieldError[]> {
  const complain = (message: string) => [{ path: 'password', message }]
  // In code points. NFKC can turn one into 18 (U+FDFA), and two into one, so both forms are measured.
  const lengths = [password, password.normalize('NFKC')].map((text) => [...text].length)
  if (Math.min(...lengths) < minLength) return complain(`must have at least ${minLength} characters`)
  if (Math.max(...lengths) > PASSWORD_MAX_LENGTH)
    return complain(`must have at most ${PASSWORD_MAX_LENGTH} characters`)
  if (isMadeOf(password, own))
    return complain('must not be made up of your name, your email address or our name')
  if (await isCommon(password)) return complain('is too common: it is one of the first that attackers try')
  return []
}

/** NFKC makes a password the same bytes whatever keyboard or system it is typed on (RFC 8265 section 4.2). */
const prehash = (password: string, pepper: Buffer) =>
  createHmac('sha384', pepper).update(password.normalize('NFKC')).digest('base64')

/** A well-formed hash that matches no password: its digest is all zeros. */
const decoy = (cost: number) => `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`

const letters = (text: string) =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]/gu, '')

/** Whether hardly anything is left of the password once the user's own words are removed. */
function isMadeOf(password: string, { name, email, product }: Own): boolean {
  const words = [name, email, product, ...name.split(/\s+/), ...email.split(/[@.+_-]/)]
    .map(letters)
    .filter((word) => word.length >= 3)
    .toSorted((a, b) => b.length - a.length)
  const candidate = letters(password)
  const remainder = words.reduce((text, word) => text.replaceAll(word, ''), candidate)
  // Attackers also try the name with a year or another number.
  return remainder.length < candidate.length && /^(.{0,3}|\d{0,6})$/su.test(remainder)
}

let commonPasswords: Promise<Set<string>> | undefined

async function isCommon(password: string): Promise<boolean> {
  // Loaded for the first new password, so that logins do not pay for 49,000 words.
  commonPasswords ??= import('@zxcvbn-ts/language-common').then(
    // In an esbuild chunk, a CommonJS package has its exports only under `default`.
    ({ default: { dictionary } }) => new Set(dictionary['passwords-common']),
  )
  const list = await commonPasswords
  const candidate = password.normalize('NFKC').toLowerCase()
  const trimmed = candidate.trim()
  // People who are told "too common" usually just add a number.
  return [trimmed, trimmed.replace(/\d{1,4}$/, '')].some((text) => list.has(text)) || isRepetitive(candidate)
}

/** Examples: aaaaaaaa, abcabcabc, 12341234x, eight spaces. */
const isRepetitive = (text: string) => /^(.{1,6})\1+.{0,3}$/su.test(text)

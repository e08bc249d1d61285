/**
 * The second factor: time-based one-time passwords (TOTP, RFC 6238) from an authenticator app, and recovery
 * codes in case the app is lost. The app's secret is encrypted with a key derived from the pepper, which is
 * not in the database.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto'
import mongoose from 'mongoose'
import { Secret, TOTP } from 'otpauth'
import { changedMeanwhile, sameSessions, type User, UserModel } from './UserModel.ts'

const STEP_SECONDS = 30
/**
 * Phone clocks differ and people type slowly, so the previous and the next code count too (RFC 6238 section
 * 5.2).
 */
const WINDOW = 1
/** How long someone may take to set up an app, in milliseconds. */
const ENROLMENT_LIFETIME = 10 * 60 * 1000
const RECOVERY_CODES = 10

/** What an authenticator app needs. */
export interface Enrolment {
  /** Base32, for typing it in by hand. */
  secret: string
  /** `otpauth://totp/...`, for a QR code. */
  uri: string
}

/**
 * Starts setting up an app. It does not become the second factor until a code from it is confirmed.
 * @param product the name that the app shows
 * @param pepper the pepper, from which the encryption key is derived
 * @returns what the app needs, or undefined if the second factor is already on
 */
export async function startEnrolment(
  user: User,
  product: string,
  pepper: Buffer,
  now: Date,
): Promise<Enrolment | undefined> {
  // RFC 4226 section 4: at least 128 bits, 160 recommended.
  const totp = new TOTP({ issuer: product, label: user.email, secret: new Secret({ size: 20 }) })
  const secret = encrypt(totp.secret.base32, user.id, pepper)
  const expiresAt = new Date(now.getTime() + ENROLMENT_LIFETIME)
  const { matchedCount } = await UserModel.updateOne(
    // Not for someone whose session the owner has ended in the meantime.
    { ...sameSessions(user), totp: null },
    { $set: { totpEnrolment: { secret, expiresAt } } },
  )
  return matchedCount > 0 ? { secret: totp.secret.base32, uri: totp.toString() } : undefined
}

/**
 * Turns the second factor on with the first code from the app. This uses up the code.
 * @returns the recovery codes, which are never shown again, or undefined for a wrong code
 */
export async function confirmEnrolment(
  user: User,
  code: string,
  pepper: Buffer,
  now: Date,
): Promise<string[] | undefined> {
  const enrolment = user.totpEnrolment
  if (!enrolment || enrolment.expiresAt <= now) return undefined
  const lastStep = stepOf(compact(code), decrypt(enrolment.secret, user.id, pepper), now)
  if (lastStep === undefined) return undefined
  const codes = newRecoveryCodes()
  const { matchedCount } = await UserModel.updateOne(
    { ...sameSessions(user), totp: null, 'totpEnrolment.secret': enrolment.secret },
    {
      $set: { totp: { secret: enrolment.secret, lastStep }, recoveryCodes: codes.map(hash) },
      $unset: { totpEnrolment: 1 },
    },
  )
  return matchedCount > 0 ? codes : undefined
}

/**
 * Uses a code from the app or a recovery code. Each works once, even if it arrives many times at once.
 * @returns which of the two it was, or undefined if it is wrong or already used
 */
export async function useCode(
  user: User,
  code: string,
  pepper: Buffer,
  now: Date,
): Promise<'totp' | 'recovery_code' | undefined> {
  if (!user.totp) return undefined
  const text = compact(code)
  if (!/^\d{6}$/.test(text)) {
    const { modifiedCount } = await UserModel.updateOne(
      { _id: user.id, 'totp.secret': user.totp.secret, recoveryCodes: hash(text) },
      { $pull: { recoveryCodes: hash(text) } },
    )
    return modifiedCount > 0 ? 'recovery_code' : undefined
  }
  const step = stepOf(text, decrypt(user.totp.secret, user.id, pepper), now)
  if (step === undefined) return undefined
  // RFC 6238 section 5.2: a verifier MUST NOT accept a code a second time.
  const { modifiedCount } = await UserModel.updateOne(
    { _id: user.id, 'totp.secret': user.totp.secret, 'totp.lastStep': mongoose.trusted({ $lt: step }) },
    { $set: { 'totp.lastStep': step } },
  )
  return modifiedCount > 0 ? 'totp' : undefined
}

/**
 * @returns whether the second factor is on and how many recovery codes are left, or undefined if there is no
 *   such user
 */
export async function describeSecondFactor(
  userId: string,
): Promise<{ totp: boolean; recoveryCodesLeft: number } | undefined> {
  const document = await UserModel.findById(userId).select({ totp: 1, recoveryCodes: 1 }).lean()
  return document
    ? { totp: document.totp !== undefined, recoveryCodesLeft: document.recoveryCodes?.length ?? 0 }
    : undefined
}

/**
 * Turns the second factor off.
 * @throws Problem `unavailable` (503) if it was replaced or the sessions were ended in the meantime
 */
export const removeSecondFactor = (user: User): Promise<void> =>
  change(user, { $unset: { totp: 1, totpEnrolment: 1, recoveryCodes: 1 } })

/**
 * Creates ten new recovery codes. The old ones stop working.
 * @throws Problem as removeSecondFactor
 */
export async function replaceRecoveryCodes(user: User): Promise<string[]> {
  const codes = newRecoveryCodes()
  await change(user, { $set: { recoveryCodes: codes.map(hash) } })
  return codes
}

/** Changes the second factor of a user who was just read, unless somebody else has changed the account since. */
async function change(user: User, update: mongoose.UpdateQuery<User>): Promise<void> {
  const filter = { ...sameSessions(user), 'totp.secret': user.totp!.secret }
  const { matchedCount } = await UserModel.updateOne(filter, update)
  if (matchedCount === 0) throw changedMeanwhile()
}

/** Removes the separators that people type: apps show codes in two groups, and recovery codes have four. */
const compact = (code: string) => code.replaceAll(/[\s-]/g, '').toLowerCase()

/** @returns the number of the 30-second step that the code belongs to, counted from 1970, or undefined */
function stepOf(code: string, secret: string, now: Date): number | undefined {
  const totp = new TOTP({ secret: Secret.fromBase32(secret), period: STEP_SECONDS })
  const delta = totp.validate({ token: code, timestamp: now.getTime(), window: WINDOW })
  return delta === null ? undefined : Math.floor(now.getTime() / 1000 / STEP_SECONDS) + delta
}

/**
 * Each has 120 random bits, so a plain hash is enough (OWASP ASVS 5.0, 6.5.2). Characters that look alike are
 * left out.
 */
const newRecoveryCodes = (): string[] =>
  Array.from({ length: RECOVERY_CODES }, () => {
    const letters = Array.from(randomBytes(24), (byte) => 'abcdefghjkmnpqrstuvwxyz023456789'[byte % 32]).join(
      '',
    )
    return letters.match(/.{6}/g)!.join('-')
  })

const hash = (recoveryCode: string) =>
  createHash('sha256').update(recoveryCode.replaceAll('-', '')).digest('base64url')

const keyFrom = (pepper: Buffer) => createHmac('sha256', pepper).update('second factor').digest()

/**
 * Encrypts with AES-256-GCM and binds the secret to the user, so that a copy does not decrypt for another
 * user.
 */
function encrypt(secret: string, userId: string, pepper: Buffer): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', keyFrom(pepper), nonce).setAAD(Buffer.from(userId))
  const text = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64url')
}

/** @throws Error if it was encrypted for another user or with another pepper */
function decrypt(stored: string, userId: string, pepper: Buffer): string {
  const bytes = Buffer.from(stored, 'base64url')
  const decipher = createDecipheriv('aes-256-gcm', keyFrom(pepper), bytes.subarray(0, 12))
  decipher.setAAD(Buffer.from(userId)).setAuthTag(bytes.subarray(12, 28))
  return decipher.update(bytes.subarray(28), undefined, 'utf8') + decipher.final('utf8')
}

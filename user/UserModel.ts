/**
 * The stored user, for the modules that read and write it.
 */
import mongoose from 'mongoose'
import { Problem } from '../api/Problem.ts'

const required = <Type>(type: Type) => ({ type, required: true as const })

/** A part of a user that comes and goes as a whole. */
const part = <Fields extends Record<string, { type: unknown; required: true }>>(fields: Fields) => ({
  type: new mongoose.Schema(fields, { _id: false }),
})

/** Only the SHA-256 of the token in a link is kept. */
const link = { hash: required(String), expiresAt: required(Date) }

const schema = new mongoose.Schema(
  {
    name: { type: String, required: true },
    /** As normaliseEmail gives it. */
    email: { type: String, required: true, unique: true },
    emailVerified: { type: Boolean, required: true, default: false },
    passwordHash: { type: String, required: true },
    roles: { type: [String], required: true },
    disabled: { type: Boolean, required: true, default: false },
    createdAt: { type: Date, required: true },
    /** Counts what access tokens must reflect; one that carries a lower number is outdated. */
    tokenVersion: { type: Number, required: true, default: 0 },
    /** Counts the times that all sessions were ended; one that carries another number has ended. */
    sessionVersion: { type: Number, required: true, default: 0 },
    /** When tokenVersion last grew, for the authorizers that ask what is new. */
    tokensChangedAt: { type: Date, index: { sparse: true } },
    /** The link in the last mail that confirms an address: the one above, or the one that takes its place. */
    emailConfirmation: part({ ...link, email: required(String) }),
    /** The link in the last mail that resets the password. */
    passwordReset: part(link),
    /** The second factor (user/SecondFactor.ts): its secret, encrypted, and the last 30 s in which a code was used. */
    totp: part({ secret: required(String), lastStep: required(Number) }),
    /** A second factor that is not confirmed by a code yet. */
    totpEnrolment: part({ secret: required(String), expiresAt: required(Date) }),
    /** SHA-256 of the recovery codes that are left. */
    recoveryCodes: { type: [String], default: undefined },
    /** When somebody last tried to register with the e-mail (REGISTRATION=private). */
    registrationTriedAt: { type: Date },
    /** The request that is about to take the admin role away; its id begins with the second of its time. */
    resignation: { type: mongoose.Schema.Types.ObjectId },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

export const UserModel = mongoose.model('User', schema)

/** A stored user. */
export interface User {
  id: string
  name: string
  email: string
  emailVerified: boolean
  passwordHash: string
  roles: string[]
  disabled: boolean
  createdAt: Date
  tokenVersion: number
  sessionVersion: number
  /** The second factor, once it is on. */
  totp?: { secret: string; lastStep: number } | undefined
  /** One that is being set up. */
  totpEnrolment?: { secret: string; expiresAt: Date } | undefined
}

export type Document = mongoose.InferSchemaType<typeof schema> & { _id: mongoose.Types.ObjectId }

export const toUser = (document: Document): User => ({
  id: String(document._id),
  name: document.name,
  email: document.email,
  passwordHash: document.passwordHash,
  createdAt: document.createdAt,
  totp: document.totp ?? undefined,
  totpEnrolment: document.totpEnrolment ?? undefined,
  // Users that another system has stored may lack these.
  emailVerified: document.emailVerified ?? false,
  roles: document.roles ?? [],
  disabled: document.disabled ?? false,
  tokenVersion: document.tokenVersion ?? 0,
  sessionVersion: document.sessionVersion ?? 0,
})

/**
 * Changes a user, and by the same write outdates the access tokens of before and tells the authorizers.
 * @returns the changed user, or undefined when nobody matches
 */
export async function outdateTokens(
  filter: mongoose.QueryFilter<Document>,
  now: Date,
  { $inc, ...change }: mongoose.UpdateQuery<Document>,
): Promise<User | undefined> {
  const document = await UserModel.findOneAndUpdate(
    filter,
    { ...change, $inc: { ...$inc, tokenVersion: 1 }, $max: { tokensChangedAt: now } },
    { returnDocument: 'after' },
  ).lean()
  return document ? toUser(document) : undefined
}

/** Finds a user only while no sessions were ended since it was read. */
export const sameSessions = ({ id, sessionVersion }: Pick<User, 'id' | 'sessionVersion'>) => ({
  _id: id,
  // Users that another system has stored may lack it.
  sessionVersion: mongoose.trusted({ $in: sessionVersion === 0 ? [0, null] : [sessionVersion] }),
})

/** Whether a write failed because the e-mail is another user's. */
export const isDuplicate = (error: unknown): boolean =>
  error instanceof mongoose.mongo.MongoServerError && error.code === 11000

/** What a write says that found the user other than it was read. */
export const changedMeanwhile = (): Problem =>
  new Problem('unavailable', {
    headers: { 'Retry-After': '1' },
    cause: new Error('another request has changed the user meanwhile'),
  })

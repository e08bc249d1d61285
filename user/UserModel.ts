/**
 * The stored user, for the modules that read and write it.
 */
import mongoose from 'mongoose'
import { Problem } from '../api/Problem.ts'

const required = <Type>(type: Type) => ({ type, required: true as const })

/** A part of a user that is set and removed as a whole. */
const part = <Fields extends Record<string, { type: unknown; required: true }>>(fields: Fields) => ({
  type: new mongoose.Schema(fields, { _id: false }),
})

/** A link that was emailed. Only the SHA-256 of its token is stored. */
const link = { hash: required(String), expiresAt: required(Date) }

const schema = new mongoose.Schema(
  {
    name: { type: String, required: true },
    /** Normalised by normaliseEmail. */
    email: { type: String, required: true, unique: true },
    emailVerified: { type: Boolean, required: true, default: false },
    passwordHash: { type: String, required: true },
    roles: { type: [String], required: true },
    disabled: { type: Boolean, required: true, default: false },
    createdAt: { type: Date, required: true },
    /** Counts the changes that access tokens must reflect. A token with a lower number is outdated. */
    tokenVersion: { type: Number, required: true, default: 0 },
    /** Counts how often all sessions were ended. A session with a different number has ended. */
    sessionVersion: { type: Number, required: true, default: 0 },
    /** When tokenVersion last grew, for authorizers that ask for recent changes. */
    tokensChangedAt: { type: Date, index: { sparse: true } },
    /** The last link that confirms an email: the current one, or the one that is to replace it. */
    emailConfirmation: part({ ...link, email: required(String) }),
    /** The last link that resets the password. */
    passwordReset: part(link),
    /**
     * The second factor (user/SecondFactor.ts): its encrypted secret, and the 30-second step of the last used
     * code.
     */
    totp: part({ secret: required(String), lastStep: required(Number) }),
    /** A second factor that has not been confirmed by a code yet. */
    totpEnrolment: part({ secret: required(String), expiresAt: required(Date) }),
    /** SHA-256 of the remaining recovery codes. */
    recoveryCodes: { type: [String], default: undefined },
    /** When someone last tried to register with this email (REGISTRATION=private). */
    registrationTriedAt: { type: Date },
    /**
     * The request that is about to take away the admin role. Its id starts with the time of the request, in
     * seconds.
     */
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
  /** A second factor that is being set up. */
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
  // Users stored by another system may lack these.
  emailVerified: document.emailVerified ?? false,
  roles: document.roles ?? [],
  disabled: document.disabled ?? false,
  tokenVersion: document.tokenVersion ?? 0,
  sessionVersion: document.sessionVersion ?? 0,
})

/**
 * Changes a user. The same write outdates existing access tokens and lets the authorizers know.
 * @returns the changed user, or undefined if no user matches
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

/** Creates a filter that matches a user only if their sessions were not ended since the user was read. */
export const sameSessions = ({ id, sessionVersion }: Pick<User, 'id' | 'sessionVersion'>) => ({
  _id: id,
  // Users stored by another system may lack it.
  sessionVersion: mongoose.trusted({ $in: sessionVersion === 0 ? [0, null] : [sessionVersion] }),
})

/** Returns whether a write failed because the email belongs to another user. */
export const isDuplicate = (error: unknown): boolean =>
  error instanceof mongoose.mongo.MongoServerError && error.code === 11000

/** Creates the error of a write that found the user changed since it was read. */
export const changedMeanwhile = (): Problem =>
  new Problem('unavailable', {
    headers: { 'Retry-After': '1' },
    cause: new Error('another request changed the user in the meantime'),
  })

/**
 * The user: which input is accepted, how users are found and changed, and who sees which fields.
 */
import mongoose from 'mongoose'
import * as z from 'zod/mini'
import { Problem } from '../api/Problem.ts'
import { ADMIN } from './Roles.ts'
import {
  changedMeanwhile,
  type Document,
  isDuplicate,
  outdateTokens,
  toUser,
  type User,
  UserModel,
} from './UserModel.ts'

/**
 * How long a request that takes away the admin role can be under way, in seconds. Its database work may take
 * 5.
 */
const RESIGNING_SECONDS = 30

/**
 * Gives each mailbox one spelling, so that it can have only one account. The local part is lower-cased too,
 * because no major provider distinguishes `Ann@` from `ann@` (OWASP Authentication Cheat Sheet, "User IDs").
 */
export const normaliseEmail = (text: string) =>
  // NFKC twice, because lower-casing can leave something to compose. Trim last, because NFKC can produce a
  // space.
  text.normalize('NFKC').toLowerCase().normalize('NFKC').trim()

/** Text that can be stored and returned unchanged. UTF-8 cannot encode lone surrogates. */
const text = () => z.string().check(z.refine((value) => value.isWellFormed(), 'must be well-formed Unicode'))

/**
 * Removes invisible characters that names may contain. Persian names and some emoji need the zero-width
 * joiners, although they count as control characters. The Hangul fillers and the blank Braille cell count as
 * letters and symbols.
 */
const visible = (name: string) => name.replaceAll(/\u200c|\u200d|[\u115f\u1160\u2800\u3164\uffa0]/g, '')

/** The request fields that several routes share. */
export const fields = {
  name: z.pipe(
    text(),
    z
      .pipe(
        z.transform((value: string) => value.trim().normalize('NFC')),
        z.string(),
      )
      .check(
        z.refine((value) => visible(value).trim() !== '', 'must not be empty'),
        z.refine((value) => value.length <= 100, 'must have at most 100 characters'),
        z.refine((value) => !/\p{C}/u.test(visible(value)), 'must not contain control characters'),
      ),
  ),
  email: z.pipe(
    text(),
    z.pipe(z.transform(normaliseEmail), z.string()).check(
      // WHATWG's definition, so that this accepts what a browser's email field accepts.
      z.refine(
        // RFC 5321 section 4.5.3.1: 64 octets before the @, 254 in all.
        (value) => z.regexes.html5Email.test(value) && value.length <= 254 && value.indexOf('@') <= 64,
        'must be an email address',
      ),
    ),
  ),
  password: text(),
  /** A second-factor code, from the app or a recovery code. */
  code: z.string().check(z.maxLength(64, 'must be a code')),
  id: z.string().check(z.regex(/^[0-9a-f]{24}$/, 'must be an id')),
}

type NewUser = Pick<User, 'id' | 'name' | 'email' | 'passwordHash' | 'roles'>

/** Creates the id of a new user. */
export const newUserId = (): string => new mongoose.Types.ObjectId().toHexString()

/**
 * Stores a new user, in one database operation. Of several with the same email, the unique index lets one
 * through.
 * @throws Problem `email_taken` (409)
 */
export async function createUser({ id, ...user }: NewUser, now: Date): Promise<User> {
  try {
    const document = await UserModel.create({ _id: id, ...user, createdAt: now })
    return toUser(document.toObject())
  } catch (error) {
    throw isDuplicate(error) ? new Problem('email_taken', { cause: error }) : error
  }
}

/**
 * Stores a new user unless the email is taken. It is one write either way, so the time does not reveal which.
 * @returns whether the email was free
 */
export async function offerUser({ id, ...user }: NewUser, now: Date): Promise<boolean> {
  const { email, ...otherFields } = new UserModel({ _id: id, ...user, createdAt: now }).toObject()
  const { upsertedCount } = await UserModel.updateOne(
    { email },
    { $set: { registrationTriedAt: now }, $setOnInsert: otherFields },
    { upsert: true },
  )
  return upsertedCount > 0
}

/** @param email a normalised email */
export async function findUserByEmail(email: string): Promise<User | undefined> {
  const document = await UserModel.findOne({ email }).lean()
  return document ? toUser(document) : undefined
}

export async function findUserById(id: string): Promise<User | undefined> {
  // Even a signed token may carry an id that is malformed. It belongs to nobody.
  if (!mongoose.isObjectIdOrHexString(id)) return undefined
  const document = await UserModel.findById(id).lean()
  return document ? toUser(document) : undefined
}

/** Finds the user of a token or a session, unless the account was disabled or deleted in the meantime. */
export async function findEnabledUser(id: string): Promise<User | undefined> {
  const user = await findUserById(id)
  return user?.disabled ? undefined : user
}

/** Replaces a password hash with a stronger one of the same password, unless it changed in the meantime. */
export async function upgradePasswordHash(user: User, passwordHash: string): Promise<void> {
  await UserModel.updateOne({ _id: user.id, passwordHash: user.passwordHash }, { $set: { passwordHash } })
}

/**
 * Returns a page of users, ordered by id. An id starts with the time of its creation. Ids never change, so
 * pages neither repeat nor skip a user when others are created or deleted.
 * @param limit the size of the page
 * @param after the last id of the previous page
 * @param verified whether to return only users with a verified email
 */
export const listUsers = (limit: number, after?: string, verified = false) =>
  page({ disabled: mongoose.trusted({ $ne: true }), ...(verified && { emailVerified: true }) }, limit, after)

/**
 * Returns a page of the users whose email starts with a text, including disabled users. It paginates like
 * listUsers.
 * @param emailPrefix a normalised prefix, or an empty text for all users
 */
export const searchUsers = (emailPrefix: string, limit: number, after?: string) =>
  // A range instead of a regular expression: it uses the unique index, and no character of the prefix is
  // special.
  page(
    emailPrefix ? { email: mongoose.trusted({ $gte: emailPrefix, $lt: `${emailPrefix}\u{10ffff}` }) } : {},
    limit,
    after,
  )

async function page(
  filter: mongoose.QueryFilter<Document>,
  limit: number,
  after?: string,
): Promise<{ users: User[]; more: boolean }> {
  const next = after ? { _id: mongoose.trusted({ $gt: new mongoose.Types.ObjectId(after) }) } : {}
  const found = await UserModel.find({ ...filter, ...next })
    .sort({ _id: 1 })
    .limit(limit + 1)
    .lean()
  return { users: found.slice(0, limit).map(toUser), more: found.length > limit }
}

/**
 * Changes what a user may do. Existing access tokens become outdated. Disabling the user also ends all
 * sessions.
 * @returns the changed user
 * @throws Problem `not_found` (404); `last_admin` (409) if no other admin would be left; `email_not_verified`
 *   (403) for an admin whose email is not verified: anyone can register an address that is not theirs;
 *   `unavailable` (503) if another request changed the same user in the meantime
 */
export async function changeUser(
  id: string,
  { roles, disabled }: { roles?: string[] | undefined; disabled?: boolean | undefined },
  now: Date,
): Promise<User> {
  const expected = disabled || (roles && !roles.includes(ADMIN)) ? await resign(id, now) : {}
  const mayBeAdmin = roles?.includes(ADMIN)
    ? { $or: mongoose.trusted([{ emailVerified: true }, { roles: ADMIN }]) }
    : {}
  const changed = await outdateTokens({ _id: id, ...expected, ...mayBeAdmin }, now, {
    $set: { ...(roles && { roles }), ...(disabled !== undefined && { disabled }) },
    $inc: { sessionVersion: disabled ? 1 : 0 },
    $unset: { resignation: 1 },
  })
  if (changed) return changed
  const user = await findUserById(id)
  if (!user) throw new Problem('not_found')
  const isUnproven = !user.emailVerified && !user.roles.includes(ADMIN)
  throw roles?.includes(ADMIN) && isUnproven ? new Problem('email_not_verified') : changedMeanwhile()
}

/**
 * Deletes a user whose password was just checked.
 * @param endSessions called once nothing prevents the deletion
 * @throws Problem `last_admin` (409); `unavailable` (503) if another request changed the user in the meantime
 */
export async function deleteUser(
  { id, passwordHash }: User,
  endSessions: () => Promise<void>,
  now: Date,
): Promise<void> {
  const expected = await resign(id, now)
  await endSessions()
  const { deletedCount } = await UserModel.deleteOne({ _id: id, passwordHash, ...expected })
  if (deletedCount === 0) throw changedMeanwhile()
}

/**
 * Gives the user with an email the admin role.
 * @param email a normalised email
 * @throws Problem `not_found` (404); `email_not_verified` (403): anyone can register an address that is not
 *   theirs
 */
export async function grantAdmin(email: string, now: Date): Promise<User> {
  const changed = await outdateTokens({ email, emailVerified: true }, now, { $addToSet: { roles: ADMIN } })
  if (changed) return changed
  throw new Problem((await UserModel.exists({ email })) ? 'email_not_verified' : 'not_found')
}

/** Returns the enabled admins other than one user, at most 100. */
export async function findAdmins(otherThan: string): Promise<User[]> {
  const found = await UserModel.find({ ...admins, _id: mongoose.trusted({ $ne: otherThan }) })
    .limit(100)
    .lean()
  return found.map(toUser)
}

/**
 * Ends all sessions of a user with one write. This includes sessions that are being started at the same time.
 * @throws Problem `not_found` (404)
 */
export const endSessions = async (id: string, now: Date): Promise<User> =>
  orNotFound(await outdateTokens({ _id: id }, now, { $inc: { sessionVersion: 1 } }))

/** Returns the users whose access tokens became outdated after a point in time, oldest change first. */
export async function outdatedUsers(
  since: Date,
  limit: number,
): Promise<{ id: string; tokenVersion: number; at: Date }[]> {
  const found = await UserModel.find({ tokensChangedAt: mongoose.trusted({ $gt: since }) })
    .select({ tokenVersion: 1, tokensChangedAt: 1 })
    .sort({ tokensChangedAt: 1 })
    .limit(limit)
    .lean()
  return found.map(({ _id, tokenVersion, tokensChangedAt }) => ({
    id: String(_id),
    tokenVersion,
    at: tokensChangedAt!,
  }))
}

function orNotFound(user: User | undefined): User {
  if (!user) throw new Problem('not_found')
  return user
}

const admins = { roles: ADMIN, disabled: mongoose.trusted({ $ne: true }) }

/**
 * Announces that a user is about to stop being an admin, if they are one. If two admins resign at the same
 * time, each sees the other's announcement and does not count on them to stay. So there is always an admin,
 * without a transaction.
 * @returns a filter that must still match when the change is written
 * @throws Problem `last_admin` (409) if there is no other admin
 */
async function resign(id: string, now: Date): Promise<mongoose.QueryFilter<Document>> {
  const seconds = Math.floor(now.getTime() / 1000)
  const resignation = new mongoose.Types.ObjectId(mongoose.Types.ObjectId.generate(seconds))
  const announced = await UserModel.updateOne({ _id: id, ...admins }, { $set: { resignation } })
  // The user is not an admin. The filter makes sure that this is still so when the change is written.
  if (announced.matchedCount === 0) return { $nor: mongoose.trusted([admins]) }
  const tooOld = mongoose.Types.ObjectId.createFromTime(seconds - RESIGNING_SECONDS)
  const staying = await UserModel.updateOne(
    {
      ...admins,
      _id: mongoose.trusted({ $ne: id }),
      resignation: mongoose.trusted({ $not: { $gt: tooOld } }),
    },
    // Removes an announcement that is too old, so that its request cannot go through, even if the clocks
    // differ.
    { $unset: { resignation: 1 } },
  )
  if (staying.matchedCount > 0) return { resignation }
  await UserModel.updateOne({ _id: id, resignation }, { $unset: { resignation: 1 } })
  throw new Problem('last_admin')
}

/** What everyone may see of a user: never an email, never a hash. */
export const publicView = ({ id, name, createdAt }: User) => ({ id, name, createdAt })

/** What users see of themselves. */
export const ownView = ({ id, name, email, emailVerified, roles, createdAt }: User) => ({
  id,
  name,
  email,
  emailVerified,
  roles,
  createdAt,
})

/** What an admin sees of a user. */
export const adminView = (user: User) => ({
  ...ownView(user),
  disabled: user.disabled,
  /** Whether a second factor is on. */
  mfa: user.totp !== undefined,
})

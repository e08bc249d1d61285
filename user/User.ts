/**
 * The user: what is accepted, found and changed by others, and who sees what of it.
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

/** How long a request that takes the admin role away may be under way, in seconds; database work has 5. */
const RESIGNING_SECONDS = 30

/**
 * One spelling for each mailbox, so that one mailbox has one account. Case is folded in the local part too: no
 * provider of note tells `Ann@` from `ann@` (OWASP Authentication Cheat Sheet, "User IDs").
 */
export const normaliseEmail = (text: string) =>
  // Lower-casing can leave what NFKC would compose, hence twice; NFKC can make a space, hence the trim last.
  text.normalize('NFKC').toLowerCase().normalize('NFKC').trim()

/** Text that is stored and given back as it came: no lone surrogates, which UTF-8 cannot carry. */
const text = () => z.string().check(z.refine((value) => value.isWellFormed(), 'must be well-formed Unicode'))

/**
 * Persian names and some emoji need the zero-width joiners, which are control characters all the same. The Hangul
 * fillers and the empty Braille cell are letters and symbols that nobody can see.
 */
const visible = (name: string) => name.replaceAll(/\u200c|\u200d|[\u115f\u1160\u2800\u3164\uffa0]/g, '')

/** The fields of a request, as every route reads them. */
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
        z.refine((value) => !/\p{C}/u.test(visible(value)), 'must not have control characters'),
      ),
  ),
  email: z.pipe(
    text(),
    z.pipe(z.transform(normaliseEmail), z.string()).check(
      // WHATWG's definition: what a browser's e-mail field accepts is accepted here.
      z.refine(
        // RFC 5321 section 4.5.3.1: 64 octets before the @, 254 in all.
        (value) => z.regexes.html5Email.test(value) && value.length <= 254 && value.indexOf('@') <= 64,
        'must be an e-mail address',
      ),
    ),
  ),
  password: text(),
  /** Of the second factor: of the app, or a recovery code. */
  code: z.string().check(z.maxLength(64, 'must be a code')),
  id: z.string().check(z.regex(/^[0-9a-f]{24}$/, 'must be an id')),
}

type NewUser = Pick<User, 'id' | 'name' | 'email' | 'passwordHash' | 'roles'>

/** The id of a user who is about to be created. */
export const newUserId = (): string => new mongoose.Types.ObjectId().toHexString()

/**
 * Stores a new user: one database operation; the unique index decides between parallel ones.
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
 * Stores a new user unless the email is taken: one write either way, so that its time does not tell.
 * @returns whether the email was free
 */
export async function offerUser({ id, ...user }: NewUser, now: Date): Promise<boolean> {
  const { email, ...rest } = new UserModel({ _id: id, ...user, createdAt: now }).toObject()
  const { upsertedCount } = await UserModel.updateOne(
    { email },
    { $set: { registrationTriedAt: now }, $setOnInsert: rest },
    { upsert: true },
  )
  return upsertedCount > 0
}

/** @param email normalised */
export async function findUserByEmail(email: string): Promise<User | undefined> {
  const document = await UserModel.findOne({ email }).lean()
  return document ? toUser(document) : undefined
}

export async function findUserById(id: string): Promise<User | undefined> {
  // Signed or not, what is no id belongs to nobody.
  if (!mongoose.isObjectIdOrHexString(id)) return undefined
  const document = await UserModel.findById(id).lean()
  return document ? toUser(document) : undefined
}

/** The user of a token or a session, unless the account was disabled or deleted since. */
export async function findEnabledUser(id: string): Promise<User | undefined> {
  const user = await findUserById(id)
  return user?.disabled ? undefined : user
}

/** Replaces a password hash by a stronger one of the same password, unless it changed meanwhile. */
export async function upgradePasswordHash(user: User, passwordHash: string): Promise<void> {
  await UserModel.updateOne({ _id: user.id, passwordHash: user.passwordHash }, { $set: { passwordHash } })
}

/**
 * A page of users in the order of their ids, which begin with the second of creation. Ids never change, so a page
 * neither repeats nor skips a user when others come or go.
 * @param after the last id of the page before
 * @param verified only those whose e-mail is verified
 */
export const listUsers = (limit: number, after?: string, verified = false) =>
  page({ disabled: mongoose.trusted({ $ne: true }), ...(verified && { emailVerified: true }) }, limit, after)

/**
 * A page of all users, the disabled ones too, whose e-mail begins with a text; pages as listUsers.
 * @param emailPrefix normalised; empty for everybody
 */
export const searchUsers = (emailPrefix: string, limit: number, after?: string) =>
  // A range and no regular expression: it reads the unique index, and no character of the prefix is special.
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
 * Changes what a user may do. The access tokens of before are outdated; disabling ends the sessions as well.
 * @returns the changed user
 * @throws Problem `not_found` (404); `last_admin` (409) when nobody else could administer afterwards; `unavailable`
 *   (503) when another request has changed the same user meanwhile
 */
export async function changeUser(
  id: string,
  { roles, disabled }: { roles?: string[] | undefined; disabled?: boolean | undefined },
  now: Date,
): Promise<User> {
  const expected = disabled || (roles && !roles.includes(ADMIN)) ? await resign(id, now) : {}
  const changed = await outdateTokens({ _id: id, ...expected }, now, {
    $set: { ...(roles && { roles }), ...(disabled !== undefined && { disabled }) },
    $inc: { sessionVersion: disabled ? 1 : 0 },
    $unset: { resignation: 1 },
  })
  if (changed) return changed
  if (!(await UserModel.exists({ _id: id }))) throw new Problem('not_found')
  throw changedMeanwhile()
}

/**
 * Deletes a user whose password was just checked.
 * @param endSessions is done as soon as nothing is in the way
 * @throws Problem `last_admin` (409); `unavailable` (503) when another request has changed the user meanwhile
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
 * Gives the user of an e-mail the admin role.
 * @param email normalised
 * @throws Problem `not_found` (404)
 */
export const grantAdmin = async (email: string, now: Date): Promise<User> =>
  orNotFound(await outdateTokens({ email }, now, { $addToSet: { roles: ADMIN } }))

/**
 * Ends all sessions of a user, by one write: those that are just being started end with them.
 * @throws Problem `not_found` (404)
 */
export const endSessions = async (id: string, now: Date): Promise<User> =>
  orNotFound(await outdateTokens({ _id: id }, now, { $inc: { sessionVersion: 1 } }))

/** Users whose access tokens were outdated after a time, the oldest change first. */
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

/**
 * Announces that an admin is about to be none any more. Of two who go at the same time, each sees the announcement
 * of the other and counts on nobody: there is always an admin, without a transaction.
 * @returns what must still be so when the change is written
 * @throws Problem `last_admin` (409) when there is no other
 */
async function resign(id: string, now: Date): Promise<mongoose.QueryFilter<Document>> {
  const admins = { roles: ADMIN, disabled: mongoose.trusted({ $ne: true }) }
  const seconds = Math.floor(now.getTime() / 1000)
  const resignation = new mongoose.Types.ObjectId(mongoose.Types.ObjectId.generate(seconds))
  const announced = await UserModel.updateOne({ _id: id, ...admins }, { $set: { resignation } })
  // Who is no admin may become one before the change is written.
  if (announced.matchedCount === 0) return { $nor: mongoose.trusted([admins]) }
  const tooOld = mongoose.Types.ObjectId.createFromTime(seconds - RESIGNING_SECONDS)
  const staying = await UserModel.updateOne(
    {
      ...admins,
      _id: mongoose.trusted({ $ne: id }),
      resignation: mongoose.trusted({ $not: { $gt: tooOld } }),
    },
    // An announcement that is too old is void from here on, whatever the clocks say.
    { $unset: { resignation: 1 } },
  )
  if (staying.matchedCount > 0) return { resignation }
  await UserModel.updateOne({ _id: id, resignation }, { $unset: { resignation: 1 } })
  throw new Problem('last_admin')
}

/** What everybody may see of a user: never an e-mail, never a hash. */
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
export const adminView = (user: User) => ({ ...ownView(user), disabled: user.disabled })

/**
 * The user: what is stored, what is accepted, and who sees what of it.
 */
import mongoose from 'mongoose'
import * as z from 'zod/mini'
import { Problem } from '../lib/Problem.ts'

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
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

const UserModel = mongoose.model('User', schema)

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
}

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
  id: z.string().check(z.regex(/^[0-9a-f]{24}$/, 'must be an id')),
}

/**
 * Stores a new user: one database operation; the unique index decides between parallel ones.
 * @throws Problem `email_taken` (409)
 */
export async function createUser(
  user: Pick<User, 'name' | 'email' | 'passwordHash' | 'roles'>,
  now: Date,
): Promise<User> {
  try {
    const document = await UserModel.create({ ...user, createdAt: now })
    return toUser(document.toObject())
  } catch (error) {
    if (error instanceof mongoose.mongo.MongoServerError && error.code === 11000) {
      throw new Problem('email_taken', { cause: error })
    }
    throw error
  }
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

/** Replaces a password hash by a stronger one of the same password, unless it changed meanwhile. */
export async function upgradePasswordHash(user: User, passwordHash: string): Promise<void> {
  await UserModel.updateOne({ _id: user.id, passwordHash: user.passwordHash }, { $set: { passwordHash } })
}

/**
 * A page of users in the order of their ids, which begin with the second of creation. Ids never change, so a page
 * neither repeats nor skips a user when others come or go.
 * @param after the last id of the page before
 */
export async function listUsers(limit: number, after?: string): Promise<{ users: User[]; more: boolean }> {
  const next = after ? { _id: mongoose.trusted({ $gt: new mongoose.Types.ObjectId(after) }) } : {}
  const found = await UserModel.find({ disabled: false, ...next })
    .sort({ _id: 1 })
    .limit(limit + 1)
    .lean()
  return { users: found.slice(0, limit).map(toUser), more: found.length > limit }
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

type Document = mongoose.InferSchemaType<typeof schema> & { _id: mongoose.Types.ObjectId }

const toUser = ({ _id, ...rest }: Document): User => ({ id: _id.toHexString(), ...rest })

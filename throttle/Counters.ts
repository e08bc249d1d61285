/**
 * Limits on guessing and flooding (OWASP ASVS 5.0, 6.3.1; OWASP Authentication Cheat Sheet, "Login Throttling").
 * Attempts are counted before anybody knows how they end, so that many at the same time are all counted, and by what
 * was typed, so that a 429 does not tell whether there is an account.
 *
 * A counter is one document. All counters of an attempt are one database operation: each is an upsert that finds its
 * document only while it is open, so that a closed one collides with itself (a duplicate key) and ends the rest.
 */
import { createHash } from 'node:crypto'
import mongoose from 'mongoose'
import { audit } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Limits } from '../api/Settings.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const schema = new mongoose.Schema(
  {
    /** SHA-256 of what is counted: people type all kinds of things into a field for an e-mail. */
    _id: { type: String, required: true },
    count: { type: Number, required: true },
    /** When the next attempt may be made. */
    opensAt: { type: Date, required: true },
    /** When the counter begins anew. */
    expiresAt: { type: Date, required: true, index: { expireAfterSeconds: 0 } },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

const AttemptsModel = mongoose.model('Attempts', schema)
type Counter = mongoose.InferSchemaType<typeof schema>

/** The driver's own: Mongoose would cast, and knows no pipelines here. */
const collection = () => AttemptsModel.collection as unknown as mongoose.mongo.Collection<Counter>

/** What may be tried how often. */
export interface Rule {
  limit: keyof Limits
  /** The document's id. */
  id: string
  /** So often without a wait. */
  free: number
  /** The wait after that, in milliseconds, which doubles each time; without one the counter opens when its hour is over. */
  firstWait?: number
  /** There is no other until this one is settled or taken back, for so many milliseconds at the most. */
  underWay?: number
}

/** No wait is longer; the link in a mail is good for twice as long, so that whoever waits for one has one that works. */
const LONGEST_WAIT = 15 * MINUTE

/** Another try is hopeless when so many collide with a document that is just being made. */
const TRIES = 5

/**
 * The limits of a login. Failures of one e-mail from one address slow each other down; there is a limit for the e-mail
 * from anywhere, and one for the address over all e-mails.
 */
export const loginRules = (email: string, address: string | null, limits: Limits): Rule[] => [
  hourly(limits, 'loginsPerAddress', network(address)),
  { ...hourly(limits, 'loginFailures', email, network(address)), firstWait: SECOND },
  hourly(limits, 'loginsPerEmail', email),
]

/** The limit of registrations. */
export const registrationRules = (address: string | null, limits: Limits): Rule[] => [
  hourly(limits, 'registrationsPerAddress', network(address)),
]

/**
 * The limits of asking for a mail. None is for an e-mail from anywhere: others could use it up, and keep its owner
 * from recovering the account.
 */
export const mailRequestRules = (
  route: 'forgots' | 'resends',
  email: string,
  address: string | null,
  limits: Limits,
): Rule[] => [
  hourly(limits, `${route}PerAddress`, network(address)),
  hourly(limits, `${route}PerEmail`, email, network(address)),
]

/** The limit of what a user may have sent to addresses of their choice. */
export const emailChangeRules = (userId: string, limits: Limits): Rule[] => [
  hourly(limits, 'emailChangesPerUser', userId),
]

/** The limit of notices of one kind to one e-mail. */
export const noticeRules = (notice: string, email: string, limits: Limits): Rule[] => [
  { ...hourly(limits, 'mailsPerEmail', 'notice', notice, email), firstWait: MINUTE },
]

/**
 * The limit of mails of one kind to one e-mail, whoever asks for them. One after the other: of two that are under way
 * at the same time, the one that comes last could be that with the void link.
 */
export const mailRules = (mail: string, email: string, limits: Limits): Rule[] => [
  { ...hourly(limits, 'mailsPerEmail', mail, email), firstWait: MINUTE, underWay: SENDING_TIME },
]

/** The function that sends mail is stopped after so long (serverless.yml), in milliseconds. */
const SENDING_TIME = 30 * SECOND

/**
 * The limit of wrong passwords and codes of somebody who is signed in. It knows the session and not the e-mail, so that
 * whoever guesses from outside cannot lock the owner out of a session that is open; and not the address: the thief of a
 * session could come from thousands, but has only as many sessions as were stolen.
 */
export const confirmationRules = (sessionId: string, limits: Limits): Rule[] => [
  { ...hourly(limits, 'confirmationFailures', sessionId), firstWait: SECOND },
]

/**
 * The limit of codes of a second factor. Only whoever has the password or a session comes so far, and only a right code
 * forgets the wrong ones: neither the password, which may be stolen, nor a reset by a mail that others read.
 */
export const codeRules = (userId: string, limits: Limits): Rule[] => [hourly(limits, 'codesPerUser', userId)]

/**
 * Counts an attempt.
 * @throws Problem `too_many_attempts` (429) with Retry-After when one of the rules does not allow it; the rules before
 *   that one have counted it
 */
export async function countAttempt(rules: Rule[], now: Date): Promise<void> {
  let rest = rules
  for (let tries = 0; tries < TRIES; tries++) {
    const closed = await count(rest, now)
    if (closed === undefined) return
    rest = rest.slice(closed)
    const rule = rest[0]!
    const counter = await AttemptsModel.findById(rule.id).lean()
    if (counter && counter.opensAt > now) throw tooMany(rule.limit, counter.opensAt.getTime() - now.getTime())
    // Else another request was making the same document at the same time: now it is there.
  }
  throw new Problem('unavailable', {
    headers: { 'Retry-After': '1' },
    cause: new Error('the counter of attempts changes all the time'),
  })
}

/**
 * Takes an attempt that succeeded back: failures are forgotten, and it does not count for its address. One command: with
 * deletions among the updates the driver would send two, one after the other.
 */
export async function forgive(rules: Rule[], now: Date): Promise<void> {
  await collection().bulkWrite(
    rules.flatMap((rule): Operation[] => {
      if (rule.firstWait !== undefined || rule.limit === 'codesPerUser') return [forgotten(rule)]
      return rule.limit === 'loginsPerAddress' ? [uncounted(rule, now)] : []
    }),
    UNJOURNALED,
  )
}

/**
 * Takes an attempt back whose first factor was right. The failures of before stay: whoever knows the password could
 * guess codes without end. But the wait that another one makes would outlast the challenge for the code.
 */
export const forgiveFirstFactor = (rules: Rule[], now: Date): Promise<void> =>
  takeBack(
    rules.filter(({ limit }) => limit !== 'loginsPerEmail'),
    now,
  )

/** Takes an attempt back, and no other: it does not count after all. */
export async function takeBack(rules: Rule[], now: Date): Promise<void> {
  await collection().bulkWrite(
    rules.map((rule) => uncounted(rule, now)),
    UNJOURNALED,
  )
}

/** Says that attempts which were under way are done: the wait for the next begins. */
export async function settle(rules: Rule[], now: Date): Promise<void> {
  await collection().bulkWrite(
    rules.map((rule) => ({
      updateOne: {
        filter: { _id: rule.id, expiresAt: { $gt: now } },
        update: [{ $set: { opensAt: opensAt(rule, now) } }],
      },
    })),
    UNJOURNALED,
  )
}

type Operation = mongoose.mongo.AnyBulkWriteOperation<Counter>

const forgotten = ({ id }: Rule): Operation => ({
  updateOne: { filter: { _id: id }, update: { $set: { count: 0, opensAt: OPEN } } },
})

/** A closed counter counts nothing, so with one less it is open. */
const uncounted = ({ id }: Rule, now: Date): Operation => ({
  updateOne: {
    filter: { _id: id, expiresAt: { $gt: now } },
    update: { $inc: { count: -1 }, $set: { opensAt: OPEN } },
  },
})

/**
 * Opens the counters of an e-mail, here and everywhere, whoever has closed them: its owner has proved to be it. That of
 * the mails that reset a password too: a wait is bearable only while the link in the last one is good.
 */
export async function forgetEmail(email: string, address: string | null, limits: Limits): Promise<void> {
  const ofEmail = [
    ...loginRules(email, address, limits).filter(({ limit }) => limit !== 'loginsPerAddress'),
    ...mailRules('passwordReset', email, limits),
  ]
  await AttemptsModel.deleteMany({ _id: mongoose.trusted({ $in: ofEmail.map(({ id }) => id) }) })
}

/**
 * @param wait until the next attempt, in milliseconds
 * @param whose it is, where the log does not know it yet
 */
export function tooMany(
  limit: keyof Limits,
  wait: number,
  whose: { userId?: string; sessionId?: string } = {},
): Problem {
  audit('excess_rate_limit_exceeded', { limit, ...whose })
  return new Problem('too_many_attempts', {
    headers: { 'Retry-After': String(Math.max(1, Math.ceil(wait / SECOND))) },
  })
}

const hourly = (limits: Limits, limit: keyof Limits, ...subject: string[]): Rule => ({
  limit,
  id: createHash('sha256')
    .update(JSON.stringify([limit, ...subject]))
    .digest('base64url'),
  free: limits[limit],
})

/** A crash of the database may forget an attempt; nobody should wait for its journal. */
const UNJOURNALED = { ordered: true, writeConcern: { w: 1, journal: false } }

/** @returns the index of the first rule that did not count, or undefined when all did */
async function count(rules: Rule[], now: Date): Promise<number | undefined> {
  try {
    await collection().bulkWrite(
      rules.map((rule) => ({
        updateOne: {
          filter: { _id: rule.id, opensAt: { $lte: now } },
          update: [{ $set: counted(rule, now) }, { $set: { opensAt: firstOpensAt(rule, now) } }],
          upsert: true,
        },
      })),
      UNJOURNALED,
    )
    return undefined
  } catch (error) {
    if (!(error instanceof mongoose.mongo.MongoBulkWriteError) || error.code !== DUPLICATE_KEY) throw error
    return [error.writeErrors].flat()[0]!.index
  }
}

const DUPLICATE_KEY = 11_000

function counted(rule: Rule, now: Date) {
  const inAnHour = new Date(now.getTime() + HOUR)
  const isRunning = { $gt: ['$expiresAt', now] }
  return {
    count: { $cond: [isRunning, { $add: ['$count', 1] }, 1] },
    // A wait is forgotten an hour after the last attempt, other counts an hour after the first.
    expiresAt: rule.firstWait === undefined ? { $cond: [isRunning, '$expiresAt', inAnHour] } : inAnHour,
  }
}

/** Before any attempt, also one that began a moment earlier, or on a clock that is behind. */
const OPEN = new Date(0)

/** When the counter opens again if nobody settles the attempt. */
const firstOpensAt = (rule: Rule, now: Date) =>
  rule.underWay === undefined ? opensAt(rule, now) : new Date(now.getTime() + rule.underWay)

/** When the counter opens again, from its new count and time. */
function opensAt({ free, firstWait }: Rule, now: Date) {
  const doubled = { $multiply: [firstWait, { $pow: [2, { $subtract: ['$count', free] }] }] }
  const later = firstWait === undefined ? '$expiresAt' : { $add: [now, { $min: [LONGEST_WAIT, doubled] }] }
  return { $cond: [{ $gte: ['$count', free] }, later, OPEN] }
}

/** An IPv6 network of 64 bits is one customer's, who can use any address in it; of IPv4 it is the address. */
export function network(address: string | null): string {
  if (address === null || !address.includes(':')) return address ?? ''
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped) return mapped
  const [head, tail] = address.toLowerCase().split('::') as [string, string?]
  const groups = head === '' ? [] : head.split(':')
  const rest = tail ? tail.split(':').length : 0
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - rest)
  const all = [...groups, ...Array.from({ length: zeros }, () => '0'), ...(tail ? tail.split(':') : [])]
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}

/**
 * Counts attempts. An attempt is counted before anybody knows how it ends, so that many at the same time all count, and
 * by what was typed, so that a 429 does not reveal whether there is an account.
 *
 * A counter is one document, and all counters of an attempt are one database command: a bulk of upserts, each with the
 * filter "this counter, if it is open". With `free: 2`, for example:
 *
 *   stored                        filter                          what the upsert does
 *   nothing                       {_id, opensAt <= now}  no match  inserts it with count 1: the attempt is counted
 *   {count: 1, opensAt: past}     {_id, opensAt <= now}  match     count 2, opensAt in 1 s: counted, and now closed
 *   {count: 2, opensAt: future}   {_id, opensAt <= now}  no match  inserts the same _id: duplicate key. Refused, and
 *                                                                  the ordered bulk ends, so later counters stay as they are
 *   nothing, two at once          both no match                    one inserts, the other gets the duplicate key. It reads
 *                                                                  the counter, finds it open, and tries again: a match
 */
import mongoose from 'mongoose'
import { event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Limits } from '../api/Settings.ts'
import type { Rule } from './Rules.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const schema = new mongoose.Schema(
  {
    /** Rule.id. */
    _id: { type: String, required: true },
    count: { type: Number, required: true },
    /** When the next attempt may be made. */
    opensAt: { type: Date, required: true },
    /** When the counter starts again from zero. */
    expiresAt: { type: Date, required: true, index: { expireAfterSeconds: 0 } },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

export const AttemptsModel = mongoose.model('Attempts', schema)
type Counter = mongoose.InferSchemaType<typeof schema>

/** The driver's own: Mongoose would cast, and knows no pipelines here. */
const collection = () => AttemptsModel.collection as unknown as mongoose.mongo.Collection<Counter>

/** No wait is longer. The link in a mail is good for twice as long, so whoever waits for one has one that works. */
const LONGEST_WAIT = 15 * MINUTE

/** More collisions than this with a counter that is just being made are a fault. */
const TRIES = 5

/**
 * Counts an attempt: one database command, or two when it is refused.
 * @throws Problem `too_many_attempts` (429) with Retry-After when a rule does not allow it; the rules before that one
 *   have counted it
 */
export async function countAttempt(rules: Rule[], now: Date): Promise<void> {
  let rest = rules
  for (let tries = 0; tries < TRIES; tries++) {
    const refused = await count(rest, now)
    if (refused === undefined) return
    rest = rest.slice(refused)
    const rule = rest[0]!
    const counter = await AttemptsModel.findById(rule.id).lean()
    if (counter && counter.opensAt > now) throw tooMany(rule.limit, counter.opensAt.getTime() - now.getTime())
    // Otherwise another request was creating the same counter: by now it is there.
  }
  throw new Problem('unavailable', {
    headers: { 'Retry-After': '1' },
    cause: new Error('the counter of attempts keeps changing'),
  })
}

/** Counts a success: one database command, in which each rule does what its `onSuccess` says. */
export async function succeed(rules: Rule[], now: Date): Promise<void> {
  // Updates only: for deletions among them the driver would send a second command.
  const operations = rules.flatMap((rule): Operation[] => {
    if (rule.onSuccess === 'forget') return [forgotten(rule)]
    return rule.onSuccess === 'takeBack' ? [uncounted(rule, now)] : []
  })
  await collection().bulkWrite(operations, UNJOURNALED)
}

/** Undoes an attempt, and no other: it does not count after all. */
export async function takeBack(rules: Rule[], now: Date): Promise<void> {
  await collection().bulkWrite(
    rules.map((rule) => uncounted(rule, now)),
    UNJOURNALED,
  )
}

/** Ends attempts that were under way: the wait for the next one begins. */
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

/** Deletes counters, whoever has closed them. */
export async function clear(rules: Rule[]): Promise<void> {
  await AttemptsModel.deleteMany({ _id: mongoose.trusted({ $in: rules.map(({ id }) => id) }) })
}

/**
 * @param wait until the next attempt, in milliseconds
 * @param whose what the log line adds where the request does not know it yet
 */
export const tooMany = (
  limit: keyof Limits,
  wait: number,
  whose: { userId?: string; sessionId?: string } = {},
): Problem =>
  new Problem('too_many_attempts', {
    headers: { 'Retry-After': String(Math.max(1, Math.ceil(wait / SECOND))) },
    events: [event('excess_rate_limit_exceeded', { limit, ...whose })],
  })

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

/** A crash of the database may lose an attempt; nobody should wait for its journal. */
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

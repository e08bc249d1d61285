/**
 * Counts attempts. An attempt is counted before its outcome is known, so that parallel attempts all count.
 * The counter depends on what was typed, not on the account, so that a 429 does not reveal whether there is
 * one.
 *
 * A counter is one document. All counters of an attempt are updated by one database command: a bulk of
 * upserts, each with the filter "this counter, if it is open" (`{ _id, opensAt <= now }`). For example, with
 * `free: 2`:
 *
 *   stored                       matches  what the upsert does
 *   nothing                      no       inserts it with count 1: counted
 *   {count: 1, opensAt: past}    yes      count 2, opensAt in 1 s: counted, and now closed
 *   {count: 2, opensAt: future}  no       inserts the same _id: duplicate key, so refused. The ordered bulk
 *                                         stops, and later counters stay unchanged
 *   nothing, two at once         no, no   one inserts, the other gets a duplicate key. It reads the counter,
 *                                         finds it open and tries again: a match
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
    /** When the counter restarts from zero. */
    expiresAt: { type: Date, required: true, index: { expireAfterSeconds: 0 } },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

export const AttemptsModel = mongoose.model('Attempts', schema)
type Counter = mongoose.InferSchemaType<typeof schema>

/** The driver's collection, because Mongoose would cast the updates and does not support pipelines here. */
const collection = () => AttemptsModel.collection as unknown as mongoose.mongo.Collection<Counter>

/**
 * In milliseconds. An emailed link is valid for twice as long, so anyone who has to wait already has a
 * working link.
 */
const LONGEST_WAIT = 15 * MINUTE

/**
 * How often to try when other requests create the same counters at the same time. More collisions are a
 * fault.
 */
const TRIES = 5

/**
 * Counts an attempt, with one database command, or two if it is refused.
 * @throws Problem `too_many_attempts` (429) with Retry-After if a rule refuses it. The rules before that one
 *   have still counted it
 */
export async function countAttempt(rules: Rule[], now: Date): Promise<void> {
  let remaining = rules
  for (let tries = 0; tries < TRIES; tries++) {
    const refused = await count(remaining, now)
    if (refused === undefined) return
    remaining = remaining.slice(refused)
    const rule = remaining[0]!
    const counter = await AttemptsModel.findById(rule.id).lean()
    if (counter && counter.opensAt > now) throw tooMany(rule.limit, counter.opensAt.getTime() - now.getTime())
    // Otherwise, another request was creating the same counter. By now it exists.
  }
  throw new Problem('unavailable', {
    headers: { 'Retry-After': '1' },
    cause: new Error('the counter of attempts keeps changing'),
  })
}

/** Records a success, with one database command. Each rule does what its `onSuccess` says. */
export async function succeed(rules: Rule[], now: Date): Promise<void> {
  // Only updates, because the driver would send a second command for deletions.
  const operations = rules.flatMap((rule): Operation[] => {
    if (rule.onSuccess === 'forget') return [forgotten(rule)]
    return rule.onSuccess === 'takeBack' ? [uncounted(rule, now)] : []
  })
  await collection().bulkWrite(operations, UNJOURNALED)
}

/** Undoes this one attempt, so that it does not count. */
export async function takeBack(rules: Rule[], now: Date): Promise<void> {
  await collection().bulkWrite(
    rules.map((rule) => uncounted(rule, now)),
    UNJOURNALED,
  )
}

/** Ends attempts that were under way. The wait for the next attempt starts now. */
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

/** Deletes counters, no matter who closed them. */
export async function clear(rules: Rule[]): Promise<void> {
  await AttemptsModel.deleteMany({ _id: mongoose.trusted({ $in: rules.map(({ id }) => id) }) })
}

/**
 * Creates the refusal of an attempt, with its event.
 * @param wait how long until the next attempt, in milliseconds
 * @param whose the user and session for the log line, if the request does not know them yet
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

/** No attempt is counted beyond the limit, so with one attempt less, the counter is open. */
const uncounted = ({ id }: Rule, now: Date): Operation => ({
  updateOne: {
    filter: { _id: id, expiresAt: { $gt: now } },
    update: { $inc: { count: -1 }, $set: { opensAt: OPEN } },
  },
})

/** Does not wait for the journal. Losing an attempt in a database crash is acceptable. */
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
    // Counters with a wait expire an hour after the last attempt, the others an hour after the first.
    expiresAt: rule.firstWait === undefined ? { $cond: [isRunning, '$expiresAt', inAnHour] } : inAnHour,
  }
}

/** Earlier than any attempt, including one that began a moment ago or on a clock that is behind. */
const OPEN = new Date(0)

/** When the counter opens again if nobody settles the attempt. */
const firstOpensAt = (rule: Rule, now: Date) =>
  rule.underWay === undefined ? opensAt(rule, now) : new Date(now.getTime() + rule.underWay)

/** When the counter opens again, computed from its new count. */
function opensAt({ free, firstWait }: Rule, now: Date) {
  const doubled = { $multiply: [firstWait, { $pow: [2, { $subtract: ['$count', free] }] }] }
  const later = firstWait === undefined ? '$expiresAt' : { $add: [now, { $min: [LONGEST_WAIT, doubled] }] }
  return { $cond: [{ $gte: ['$count', free] }, later, OPEN] }
}

/**
 * The authorizer's memory of revoked and outdated access tokens. It covers the last 16 minutes, because older
 * tokens have expired anyway. When a token arrives and the memory is at least 5 seconds old, the authorizer
 * asks the database for newer revocations. So a revoked token stops working within 5 seconds, and most
 * requests need no database.
 */
import { setTimeout } from 'node:timers/promises'
import { log, loggable } from '../lib/Log.ts'
import { ACCESS_TOKEN_SECONDS, type Claims, SKEW_SECONDS } from './Tokens.ts'

/** How old the memory may be before it is updated, in milliseconds. */
const FRESH = 5_000
/**
 * After this long without an answer, in milliseconds, nobody is let in: any token could have been revoked.
 */
const FAIL_CLOSED = 60_000
/** How long a request waits for an update while the memory may still be used, in milliseconds. */
const UPDATE_TIMEOUT = 1_000
/**
 * How far each question reaches back behind the last one, in milliseconds. Clocks differ, and a slow write
 * carries the time at which it began.
 */
const OVERLAP = 60_000
/** How long after it was issued an access token can be valid, in milliseconds. */
const TOKEN_LIFETIME = (ACCESS_TOKEN_SECONDS + SKEW_SECONDS) * 1000
/**
 * The most entries to keep, which take 27 MB (bench/revocation-feed.ts). If there are more within 16 minutes,
 * each token is looked up in the database until they have expired.
 */
export const MAX_ENTRIES = 200_000

/** What was revoked or outdated after a point in time, oldest first. */
interface Revocations {
  /** In groups, each with the time of its last revocation. */
  sessions: { ids: string[]; at: Date }[]
  users: { id: string; tokenVersion: number; at: Date }[]
}

/** What the feed needs from the database. */
export interface Source {
  /** Returns at most `limit` sessions and at most `limit` users. */
  revocationsSince: (since: Date, limit: number) => Promise<Revocations>
  isRevoked: (token: Token) => Promise<boolean>
}

type Token = Pick<Claims, 'sid' | 'sub' | 'ver'>

/** It is not known right now whether a token is revoked. */
export class FeedUnavailable extends Error {}

/**
 * Creates a feed with an empty memory. It first asks the source when the first token arrives.
 * @param source asked at most once in 5 seconds, except while there are too many revocations to remember
 * @returns a function that takes a verified token's claims and the time, and returns whether the token is
 *   revoked or outdated. It throws FeedUnavailable when the source has not answered for 60 seconds, or cannot
 *   look up a token
 */
export function revocationFeed(source: Source) {
  const revoked = new Entries<true>()
  const versions = new Entries<number>()
  /** When the latest question that has an answer was asked. */
  let knownAt = -Infinity
  /** When the latest question was asked. */
  let askedAt = -Infinity
  /** Until when there are too many revocations to remember. */
  let fullUntil = -Infinity
  let answer: Promise<void> | undefined

  const ageAt = (time: number) => time - knownAt

  async function ask(time: number): Promise<void> {
    askedAt = time
    const since = Math.max(knownAt, time - TOKEN_LIFETIME) - OVERLAP
    try {
      const { sessions, users } = await source.revocationsSince(new Date(since), MAX_ENTRIES + 1)
      for (const { ids, at } of sessions) for (const id of ids) revoked.set(id, true, at)
      for (const { id, tokenVersion, at } of users) {
        // A later version may carry an earlier time, if its request began earlier or its clock is behind.
        versions.set(id, Math.max(tokenVersion, versions.get(id) ?? 0), at)
      }
      // A frozen container may get an old answer after a newer one.
      knownAt = Math.max(knownAt, time)
    } catch (error) {
      log.error('cannot load revocations', { error: loggable(error) })
      return
    }
    const expired = time - TOKEN_LIFETIME - OVERLAP
    revoked.forget(expired)
    versions.forget(expired)
    if (revoked.size + versions.size > MAX_ENTRIES) {
      log.error('too many revocations to remember: each token is looked up')
      revoked.clear()
      versions.clear()
      knownAt = -Infinity
      fullUntil = time + TOKEN_LIFETIME
    }
  }

  async function catchUp(time: number): Promise<void> {
    const isUsable = ageAt(time) <= FAIL_CLOSED
    if (Math.abs(time - askedAt) >= FRESH || (!isUsable && !answer)) {
      const mine = ask(time).finally(() => {
        if (answer === mine) answer = undefined
      })
      answer = mine
    }
    // If the database is slow, the request goes on without the answer as long as the memory may still be used.
    await (isUsable ? withTimeout(answer, UPDATE_TIMEOUT - (time - askedAt)) : answer)
  }

  return async (token: Token, now: Date): Promise<boolean> => {
    const time = now.getTime()
    // The clock was set back, so the age of the memory is unknown.
    if (time < knownAt - FRESH) knownAt = -Infinity
    if (ageAt(time) >= FRESH && time >= fullUntil) await catchUp(time)
    if (time < fullUntil) {
      return source.isRevoked(token).catch((cause: unknown) => {
        throw new FeedUnavailable('cannot look up the token', { cause })
      })
    }
    if (ageAt(time) > FAIL_CLOSED) throw new FeedUnavailable('no answer about revocations for 60 seconds')
    return revoked.has(token.sid) || token.ver < (versions.get(token.sub) ?? 0)
  }
}

/** Waits for an answer, but not longer than the given time. */
async function withTimeout(answer: Promise<void> | undefined, milliseconds: number): Promise<void> {
  if (!answer || milliseconds <= 0) return
  const timer = new AbortController()
  const timeout = setTimeout(milliseconds, undefined, { signal: timer.signal }).catch(() => undefined)
  await Promise.race([answer, timeout])
  timer.abort()
}

/** Values with the time of their last change, roughly ordered by that time. */
class Entries<Value> {
  readonly #entries = new Map<string, { value: Value; at: number }>()

  get size() {
    return this.#entries.size
  }

  has(id: string): boolean {
    return this.#entries.has(id)
  }

  get(id: string): Value | undefined {
    return this.#entries.get(id)?.value
  }

  set(id: string, value: Value, at: Date): void {
    const known = this.#entries.get(id)
    if (known && known.value === value && known.at >= at.getTime()) return
    // Delete it first, because a Map keeps the position of a key that is set again.
    this.#entries.delete(id)
    this.#entries.set(id, { value, at: Math.max(at.getTime(), known?.at ?? 0) })
  }

  /** Drops entries that changed before a time, in milliseconds since the epoch. */
  forget(time: number): void {
    for (const [id, { at }] of this.#entries) {
      if (at >= time) return
      this.#entries.delete(id)
    }
  }

  clear(): void {
    this.#entries.clear()
  }
}

/**
 * What the authorizer knows of revoked and outdated access tokens, in memory: those of the last 16 minutes, since
 * older ones have expired by themselves. It asks the database for newer ones when a token comes and what it knows
 * is 5 seconds old, so a revoked token dies within 5 seconds, and a request costs the database nothing.
 */
import { setTimeout } from 'node:timers/promises'
import { log, loggable } from '../lib/Log.ts'
import { ACCESS_TOKEN_SECONDS, type Claims, SKEW_SECONDS } from './Tokens.ts'

/** What is known may be so old, in milliseconds. */
const FRESH = 5_000
/** Without an answer for so long, nobody is let in: what is revoked could not be told from what is not. */
const FAIL_CLOSED = 60_000
/** How long a request waits for an answer while what is known is not too old. */
const PATIENCE = 1_000
/** Asked for again each time: clocks differ, and a write that was slow carries the time at which it began. */
const OVERLAP = 60_000
/** For so long after it was issued can an access token be good. */
const TOKEN_LIFETIME = (ACCESS_TOKEN_SECONDS + SKEW_SECONDS) * 1000
/**
 * So many entries are kept, 27 MB (bench/revocation-feed.ts). Should more come in 16 minutes, each token is looked up
 * by itself until they have expired.
 */
export const MAX_ENTRIES = 200_000

/** What was revoked or outdated after a time, the oldest first. */
interface Revocations {
  /** In groups, each with the time of the last revocation in it. */
  sessions: { ids: string[]; at: Date }[]
  users: { id: string; tokenVersion: number; at: Date }[]
}

/** The database, as the feed needs it. */
export interface Source {
  /** At most `limit` sessions and as many users. */
  revocationsSince: (since: Date, limit: number) => Promise<Revocations>
  isRevoked: (token: Token) => Promise<boolean>
}

type Token = Pick<Claims, 'sid' | 'sub' | 'ver'>

/** Nobody can say now whether a token is revoked. */
export class FeedUnavailable extends Error {}

/**
 * Starts with an empty memory; nothing is asked before the first token.
 * @param source asked at most once in 5 seconds, but while it is the only one to know
 * @returns a function of a verified token's claims and the time that says whether the token is revoked or outdated
 * @throws FeedUnavailable when the source has not answered for 60 seconds, or cannot look a token up
 */
export function revocationFeed(source: Source) {
  const revoked = new Entries<true>()
  const versions = new Entries<number>()
  /** The time of the question that was answered last, of the last question, and until when there are too many. */
  let knownAt = -Infinity
  let askedAt = -Infinity
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
        // A later version may carry an earlier time: its request began before, or on a clock that is behind.
        versions.set(id, Math.max(tokenVersion, versions.get(id) ?? 0), at)
      }
      // An answer that a frozen container gets late knows less than the one of a later question.
      knownAt = Math.max(knownAt, time)
    } catch (error) {
      log.error('cannot ask for revocations', { error: loggable(error) })
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
    // Off the request's path where the database is slow and what is known may still be used.
    await (isUsable ? withPatience(answer, PATIENCE - (time - askedAt)) : answer)
  }

  return async (token: Token, now: Date): Promise<boolean> => {
    const time = now.getTime()
    // The clock was set back: how old is what is known? As good as unknown.
    if (time < knownAt - FRESH) knownAt = -Infinity
    if (ageAt(time) >= FRESH && time >= fullUntil) await catchUp(time)
    if (time < fullUntil) {
      return source.isRevoked(token).catch((cause: unknown) => {
        throw new FeedUnavailable('cannot look the token up', { cause })
      })
    }
    if (ageAt(time) > FAIL_CLOSED) throw new FeedUnavailable('no word of revocations for 60 seconds')
    return revoked.has(token.sid) || token.ver < (versions.get(token.sub) ?? 0)
  }
}

/** Waits for an answer, but not for longer than some milliseconds. */
async function withPatience(answer: Promise<void> | undefined, milliseconds: number): Promise<void> {
  if (!answer || milliseconds <= 0) return
  const timer = new AbortController()
  const timeout = setTimeout(milliseconds, undefined, { signal: timer.signal }).catch(() => undefined)
  await Promise.race([answer, timeout])
  timer.abort()
}

/** Values with the time of their change, in about the order of these times. */
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
    // Deleted first, since a Map keeps the place of a key that is set again.
    this.#entries.delete(id)
    this.#entries.set(id, { value, at: Math.max(at.getTime(), known?.at ?? 0) })
  }

  /** Drops what changed before a time, in milliseconds since the epoch. */
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

/**
 * The process that bench/revocation-feed.ts measures: a revocation feed on the database of DB, started with
 * --expose-gc. It tells its parent what the feed takes and ends.
 */
import { FeedUnavailable, revocationFeed } from '../../auth/RevocationFeed.ts'
import { revocations } from '../../auth/Revocations.ts'
import { newSid } from './revokedSessions.ts'
import { timed } from '../../support/measure.ts'

/** Few enough to stay in the processor's cache however many entries there are: what is asked is how far they look. */
const TOKENS = 1_000
const PASSES = 100

/** What one process tells. */
export interface Measured {
  /** Whether the feed could be loaded. */
  loaded: boolean
  /** From the first token to its answer, in milliseconds; the connection was there before. */
  load: number
  /** In bytes, more than before the first token: what is kept, and the peak of the resident memory. */
  heap: number
  peak: number
  /** Nanoseconds. */
  lookup: number
}

const collect = (globalThis as { gc?: () => void }).gc!
const token = (sid: string) => ({ sid, sub: '5f5f5f5f5f5f5f5f5f5f5f5f', ver: 0 })

const source = revocations(process.env['DB']!)
await source.isRevoked(token(newSid())) // connects
const feed = revocationFeed(source)
collect()
const before = process.memoryUsage()

let loaded = true
const load = await timed(() =>
  feed(token(newSid()), new Date()).catch((error: unknown) => {
    if (!(error instanceof FeedUnavailable)) throw error
    loaded = false
  }),
)
const peak = process.resourceUsage().maxRSS * 1024 - before.rss
collect()
const { heapUsed } = process.memoryUsage()

let lookup = NaN
if (loaded) {
  const tokens = Array.from({ length: TOKENS }, () => token(newSid()))
  const now = new Date() // all within the 5 s after the load
  const passes = () =>
    timed(async () => {
      for (let pass = 0; pass < PASSES; pass++) for (const one of tokens) await feed(one, now)
    })
  await passes()
  lookup = ((await passes()) * 1e6) / (PASSES * TOKENS)
}

const measured: Measured = {
  loaded,
  load,
  heap: heapUsed - before.heapUsed,
  peak,
  lookup,
}
process.send!(measured, () => process.exit())

/**
 * What the authorizer's memory of revoked sessions takes, as a Node process of its own loads it from a real database:
 * bytes, the peak while it loads, and the time of a lookup among 1,000 and among 100,000 entries. And the same with
 * as many entries as are kept at the most.
 *
 *   npx tsx bench/revocation-feed.ts
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { MAX_ENTRIES } from '../auth/RevocationFeed.ts'
import { startDatabase } from '../local/Database.ts'
import type { Measured } from './support/feed.ts'
import { interleave, median, printLimit, printTable, ratio } from '../support/measure.ts'
import { storeRevokedSessions } from './support/revokedSessions.ts'
import { newSettings } from '../support/newSettings.ts'
import { cleanEnvironment } from '../support/project.ts'

const ROUNDS = 5
const FEW = 1_000
const MANY = 100_000
const MEGABYTES_LIMIT = 64
/** A list would be at a hundred. */
const LOOKUP_LIMIT = 2

const script = join(import.meta.dirname, 'support', 'feed.ts')
const database = await startDatabase(console.error)

/** Measures one process, whose database holds so many entries. */
async function measure(entries: number): Promise<Measured> {
  const child = fork(script, {
    execArgv: [...process.execArgv, '--expose-gc'],
    env: cleanEnvironment({ ...newSettings(), DB: `${database.uri}/of-${entries}` }),
  })
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`The process ended with ${code}.`)
  })
  const [measured] = (await Promise.race([once(child, 'message'), failed])) as [Measured]
  await failed.catch(() => undefined)
  return measured
}

try {
  const sizes = { few: FEW, many: MANY, most: MAX_ENTRIES }
  type Size = keyof typeof sizes
  const measured: Record<Size, Measured[]> = { few: [], many: [], most: [] }
  const sample = (size: Size) => async () => {
    const one = await measure(sizes[size])
    measured[size].push(one)
    return one.lookup
  }
  for (const entries of Object.values(sizes)) {
    await storeRevokedSessions(`${database.uri}/of-${entries}`, entries)
    await measure(entries) // makes the indexes
  }
  const lookups = await interleave(ROUNDS, { few: sample('few'), many: sample('many'), most: sample('most') })

  const of = (size: Size, name: Exclude<keyof Measured, 'loaded'>) =>
    median(measured[size].filter(({ loaded }) => loaded).map((one) => one[name]))
  const megabytes = (size: Size, name: 'heap' | 'peak') => of(size, name) / 1e6
  const row = (size: Size) => [
    `${sizes[size].toLocaleString('en')} revoked sessions`,
    `${measured[size].filter(({ loaded }) => loaded).length} of ${ROUNDS}`,
    of(size, 'load').toFixed(0),
    megabytes(size, 'heap').toFixed(1),
    (of(size, 'heap') / sizes[size]).toFixed(0),
    megabytes(size, 'peak').toFixed(1),
    of(size, 'lookup').toFixed(0),
  ]
  printTable([
    [`${ROUNDS} processes each, in turn`, 'loaded', 'load ms', 'heap MB', 'B each', 'peak MB', 'lookup ns'],
    row('few'),
    row('many'),
    row('most'),
  ])
  const many = MANY.toLocaleString('en')
  printLimit(`${many} revoked sessions, heap`, megabytes('many', 'heap'), MEGABYTES_LIMIT, ' MB')
  printLimit(
    `${many} revoked sessions, peak of resident memory`,
    megabytes('many', 'peak'),
    MEGABYTES_LIMIT,
    ' MB',
  )
  printLimit(
    `lookup among ${many} / among ${FEW.toLocaleString('en')}`,
    ratio(lookups.many, lookups.few),
    LOOKUP_LIMIT,
  )
} finally {
  await database.stop()
}

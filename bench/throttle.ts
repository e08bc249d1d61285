/**
 * What the throttle costs: the packaged refresh and login against the same ones that count nothing, in turn, on a
 * local MongoDB; and how much more often they wait for the database.
 *
 *   npx tsx bench/throttle.ts
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startDatabase } from '../local/Database.ts'
import { loadApi } from './support/api.ts'
import { interleave, median, percentile, printLimit, printTable, ratio, timed } from '../support/measure.ts'
import { roundTrips } from './support/roundTrips.ts'
import { startMailFunction } from '../support/mail.ts'
import { newSettings } from '../support/newSettings.ts'
import { packageFunctions } from '../support/packages.ts'
import { startProxy } from '../support/proxy.ts'

const ROUNDS = 400
/** Over the refresh that counts nothing. */
const REFRESH_LIMIT = 1.1
const REFRESH_ROUND_TRIPS = 0
const LOGIN_ROUND_TRIPS = 1

/** What counts, and the same without it. */
const COUNTING: Record<string, [counting: string, without: string][]> = {
  'auth/Sessions.ts': [
    [`    { $set: countedUse },\n`, ''],
    [`branches: [tooOften, moveOn, answerAgain]`, `branches: [moveOn, answerAgain]`],
  ],
  'auth/Login.ts': [
    [`    await countAttempt(rules, now)\n    return findUserByEmail`, '    return findUserByEmail'],
    [
      `database(() => succeed(rules, now))),\n    bestEffort('upgrade`,
      `Promise.resolve()),\n    bestEffort('upgrade`,
    ],
  ],
}

/** @throws Error where the source is not as it was when COUNTING was written: both would count */
function countNothing(folder: string): void {
  for (const [file, changes] of Object.entries(COUNTING)) {
    let source = readFileSync(join(folder, file), 'utf8')
    for (const [counting, without] of changes) {
      if (source.split(counting).length !== 2)
        throw new Error(`${file} does not count like this: ${counting}`)
      source = source.replace(counting, () => without)
    }
    writeFileSync(join(folder, file), source)
  }
}

const database = await startDatabase(console.error)
const packages = [await packageFunctions(), await packageFunctions(undefined, {}, countNothing)] as const
const mailFunction = await startMailFunction(async () => undefined)
const proxy = await startProxy(`${database.uri}/bench`)

try {
  const settings = {
    ...newSettings(),
    MAIL_FUNCTION_URL: mailFunction.url,
    LIMITS: JSON.stringify({
      loginsPerEmail: 1_000_000,
      refreshesPerSession: 1_000_000,
      registrationsPerAddress: 1_000_000,
    }),
  }
  const at = async (DB: string) => ({
    counting: await loadApi(packages[0], { ...settings, DB }),
    bare: await loadApi(packages[1], { ...settings, DB }),
  })
  const { counting, bare } = await at(`${database.uri}/bench`)
  const behindProxy = await at(proxy.uri)

  const measure = (rounds: number) =>
    interleave(rounds, { bare: () => timed(bare.refresh), counting: () => timed(counting.refresh) })
  await measure(20)
  const samples = await measure(ROUNDS)
  const row = (name: keyof typeof samples, label: string) => [
    label,
    median(samples[name]).toFixed(2),
    percentile(samples[name], 0.1).toFixed(2),
    ratio(samples[name], samples.bare).toFixed(2),
  ]
  printTable([
    [`${ROUNDS} calls each, in turn`, 'median ms', 'p10 ms', 'over the bare one'],
    row('bare', 'refresh that counts nothing'),
    row('counting', 'refresh'),
  ])

  const more = async (route: 'refresh' | 'login') =>
    (await roundTrips(proxy, behindProxy.counting[route])) -
    (await roundTrips(proxy, behindProxy.bare[route]))
  const [refresh, login] = [await more('refresh'), await more('login')]
  console.log()
  printLimit('refresh / the same that counts nothing', ratio(samples.counting, samples.bare), REFRESH_LIMIT)
  console.log(`round trips that it adds: refresh ${refresh.toFixed(2)}, login ${login.toFixed(2)}`)
  printLimit('round trips that it adds to a refresh', Math.round(refresh), REFRESH_ROUND_TRIPS)
  printLimit('round trips that it adds to a login', Math.round(login), LOGIN_ROUND_TRIPS)
} finally {
  await database.stop()
  for (const { remove } of packages) remove()
}
// The bundles hold connections of their own, which nothing outside can close.
process.exit()

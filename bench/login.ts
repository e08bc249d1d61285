/**
 * How much of a login is not bcrypt: the packaged login on a local MongoDB, against one bare bcryptjs comparison of
 * the same cost. How many sessions are refreshed in the time of a login. And how often each route waits for the
 * database, which is less often than it sends a command where it sends several at the same time.
 *
 *   npx tsx bench/login.ts
 */
import bcrypt from 'bcryptjs'
import mongoose from 'mongoose'
import { startDatabase } from '../local/Database.ts'
import { loadApi, type Route } from './support/api.ts'
import {
  difference,
  interleave,
  median,
  percentile,
  printLeast,
  printLimit,
  printTable,
  ratio,
  timed,
} from '../support/measure.ts'
import { roundTrips } from './support/roundTrips.ts'
import { startMailFunction } from '../support/mail.ts'
import { newSettings } from '../support/newSettings.ts'
import { packageFunctions } from '../support/packages.ts'
import { startProxy } from '../support/proxy.ts'

const ROUNDS = 60
const COST = 10
/** Share of a login. */
const OVERHEAD_LIMIT = 0.1
/** Refreshes in the time of a login. */
const REFRESHES = 5
const ROUND_TRIPS: Record<Route, number> = { register: 3, login: 3, refresh: 2, me: 1, users: 1 }

const database = await startDatabase(console.error)
const packages = await packageFunctions()
const mailFunction = await startMailFunction(async () => undefined)
const proxy = await startProxy(`${database.uri}/bench`)
const observer = await mongoose.mongo.MongoClient.connect(database.uri)

try {
  const settings = {
    ...newSettings(),
    BCRYPT_COST: String(COST),
    MAIL_FUNCTION_URL: mailFunction.url,
    LIMITS: JSON.stringify({
      loginsPerEmail: 1_000_000,
      refreshesPerSession: 1_000_000,
      registrationsPerAddress: 1_000_000,
    }),
  }
  const api = await loadApi(packages, { ...settings, DB: `${database.uri}/bench` })
  const apiBehindProxy = await loadApi(packages, { ...settings, DB: proxy.uri })

  // Of the length that is stored: base64 of a SHA-384.
  const prehashed = 'x'.repeat(64)
  const hash = await bcrypt.hash(prehashed, COST)
  const candidates = {
    compare: () => timed(() => bcrypt.compare(prehashed, hash)),
    login: () => timed(api.login),
    register: () => timed(api.register),
    refresh: () => timed(api.refresh),
  }
  await interleave(5, candidates)
  const samples = await interleave(ROUNDS, candidates)

  const rest = difference(samples.login, samples.compare)
  const row = (name: keyof typeof samples, label: string) => [
    label,
    median(samples[name]).toFixed(1),
    percentile(samples[name], 0.1).toFixed(1),
    difference(samples[name], samples.compare).toFixed(1),
  ]
  printTable([
    [`${ROUNDS} calls each, in turn, cost ${COST}`, 'median ms', 'p10 ms', 'over bcryptjs'],
    row('compare', 'bcryptjs.compare'),
    row('login', 'login'),
    row('register', 'register'),
    row('refresh', 'refresh'),
  ])

  /** How many commands the database has taken, but for those of connections. */
  const commands = async () => {
    const { metrics } = await observer.db('admin').command({ serverStatus: 1 })
    const all = Object.entries((metrics as { commands: Record<string, { total?: number }> }).commands)
    const ofConnections = ['hello', 'isMaster', 'ismaster', 'endSessions', 'serverStatus']
    return all.reduce((sum, [name, { total = 0 }]) => sum + (ofConnections.includes(name) ? 0 : total), 0)
  }
  const waits: [route: Route, roundTrips: number, commands: number][] = []
  for (const route of Object.keys(ROUND_TRIPS) as Route[]) {
    const before = await commands()
    await api[route]()
    const sent = (await commands()) - before
    waits.push([route, await roundTrips(proxy, apiBehindProxy[route]), sent])
  }
  console.log()
  printTable([
    ['to the database', 'round trips', 'commands'],
    ...waits.map(([route, trips, sent]) => [route, trips.toFixed(2), String(sent)]),
  ])
  console.log()
  printLimit('share of a login that is not bcrypt', rest / median(samples.login), OVERHEAD_LIMIT)
  printLeast('refreshes in the time of a login', ratio(samples.login, samples.refresh), REFRESHES)
  for (const [route, trips] of waits) {
    printLimit(`database round trips of ${route}`, Math.round(trips), ROUND_TRIPS[route])
  }
} finally {
  await observer.close()
  await database.stop()
  packages.remove()
}
// The bundles hold connections of their own, which nothing outside can close.
process.exit()

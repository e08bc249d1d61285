/**
 * How much of a login is not bcrypt: the packaged login on a local MongoDB, against one bare bcryptjs comparison of
 * the same cost. How many sessions are refreshed in the time of a login. And how often each route asks the database,
 * by the database's own profiler.
 *
 *   npx tsx bench/login.ts
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import bcrypt from 'bcryptjs'
import mongoose from 'mongoose'
import type { APIGatewayProxyEvent, APIGatewayProxyResult } from 'aws-lambda'
import { startDatabase } from '../dev/LocalDatabase.ts'
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
} from './support/measure.ts'
import { request } from '../test/support/events.ts'
import { newSettings } from '../test/support/newSettings.ts'
import { packageFunctions } from '../test/support/packages.ts'

const ROUNDS = 60
const COST = 10
/** Share of a login. */
const OVERHEAD_LIMIT = 0.1
/** Refreshes in the time of a login. */
const REFRESHES = 5
const ROUND_TRIPS = { register: 3, login: 3, refresh: 2, me: 1, users: 1 }

type Handler = (event: APIGatewayProxyEvent) => Promise<APIGatewayProxyResult>
type Route = keyof typeof ROUND_TRIPS

const database = await startDatabase(console.error)
const packages = await packageFunctions()
const DB = `${database.uri}/bench`
const observer = await mongoose.mongo.MongoClient.connect(DB, { appName: 'observer' })
// The settings are read while the bundles load.
Object.assign(process.env, newSettings(), { DB, BCRYPT_COST: String(COST) })
const load = async (name: string, ...file: string[]) =>
  (await import(pathToFileURL(join(packages.folderOf(name), ...file)).href)) as Record<Route, Handler>

try {
  const handlers = {
    ...(await load('login', 'auth', 'AuthHandler.mjs')),
    ...(await load('refresh', 'auth', 'SessionHandler.mjs')),
    ...(await load('users', 'user', 'UserHandler.mjs')),
  }
  const call = async (route: Route, json?: unknown, id?: string) => {
    const { statusCode, body } = await handlers[route](request({ json, ...(id && { authorizer: { id } }) }))
    if (statusCode >= 300) throw new Error(`${route} answers ${statusCode}: ${body}`)
    return JSON.parse(body) as unknown
  }

  const password = 'a horse on the moon'
  let accounts = 0
  const register = () => call('register', { name: 'Ann', email: `ann-${++accounts}@example.com`, password })
  await register()
  const login = () => call('login', { email: 'ann-1@example.com', password })
  const [user] = (await call('users')) as [{ id: string }]
  const me = () => call('me', undefined, user.id)
  let { refreshToken } = (await login()) as { refreshToken: string }
  const refresh = async () => {
    ;({ refreshToken } = (await call('refresh', { refreshToken })) as { refreshToken: string })
  }
  await refresh()

  // Of the length that is stored: base64 of a SHA-384.
  const prehashed = 'x'.repeat(64)
  const hash = await bcrypt.hash(prehashed, COST)
  const compare = () => bcrypt.compare(prehashed, hash)
  const candidates = {
    compare: () => timed(compare),
    login: () => timed(login),
    register: () => timed(register),
    refresh: () => timed(refresh),
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

  const roundTrips = async (work: () => Promise<unknown>) => {
    const profile = observer.db().collection('system.profile')
    await observer.db().command({ profile: 2 })
    await work()
    await observer.db().command({ profile: 0 })
    const count = await profile.countDocuments({ appName: { $ne: 'observer' } })
    await profile.drop()
    return count
  }
  const counted: Record<Route, number> = {
    register: await roundTrips(register),
    login: await roundTrips(login),
    refresh: await roundTrips(refresh),
    me: await roundTrips(me),
    users: await roundTrips(() => call('users')),
  }
  console.log()
  printLimit('share of a login that is not bcrypt', rest / median(samples.login), OVERHEAD_LIMIT)
  printLeast('refreshes in the time of a login', ratio(samples.login, samples.refresh), REFRESHES)
  for (const [route, limit] of Object.entries(ROUND_TRIPS)) {
    printLimit(`database round trips of ${route}`, counted[route as Route], limit)
  }
} finally {
  await observer.close()
  await database.stop()
  packages.remove()
}
// The bundles hold connections of their own, which nothing outside can close.
process.exit()

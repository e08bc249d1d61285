/**
 * What a warm call of the packaged authorizer costs, against the least that verifying a token can cost: the same
 * ES256 tokens, verified by node:crypto with a key made once, and their header and payload decoded and parsed. And
 * against the same authorizer without the call that asks whether the token is revoked: what that adds while the feed
 * knows 100,000 revoked sessions and asks a real database every 5 s.
 *
 *   npx tsx bench/authorizer.ts
 */
import { createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import mongoose from 'mongoose'
import type { APIGatewayAuthorizerResult, APIGatewayTokenAuthorizerEvent } from 'aws-lambda'
import { signer, type KeyRing } from '../auth/Tokens.ts'
import { startDatabase } from '../local/Database.ts'
import { interleave, median, percentile, printLimit, printTable, ratio, timed } from '../support/measure.ts'
import { newSid, storeRevokedSessions } from './support/revokedSessions.ts'
import { authorizerEvent } from '../support/events.ts'
import { newSettings } from '../support/newSettings.ts'
import { packageFunctions } from '../support/packages.ts'

/** Long enough that the feed asks several times. */
const BATCHES = 1000
/** In a batch, each with the token of another session. */
const CALLS = 100
const REVOKED = 100_000
const LIMIT = 1.3
const FEED_LIMIT = 1.1

type Authorizer = (event: APIGatewayTokenAuthorizerEvent) => Promise<APIGatewayAuthorizerResult>

/** The authorizer's source for the root of the project, without the line that asks the feed. */
function sourceWithoutFeed(): string {
  const source = readFileSync(join('auth', 'VerifyToken.ts'), 'utf8')
  const without = source.replace(/^.*await isRevoked\(.*\n/m, '')
  if (without === source) throw new Error('auth/VerifyToken.ts asks the feed in another way.')
  return without.replaceAll("'./", "'./auth/").replaceAll("'../", "'./")
}

const settings = newSettings()
const { keys } = JSON.parse(settings.SIGNING_KEYS) as KeyRing
const sign = signer({ keys }, { issuer: settings.ISSUER, audience: settings.AUDIENCE })
const user = { id: '5f5f5f5f5f5f5f5f5f5f5f5f', roles: ['user'], emailVerified: false, tokenVersion: 0 }
const tokens = Array.from({ length: CALLS }, () => sign(user, newSid(), new Date()))
const events = tokens.map((token) => authorizerEvent(`Bearer ${token}`))

const publicKey = createPublicKey({ key: keys[0]!, format: 'jwk' })
const parse = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString())

/** The peer: no check of anything but the signature. */
function bare(token: string): unknown {
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' as const }
  if (!verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))) {
    throw new Error('The token does not verify.')
  }
  return [parse(header), parse(payload)]
}

const database = await startDatabase(console.error)
const packages = await packageFunctions(undefined, { WithoutFeed: sourceWithoutFeed() })
const observer = await mongoose.mongo.MongoClient.connect(database.uri)
// The settings are read while the bundles load.
Object.assign(process.env, settings, { DB: `${database.uri}/bench` })

async function load(name: string, ...file: string[]): Promise<Authorizer> {
  const bundle = join(packages.folderOf(name), ...file)
  const { handler } = (await import(pathToFileURL(bundle).href)) as { handler: Authorizer }
  const { principalId } = await handler(events[0]!)
  if (principalId !== user.id) throw new Error('The authorizer refuses the token.')
  return handler
}

const batchOf = (handler: Authorizer) => () =>
  timed(async () => {
    for (const event of events) await handler(event)
  })

/** How many queries the server has answered; a question of the feed is one for users, and an aggregation. */
const queries = async () => {
  const { opcounters } = await observer.db('admin').command({ serverStatus: 1 })
  return opcounters.query as number
}

try {
  const revoked = await storeRevokedSessions(process.env['DB']!, REVOKED)
  const authorizer = await load('verifyToken', 'auth', 'VerifyToken.mjs')
  const without = await load('WithoutFeed', 'WithoutFeed.mjs')
  const isLetIn = (handler: Authorizer) =>
    handler(authorizerEvent(sign(user, revoked, new Date()))).then(
      () => true,
      () => false,
    )
  if ((await isLetIn(authorizer)) || !(await isLetIn(without)))
    throw new Error('It is not the feed that differs.')

  const round = {
    bare: () =>
      timed(() => {
        for (const token of tokens) bare(token)
      }),
    without: batchOf(without),
    authorizer: batchOf(authorizer),
  }
  await interleave(25, round) // until all are compiled
  const before = await queries()
  const samples = await interleave(BATCHES, round)
  const questions = (await queries()) - before
  if (questions < 2) throw new Error('The feed has hardly asked.')

  const microseconds = (milliseconds: number) => ((milliseconds * 1000) / CALLS).toFixed(1)
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
  const row = (name: keyof typeof samples, label: string) => [
    label,
    microseconds(median(samples[name])),
    microseconds(percentile(samples[name], 0.1)),
    ratio(samples[name], samples.bare).toFixed(2),
    ratio(samples[name], samples.without).toFixed(2),
    (sum(samples[name]) / sum(samples.without)).toFixed(2),
  ]
  printTable([
    [
      `${BATCHES} x ${CALLS} calls each, in turn`,
      'median µs',
      'p10 µs',
      'ratio',
      'over no feed',
      'of the sums',
    ],
    row('bare', 'node:crypto verify, two JSON parts parsed'),
    row('without', 'packaged authorizer without the feed'),
    row('authorizer', 'packaged authorizer'),
  ])
  console.log(
    `The feed asked ${questions} times; the longest batch took ${Math.max(...samples.authorizer).toFixed(0)} ms.`,
  )
  printLimit('authorizer / node:crypto', ratio(samples.authorizer, samples.bare), LIMIT)
  printLimit('authorizer / the same without the feed', ratio(samples.authorizer, samples.without), FEED_LIMIT)
} finally {
  await observer.close()
  await database.stop()
  packages.remove()
}
// The bundle holds a connection of its own, which nothing outside can close.
process.exit()

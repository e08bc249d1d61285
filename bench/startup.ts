/**
 * What a start costs, as a whole Node process that loads a packaged function and ends: the authorizer over an
 * empty file, and the functions with a database over mongoose alone, bundled and minified in the same way but for our
 * aliases (serverless.yml), which are shown by themselves as well. And what the authorizer's first valid token adds
 * to its start: it loads the database client, connects and asks a local MongoDB what is revoked.
 *
 *   npx tsx bench/startup.ts
 */
import { execFile } from 'node:child_process'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { signer, type KeyRing } from '../auth/Tokens.ts'
import { startDatabase } from '../local/Database.ts'
import {
  difference,
  interleave,
  median,
  percentile,
  printLimit,
  printTable,
  ratio,
  timed,
} from '../support/measure.ts'
import { newSid } from './support/revokedSessions.ts'
import { authorizerEvent } from '../support/events.ts'
import { optionalPackages } from '../support/optionalPackages.ts'
import { newSettings } from '../support/newSettings.ts'
import { packageFunctions, startUpFiles } from '../support/packages.ts'
import { cleanEnvironment } from '../support/project.ts'

const ROUNDS = 31
/** Milliseconds over an empty Node on a machine with two cores. */
const AUTHORIZER_LIMIT = 40
const DATABASE_LIMIT = 1.2
/** Of the files that are loaded before the first token. */
const KILOBYTES_LIMIT = 100

const MONGOOSE = `import mongoose from 'mongoose'\nexport const handler = async () => mongoose.version\n`

const run = promisify(execFile)

const database = await startDatabase(console.error)
const packages = await packageFunctions(undefined, { Bare: MONGOOSE })
try {
  // Nothing connects while it loads.
  const settings = { ...newSettings(), DB: `${database.uri}/bench` }
  const { SIGNING_KEYS: _, PEPPER: __, REFRESH_TOKEN_KEY: ___, ...publicSettings } = settings
  const start =
    (file: string, environment: Partial<typeof settings> = settings) =>
    () =>
      timed(() => run(process.execPath, [file], { env: cleanEnvironment(environment) }))

  const authorizer = packages.folderOf('verifyToken')
  const empty = join(authorizer, 'empty.mjs')
  writeFileSync(empty, '')
  const token = signer(JSON.parse(settings.SIGNING_KEYS) as KeyRing, {
    issuer: settings.ISSUER,
    audience: settings.AUDIENCE,
  })(
    { id: '5f5f5f5f5f5f5f5f5f5f5f5f', roles: ['user'], emailVerified: false, tokenVersion: 0 },
    newSid(),
    new Date(),
  )
  const firstToken = join(authorizer, 'first-token.mjs')
  writeFileSync(
    firstToken,
    `import { handler } from './auth/VerifyToken.mjs'
await handler(${JSON.stringify(authorizerEvent(token))})
process.exit()
`,
  )
  // Mongoose as anybody would bundle it: with its own URL parser, which ours leaves to Node.
  const plain = join(packages.folderOf('Bare'), 'plain.mjs')
  await build({
    stdin: { contents: MONGOOSE, resolveDir: process.cwd() },
    outfile: plain,
    bundle: true,
    minify: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    external: optionalPackages,
    logLevel: 'error',
  })
  const auth = join(packages.folderOf('login'), 'auth', 'AuthHandler.mjs')
  const candidates = {
    empty: start(empty),
    authorizer: start(join(authorizer, 'auth', 'VerifyToken.mjs'), publicSettings),
    firstToken: start(firstToken, publicSettings),
    mongoose: start(plain),
    aliased: start(join(packages.folderOf('Bare'), 'Bare.mjs')),
    users: start(join(packages.folderOf('users'), 'user', 'UserHandler.mjs')),
    login: start(auth),
  }
  await interleave(2, candidates) // the files are then in the page cache
  const samples = await interleave(ROUNDS, candidates)

  const row = (name: keyof typeof samples, label: string) => [
    label,
    median(samples[name]).toFixed(1),
    percentile(samples[name], 0.1).toFixed(1),
    difference(samples[name], samples.empty).toFixed(1),
    ratio(samples[name], samples.mongoose).toFixed(2),
  ]
  printTable([
    [`${ROUNDS} starts each, in turn`, 'median ms', 'p10 ms', 'over empty', 'over mongoose'],
    row('empty', 'empty file'),
    row('authorizer', 'authorizer'),
    row('firstToken', 'authorizer and its first valid token'),
    row('mongoose', 'mongoose alone'),
    row('aliased', 'mongoose alone, with our aliases'),
    row('users', 'users'),
    row('login', 'me, login, register (one bundle)'),
  ])
  printLimit(
    'authorizer - empty file',
    difference(samples.authorizer, samples.empty),
    AUTHORIZER_LIMIT,
    ' ms',
  )
  const bytes = startUpFiles(authorizer, 'auth/VerifyToken.mjs').map(
    (file) => statSync(join(authorizer, file)).size,
  )
  const kilobytes = bytes.reduce((sum, size) => sum + size, 0) / 1000
  printLimit('files of the start of the authorizer', kilobytes, KILOBYTES_LIMIT, ' KB')
  printLimit('users / mongoose alone', ratio(samples.users, samples.mongoose), DATABASE_LIMIT)
  printLimit('me, login / mongoose alone', ratio(samples.login, samples.mongoose), DATABASE_LIMIT)
} finally {
  await database.stop()
  packages.remove()
}

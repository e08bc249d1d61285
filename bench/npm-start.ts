/**
 * Seconds from `npm start` to the first answered POST /register, in a fresh copy and again in the same copy, the lines
 * that it prints until then, and the memory of all its processes after one call of each route; against
 * `serverless offline` alone, with the same versions, on a service of one empty function.
 *
 *   npx tsx bench/npm-start.ts
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { findMongod } from '../local/Mongod.ts'
import { difference, median, percentile, printLimit, printTable } from '../support/measure.ts'
import { copyProject, tsx } from '../support/project.ts'
import { start } from './support/service.ts'

const ROUNDS = 5
/** Seconds more than the bare one. */
const LIMIT = 2.5
/** A MongoDB that finds data looks through them first. */
const SECOND_LIMIT = 3.5
const MOST_LINES = 15
const MOST_MEGABYTES = 600

const MODULES = resolve(import.meta.dirname, '..', 'node_modules')
const SERVERLESS = [process.execPath, join(MODULES, '.bin', 'serverless'), 'offline']
const ACCOUNT = { email: 'ann@example.com', password: 'a horse on the moon' }

const post = (url: string, body: object) =>
  fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })

const registers = (email: string) => async (url: string) =>
  (await post(`${url}/register`, { name: 'Ann', ...ACCOUNT, email })).status === 201

/** Every route, in an order in which each is let through to its function. */
const ROUTES = [
  'GET users',
  'GET .well-known/jwks.json',
  'GET .well-known/openid-configuration',
  'POST login/mfa',
  'POST refresh',
  'POST password/forgot',
  'POST password/reset',
  'POST email/verify',
  'POST email/verify/resend',
  'GET me',
  'PATCH me',
  'DELETE me',
  'POST me/password',
  'POST me/email',
  'GET me/mfa',
  'POST me/mfa/totp',
  'POST me/mfa/totp/confirm',
  'DELETE me/mfa/totp',
  'POST me/mfa/recovery-codes',
  'GET me/sessions',
  'DELETE me/sessions/other',
  'GET admin/users',
  'GET admin/users/nobody',
  'PATCH admin/users/nobody',
  'DELETE admin/users/nobody/sessions',
  'POST logout',
]

/** Calls each route as an admin; that most have no body to work with is an answer too. */
async function callEachRoute(url: string, folder: string): Promise<void> {
  const grant = tsx(folder, ['commands/Admin.ts', 'grant', ACCOUNT.email])
  if ((await grant.exit) !== 0) throw new Error(grant.output())
  const login = async () => ((await (await post(`${url}/login`, ACCOUNT)).json()) as { token: string }).token
  const call = async (route: string, token: string) => {
    const [method, path] = route.split(' ') as [string, string]
    const { status } = await fetch(`${url}/${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      ...(method !== 'GET' && { body: '{}' }),
    })
    if (status >= 500) throw new Error(`${route} answers ${status}.`)
  }
  const token = await login()
  for (const route of ROUTES) await call(route, token)
  await call('POST logout-all', await login())
}

/** A service of one empty function, with the plugins that this project has. */
function bareService(): string {
  const folder = mkdtempSync(join(tmpdir(), 'auth-bench-'))
  symlinkSync(MODULES, join(folder, 'node_modules'), 'junction')
  writeFileSync(join(folder, 'empty.ts'), 'export const handler = async () => ({ statusCode: 200 })\n')
  writeFileSync(join(folder, 'package.json'), '{ "name": "bare", "version": "1.0.0" }\n')
  writeFileSync(
    join(folder, 'serverless.yml'),
    `service: bare
plugins: [serverless-esbuild, serverless-offline]
provider: { name: aws, runtime: nodejs24.x }
custom: { serverless-offline: { noPrependStageInUrl: true, noSponsor: true } }
functions:
  empty: { handler: empty.handler, events: [{ http: { method: get, path: empty } }] }
`,
  )
  return folder
}

await findMongod(console.error) // fetched before the clock runs
const samples = { bare: [] as number[], first: [] as number[], second: [] as number[] }
const memory = { bare: [] as number[], ours: [] as number[] }
const lines = { bare: [] as number[], ours: [] as number[] }
/** Until the first request, which has a line of its own. */
const linesOf = (output: string) =>
  output
    .split(/^(?:GET|POST) /m)[0]!
    .trimEnd()
    .split('\n').length
const isEmptyAnswer = async (url: string) => (await fetch(`${url}/empty`)).status === 200

for (let round = 0; round < ROUNDS; round++) {
  const folder = bareService()
  const { folder: copy, remove } = copyProject()
  try {
    const bare = await start(folder, SERVERLESS, isEmptyAnswer)
    samples.bare.push(bare.seconds)
    memory.bare.push(bare.megabytes())
    lines.bare.push(linesOf(bare.output()))
    await bare.stop()

    const first = await start(copy, ['npm', 'start', '--'], registers(ACCOUNT.email))
    samples.first.push(first.seconds)
    lines.ours.push(linesOf(first.output()))
    await callEachRoute(first.url, copy)
    memory.ours.push(first.megabytes())
    await first.stop()

    const second = await start(copy, ['npm', 'start', '--'], registers('bob@example.com'))
    samples.second.push(second.seconds)
    await second.stop()
  } finally {
    rmSync(folder, { recursive: true, force: true })
    remove()
  }
}

const row = (label: string, values: number[], peer: number[], digits: number) => [
  label,
  median(values).toFixed(digits),
  percentile(values, 0.1).toFixed(digits),
  difference(values, peer).toFixed(digits),
]
printTable([
  [`${ROUNDS} starts each, in turn`, 'median', 'p10', 'over bare'],
  row('bare serverless offline, s', samples.bare, samples.bare, 2),
  row('npm start, first time, s', samples.first, samples.bare, 2),
  row('npm start, second time, s', samples.second, samples.bare, 2),
  row('memory of the bare one, MB', memory.bare, memory.bare, 0),
  row('memory after each route, MB', memory.ours, memory.bare, 0),
  row('lines of the bare one', lines.bare, lines.bare, 0),
  row('lines of npm start', lines.ours, lines.bare, 0),
])
printLimit('first npm start - bare', difference(samples.first, samples.bare), LIMIT, ' s')
printLimit('second npm start - bare', difference(samples.second, samples.bare), SECOND_LIMIT, ' s')
printLimit('memory after each route', median(memory.ours), MOST_MEGABYTES, ' MB')
printLimit('lines of npm start', Math.max(...lines.ours), MOST_LINES)

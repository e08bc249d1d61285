/**
 * Seconds from `npm start` to the first answered POST /register, in a fresh copy and again in the same copy, and the
 * memory of all its processes; against `serverless offline` alone, with the same versions, on a service of one
 * empty function.
 *
 *   npx tsx bench/npm-start.ts
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { findMongod } from '../local/Mongod.ts'
import { difference, median, percentile, printLimit, printTable } from '../support/measure.ts'
import { copyProject } from '../support/project.ts'
import { start } from './support/service.ts'

const ROUNDS = 7
/** Seconds more than the bare one. */
const LIMIT = 4

const MODULES = resolve(import.meta.dirname, '..', 'node_modules')
const SERVERLESS = [process.execPath, join(MODULES, '.bin', 'serverless'), 'offline']
const ACCOUNT = { email: 'ann@example.com', password: 'a horse on the moon' }

const post = (url: string, body: object) =>
  fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })

const registers = (email: string) => async (url: string) =>
  (await post(`${url}/register`, { name: 'Ann', ...ACCOUNT, email })).status === 201

/** Each route but those of admins. */
async function callEachRoute(url: string): Promise<void> {
  const login = async () =>
    (await (await post(`${url}/login`, ACCOUNT)).json()) as { token: string; refreshToken: string }
  const call = async (method: string, path: string, token?: string) => {
    const answer = await fetch(`${url}/${path}`, {
      method,
      ...(token && { headers: { Authorization: `Bearer ${token}` } }),
    })
    if (!answer.ok) throw new Error(`${path} answers ${answer.status}.`)
    return answer
  }
  const [one, two] = [await login(), await login()]
  const sessions = (await (await call('GET', 'me/sessions', one.token)).json()) as { id: string }[]
  const refreshed = await post(`${url}/refresh`, { refreshToken: one.refreshToken })
  if (!refreshed.ok) throw new Error(`refresh answers ${refreshed.status}.`)
  await Promise.all([
    call('GET', 'me', one.token),
    // The last in the list is that of the registration.
    call('DELETE', `me/sessions/${sessions.at(-1)!.id}`, one.token),
    ...['users', '.well-known/jwks.json', '.well-known/openid-configuration'].map((path) =>
      call('GET', path),
    ),
  ])
  await call('POST', 'logout', one.token)
  await call('POST', 'logout-all', two.token)
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
const isEmptyAnswer = async (url: string) => (await fetch(`${url}/empty`)).status === 200

for (let round = 0; round < ROUNDS; round++) {
  const folder = bareService()
  const { folder: copy, remove } = copyProject()
  try {
    const bare = await start(folder, SERVERLESS, isEmptyAnswer)
    samples.bare.push(bare.seconds)
    memory.bare.push(bare.megabytes())
    await bare.stop()

    const first = await start(copy, ['npm', 'start', '--'], registers(ACCOUNT.email))
    samples.first.push(first.seconds)
    await callEachRoute(first.url)
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
])
printLimit('first npm start - bare', difference(samples.first, samples.bare), LIMIT, ' s')
printLimit('second npm start - bare', difference(samples.second, samples.bare), LIMIT, ' s')

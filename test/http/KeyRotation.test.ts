/**
 * A whole rotation of the signing key with the real commands, under load, in which no request fails. As on AWS, old
 * and new functions serve side by side during a deployment.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, request, type Server } from 'node:http'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type KeyRing, verifier } from '../../auth/Tokens.ts'
import { freePort } from '../../local/Ports.ts'
import { generateSecrets } from '../../plugin/Secrets.ts'
import { databaseUri, dropDatabase } from '../support/database.ts'
import { type Api, copyProject, run, startApi } from '../../support/project.ts'
import { until } from '../../support/until.ts'

const MINUTE = 60_000
/** How long clients keep a token, and services a JWKS: as long as they may. */
const [TOKEN_KEPT, JWKS_KEPT] = [15 * MINUTE, 120 * MINUTE]
const CLIENTS = 3
/** So many requests are awaited in each phase. */
const ENOUGH = 25

const DB = databaseUri()
// Two copies, since two `sls offline` in one folder would overwrite each other's bundles.
const projects = [copyProject(), copyProject()]
let [live, next] = projects.map(({ folder }) => folder) as [string, string]
const secrets = () => join(live, 'secrets.json')

interface Version extends Api {
  /** Requests that it has taken, and those of them that it has not answered yet. */
  taken: number
  open: number
}
/** What serves now: two of them during a deployment. */
let versions: Version[] = []
let gateway: Server
let url: string

/** Sends each request to one of the versions. */
function route(): Server {
  // Clients keep their connections, and one that is closed as it is used would be a failure of the test's own.
  return createServer({ keepAliveTimeout: 0 }, (incoming, outgoing) => {
    const version = versions[Math.floor(Math.random() * versions.length)]!
    version.taken++
    version.open++
    outgoing.once('close', () => version.open--)
    const { method, headers } = incoming
    const passedOn = request(version.url + incoming.url, { method, headers, agent: false }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(outgoing)
    })
    passedOn.once('error', () => outgoing.writeHead(502).end())
    incoming.pipe(passedOn)
  })
}

/** Serves with the secrets of now, at first beside what serves already. */
async function deploy(): Promise<void> {
  const [folder, old] = [versions.length > 0 ? next : live, versions[0]]
  if (old) {
    copyFileSync(secrets(), join(folder, 'secrets.json'))
    ;[live, next] = [next, live]
  }
  // One person logs in all the time.
  const LIMITS = JSON.stringify({ loginsPerEmail: 1_000_000 })
  const environment = { DB, BCRYPT_COST: '4', ISSUER: url, AUDIENCE: url, LIMITS }
  const version = { ...(await startApi(folder, { environment })), taken: 0, open: 0 }
  versions.push(version)
  if (!old) return
  const before = old.taken
  await until(() => Math.min(old.taken - before, version.taken) >= ENOUGH, 'requests at both versions')
  versions = [version]
  await until(() => old.open === 0, 'the last answers of the old version')
  await old.stop()
}

/** How much later it is for the records, the clients and the services than it is, in milliseconds. */
let moved = 0
const now = () => Date.now() + moved

/** Moves the clock: what is recorded was so much earlier. */
function pass(milliseconds: number): void {
  const earlier = (text: string) =>
    text.replaceAll(/(?<=(?:At|Since|Until)": ")[^"]+/g, (time) =>
      new Date(Date.parse(time) - milliseconds).toISOString(),
    )
  moved += milliseconds
  writeFileSync(secrets(), earlier(readFileSync(secrets(), 'utf8')))
}

async function keys(...args: string[]): Promise<{ status: number | null; said: string }> {
  const command = run(live, ['npm', 'run', '--silent', 'keys', '--', ...args])
  return { status: await command.exit, said: command.output() }
}
const keyRing = () => (JSON.parse(readFileSync(secrets(), 'utf8')) as { SIGNING_KEYS: KeyRing }).SIGNING_KEYS
const kidOf = (token: string) =>
  (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid

const failures: string[] = []
let served = 0
/** How often each key was met in a token that was used. */
const used = new Map<string, number>()

async function call(path: string, options: RequestInit = {}): Promise<Record<string, string>> {
  const response = await fetch(url + path, options)
  const text = await response.text()
  served++
  if (response.status >= 300) throw new Error(`${path} answered ${response.status}: ${text}`)
  return JSON.parse(text) as Record<string, string>
}
const post = (path: string, body: object) =>
  call(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })

/** Somebody who keeps all tokens while they are good, and a service that keeps the keys while it may. */
async function client(account: { email: string; password: string }, signal: AbortSignal): Promise<void> {
  let tokens: { token: string; since: number }[] = []
  let service = { verify: verifier({ keys: [] }, { issuer: url, audience: url }), since: -Infinity }
  while (!signal.aborted) {
    // The new version should get some of the machine to start on.
    await setTimeout(100)
    try {
      tokens = tokens.filter(({ since }) => now() < since + TOKEN_KEPT)
      if (tokens.length === 0 || Math.random() < 0.2) {
        const since = now()
        tokens.push({ token: (await post('/login', account))['token']!, since })
      }
      const { token } = tokens[Math.floor(Math.random() * tokens.length)]!
      await call('/me', { headers: { Authorization: `Bearer ${token}` } })
      if (now() >= service.since + JWKS_KEPT) {
        const since = now()
        const jwks = (await call('/.well-known/jwks.json')) as unknown as KeyRing
        service = { verify: verifier(jwks, { issuer: url, audience: url }), since }
      }
      service.verify(token, new Date())
      used.set(kidOf(token), (used.get(kidOf(token)) ?? 0) + 1)
    } catch (error) {
      failures.push((error as Error).message)
    }
  }
}

beforeAll(async () => {
  const port = await freePort('127.0.0.1')
  url = `http://127.0.0.1:${port}`
  gateway = route().listen(port, '127.0.0.1')
  generateSecrets(live)
  await deploy()
}, 60_000)

afterAll(async () => {
  await Promise.all(versions.map((version) => version.stop()))
  gateway.close()
  for (const { remove } of projects) remove()
  await dropDatabase(DB)
})

test('the signing key is replaced, and nobody notices', async () => {
  const stop = new AbortController()
  const accounts = Array.from({ length: CLIENTS }, (_, index) => ({
    email: `ann-${index}@example.com`,
    password: 'a horse on the moon',
  }))
  await Promise.all(accounts.map((account) => post('/register', { name: 'Ann', ...account })))
  const clients = accounts.map((account) => client(account, stop.signal))
  const moreRequests = async () => {
    const before = served
    await until(() => served >= before + ENOUGH, 'requests')
  }
  const [old] = keyRing().keys as [KeyRing['keys'][number]]
  await moreRequests()

  // Add, deploy, and wait until every service knows the key.
  expect(await keys('add')).toMatchObject({ status: 0 })
  const { kid } = keyRing().keys[1]!
  expect((await keys('promote', kid)).said).toContain('is not known to be published')
  await deploy()
  pass(119 * MINUTE)
  expect(await keys('promote', kid)).toEqual({
    status: 1,
    said: expect.stringMatching(/You can promote it from \S+ on\.\n$/),
  })
  await moreRequests()
  pass(MINUTE)
  expect(used.has(kid)).toBe(false)

  // Promote, deploy, and wait until every token of the old key is dead.
  expect(await keys('promote', kid)).toMatchObject({ status: 0 })
  expect((await keys('remove', old.kid)).said).toContain('may still sign')
  await deploy()
  await moreRequests()
  pass(15 * MINUTE)
  expect(await keys('remove', old.kid)).toEqual({
    status: 1,
    said: expect.stringMatching(/You can remove it from \S+ on\.\n$/),
  })
  pass(MINUTE / 2)

  // Remove and deploy.
  expect(await keys('remove', old.kid)).toMatchObject({ status: 0 })
  await deploy()
  await moreRequests()
  stop.abort()
  await Promise.all(clients)

  expect(failures).toEqual([])
  expect([...used.keys()]).toEqual([old.kid, kid])
  expect(Math.min(...used.values())).toBeGreaterThan(ENOUGH)
  const jwks = (await call('/.well-known/jwks.json')) as unknown as KeyRing
  expect(jwks.keys.map((key) => key.kid)).toEqual([kid])
  const { token } = await post('/login', accounts[0]!)
  expect(kidOf(token!)).toBe(kid)
}, 240_000)

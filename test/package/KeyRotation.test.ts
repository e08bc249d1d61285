/**
 * A whole rotation of the signing key with the real commands, under load, in which no request fails. As on AWS, old
 * and new functions serve side by side during a deployment.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type KeyRing, verifier } from '../../auth/Tokens.ts'
import { keys as runCommand } from '../../commands/KeysCommand.ts'
import { freePort } from '../../local/Ports.ts'
import { generateSecrets, Secrets } from '../../plugin/Secrets.ts'
import { jsonOf, send, type Sent } from '../../support/http.ts'
import { newSettings } from '../../support/newSettings.ts'
import { copyProject, run } from '../../support/project.ts'
import { until } from '../../support/until.ts'
import { databaseUri, dropDatabase } from '../support/database.ts'
import { type Deployment, startDeployment } from '../support/deployment.ts'
import { recordDeployed } from '../support/plugin.ts'
import { sharedPackages } from '../support/shared.ts'

const MINUTE = 60_000
/** How long clients keep a token, and services a JWKS: as long as they may. */
const [TOKEN_KEPT, JWKS_KEPT] = [15 * MINUTE, 120 * MINUTE]
const CLIENTS = 3
/** So many requests are awaited in each phase. */
const ENOUGH = 25

const DB = databaseUri()
const { folder, remove } = copyProject()
const secrets = join(folder, 'secrets.json')

interface Version extends Deployment {
  /** Requests that it has taken, and those of them that it has not answered yet. */
  taken: number
  open: number
}
/** What serves now: two of them during a deployment. */
let versions: Version[] = []
let built: Awaited<ReturnType<typeof sharedPackages>>
let gateway: Server
let url: string

/** Sends each request to one of the versions. */
function route(): Server {
  return createServer((incoming, outgoing) => {
    const version = versions[Math.floor(Math.random() * versions.length)]!
    version.taken++
    version.open++
    outgoing.once('close', () => version.open--)
    const { method, headers } = incoming
    void text(incoming)
      .then((body) => version.answer(method!, incoming.url!, headers as Record<string, string>, body))
      .catch((error: Error) => ({ statusCode: 502, body: error.message }))
      .then(({ statusCode, body }) => outgoing.writeHead(statusCode).end(body))
  })
}

/** Serves with the secrets of now, at first beside what serves already. */
const deploy = () => recordDeployed(folder, { meanwhile: replaceVersion })

async function replaceVersion(): Promise<void> {
  const settings = new Secrets(folder, 'dev', {})
  const version = {
    ...startDeployment(built, {
      DB,
      SIGNING_KEYS: settings.get('SIGNING_KEYS')!,
      VERIFICATION_KEYS: settings.get('VERIFICATION_KEYS')!,
      ISSUER: url,
      AUDIENCE: url,
      // One person logs in all the time.
      LIMITS: JSON.stringify({ loginsPerEmail: 1_000_000 }),
      MAIL_FUNCTION_URL: newSettings().MAIL_FUNCTION_URL,
    }),
    taken: 0,
    open: 0,
  }
  versions.push(version)
  const [old] = versions as [Version]
  if (old === version) return
  const before = old.taken
  await until(() => Math.min(old.taken - before, version.taken) >= ENOUGH, 'requests at both versions')
  versions = [version]
  await until(() => old.open === 0, 'the last answers of the old version')
  await old.stop()
}

/** How much later it is for the records, the clients and the services than it is, in milliseconds. */
let moved = 0
const now = () => Date.now() + moved

/** What the clients do now. */
const rounds = new Set<Promise<void>>()

/** Moves the clock: what is recorded was so much earlier. What has begun before does not take that long: it ends first. */
async function pass(milliseconds: number): Promise<void> {
  const earlier = (text: string) =>
    text.replaceAll(/(?<=(?:At|Since|Until)": ")[^"]+/g, (time) =>
      new Date(Date.parse(time) - milliseconds).toISOString(),
    )
  moved += milliseconds
  writeFileSync(secrets, earlier(readFileSync(secrets, 'utf8')))
  await Promise.all(rounds)
}

async function keys(...args: string[]): Promise<{ status: number; said: string }> {
  let said = ''
  const stream = { write: (text: string) => (said += text) }
  return { status: await runCommand(args, folder, { stdout: stream, stderr: stream }), said }
}
const keyRing = () => (JSON.parse(readFileSync(secrets, 'utf8')) as { SIGNING_KEYS: KeyRing }).SIGNING_KEYS
const kidOf = (token: string) =>
  (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid

const failures: string[] = []
let served = 0
/** How often each key was met in a token that was used. */
const used = new Map<string, number>()

async function call(path: string, sent: Sent = {}): Promise<Record<string, string>> {
  const response = await send(url + path, sent)
  served++
  if (response.status >= 300) throw new Error(`${path} answered ${response.status}: ${await response.text()}`)
  return jsonOf(response)
}
const post = (path: string, json: object) => call(path, { json })

/** Somebody who keeps all tokens while they are good, and a service that keeps the keys while it may. */
async function client(account: { email: string; password: string }, signal: AbortSignal): Promise<void> {
  let tokens: { token: string; since: number }[] = []
  let service = { verify: verifier({ keys: [] }, { issuer: url, audience: url }), since: -Infinity }
  const round = async () => {
    try {
      tokens = tokens.filter(({ since }) => now() < since + TOKEN_KEPT)
      if (tokens.length === 0 || Math.random() < 0.2) {
        const since = now()
        tokens.push({ token: (await post('/login', account))['token']!, since })
      }
      const { token } = tokens[Math.floor(Math.random() * tokens.length)]!
      await call('/me', { token })
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
  while (!signal.aborted) {
    // The new version should get some of the machine to start on.
    await setTimeout(50)
    const current = round()
    rounds.add(current)
    await current
    rounds.delete(current)
  }
}

beforeAll(async () => {
  built = await sharedPackages()
  const port = await freePort('127.0.0.1')
  url = `http://127.0.0.1:${port}`
  gateway = route().listen(port, '127.0.0.1')
  // Those of the file, not of the environment, are deployed.
  delete process.env['SIGNING_KEYS']
  generateSecrets(folder)
  await deploy()
})

afterAll(async () => {
  await Promise.all(versions.map((version) => version.stop()))
  gateway?.close()
  built?.remove()
  remove()
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

  // Add, deploy, and wait until every service knows the key. This one as people run it.
  expect(await run(folder, ['npm', 'run', '--silent', 'keys', '--', 'add']).exit).toBe(0)
  const { kid } = keyRing().keys[1]!
  expect((await keys('promote', kid)).said).toContain('is not known to be published')
  await deploy()
  await pass(119 * MINUTE)
  expect(await keys('promote', kid)).toEqual({
    status: 1,
    said: expect.stringMatching(/You can promote it from \S+ on\.\n$/),
  })
  await moreRequests()
  await pass(MINUTE)
  expect(used.has(kid)).toBe(false)

  // Promote, deploy, and wait until every token of the old key is dead.
  expect(await keys('promote', kid)).toMatchObject({ status: 0 })
  expect((await keys('remove', old.kid)).said).toContain('may still sign')
  await deploy()
  await moreRequests()
  await pass(15 * MINUTE)
  expect(await keys('remove', old.kid)).toEqual({
    status: 1,
    said: expect.stringMatching(/You can remove it from \S+ on\.\n$/),
  })
  await pass(MINUTE / 2)

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

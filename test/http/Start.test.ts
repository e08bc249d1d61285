/**
 * Starting and stopping on a laptop: secrets, ports and the local database.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../local/Ports.ts'
import { sharedApi } from '../support/shared.ts'
import { copyProject, sls, startApi, tsx } from '../../support/project.ts'
import { send } from '../../support/http.ts'
import { until } from '../../support/until.ts'

const project = copyProject()
afterAll(() => project.remove())

const secretsFile = join(project.folder, 'secrets.json')
const register = (url: string, email: string) =>
  fetch(`${url}/register`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: 'Ann', email, password: 'a horse on the moon' }),
  })

/** The processes that have a text in their command line; zombies have none. */
const processesWith = (text: string) =>
  execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(text) && !line.includes('ps -eo'))

const nothingLeft = async ({ url }: { url: string }) => {
  // The mongod has the folder in its command line, what serves has its port.
  for (const text of [project.folder, `--httpPort ${new URL(url).port}`]) {
    await until(() => processesWith(text).length === 0, `no process with ${text}`)
  }
}

describe('a start with nothing set', () => {
  test('makes secrets that only the owner reads, prints three lines that work, and ends by SIGTERM without a trace', async () => {
    const api = await startApi(project.folder, { npm: true, quiet: true })
    expect(statSync(secretsFile).mode & 0o777).toBe(0o600)
    expect(Object.keys(JSON.parse(readFileSync(secretsFile, 'utf8')))).toEqual([
      'SIGNING_KEYS',
      'PEPPER',
      'REFRESH_TOKEN_KEY',
    ])

    expect(api.output().trimEnd().split('\n').length).toBeLessThanOrEqual(15)
    const lines = api.output().match(/^ {2}curl .+$/gm)!
    const [registered, me, users] = lines.map((line) =>
      JSON.parse(execFileSync('sh', ['-c', line.replaceAll('curl ', 'curl -s ')], { encoding: 'utf8' })),
    )
    expect(registered).toMatchObject({ auth: true, tokenType: 'Bearer' })
    expect(me).toMatchObject({ name: 'Ann', roles: ['user'] })
    expect(users).toContainEqual(expect.objectContaining({ name: 'Ann' }))

    await until(() => /^GET \/users 200 \d+ ms$/m.test(api.output()), 'the line of the request')
    expect(api.output()).not.toContain('"level"')
    expect((await register(api.url, 'bea@example.com')).status).toBe(201)

    const mails = join(project.folder, '.dev', 'mail')
    const mail = () => readdirSync(mails).find((file) => /bea@example\.com.*\.txt$/.test(file))
    await until(() => existsSync(mails) && mail() !== undefined, 'the mail')
    const [, token] = /#token=(\S+)/.exec(readFileSync(join(mails, mail()!), 'utf8'))!
    expect((await send(`${api.url}/email/verify`, { json: { token } })).status).toBe(204)

    // Without DB it is this database, which runs.
    const grant = () => tsx(project.folder, ['commands/Admin.ts', 'grant', 'bea@example.com'])
    const beside = grant()
    expect([await beside.exit, beside.output()]).toEqual([
      0,
      expect.stringContaining('Ann is now an admin in '),
    ])
    expect((await register(api.url, 'still-there@example.com')).status).toBe(201)

    // To npm alone, as a supervisor or an editor's stop button sends it; npm does not pass it on.
    api.process.kill('SIGTERM')
    await api.exit
    await nothingLeft(api)

    // And it need not run.
    const alone = grant()
    expect([await alone.exit, alone.output()]).toEqual([
      0,
      expect.stringContaining('Ann is now an admin in '),
    ])
    await nothingLeft(api)
  }, 120_000)

  test('keeps its secrets and data for the next start, also after kill -9 of the whole tree', async () => {
    const secrets = readFileSync(secretsFile, 'utf8')
    const api = await startApi(project.folder, { detached: true })
    expect((await register(api.url, 'kept@example.com')).status).toBe(201)
    // Acknowledged, and at once everything is gone.
    const mongod = processesWith('mongod ').find((line) => line.includes(project.folder))!
    process.kill(-api.process.pid!, 'SIGKILL')
    process.kill(Number(mongod.trim().split(' ')[0]), 'SIGKILL')
    await api.exit
    await nothingLeft(api)

    const again = await startApi(project.folder)
    expect(readFileSync(secretsFile, 'utf8')).toBe(secrets)
    expect((await register(again.url, 'kept@example.com')).status).toBe(409)

    // A second copy on the same data says so; on data of its own it runs beside the first.
    const second = sls(project.folder, ['offline', '--httpPort', String(await freePort('localhost'))])
    expect(await second.exit).toBe(1)
    expect(second.output()).toMatch(
      /The local database in \S+ is in use: this API is already running\. Stop it, or set DB/,
    )
    expect(second.output()).not.toMatch(/^\s+at /m)
    const other = await sharedApi('bareApi')
    expect((await register(other.url, 'kept@example.com')).status).toBe(201)

    // Only the parent dies: its mongod follows by itself.
    again.process.kill('SIGKILL')
    await again.exit
    await nothingLeft(again)
  }, 180_000)
})

test('a start that is refused while its database starts ends, and leaves nothing behind', async () => {
  const { folder, remove } = copyProject()
  try {
    const yaml = join(folder, 'serverless.yml')
    const open = readFileSync(yaml, 'utf8').replace('path: me, authorizer: *authorizer', 'path: me')
    writeFileSync(yaml, open)
    const refused = sls(folder, ['offline', '--httpPort', String(await freePort('localhost'))])
    expect(await refused.exit).toBe(1)
    expect(refused.output()).toContain(
      'GET /me declares a role, so it needs the authorizer in serverless.yml.',
    )
    await until(() => processesWith(folder).length === 0, 'no process of the refused start')
  } finally {
    remove()
  }
}, 60_000)

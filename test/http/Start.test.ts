/**
 * Starting and stopping on a laptop: secrets, ports and the local database.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { LOCAL_FOLDER, startDatabase } from '../../local/Database.ts'
import { compileModule } from '../../support/command.ts'
import { codeOf, jsonOf, send } from '../../support/http.ts'
import { type Api, copyProject, run, startApi } from '../../support/project.ts'
import { until } from '../../support/until.ts'
import { sharedApi } from '../support/shared.ts'

const project = copyProject()
afterAll(() => project.remove())

const secretsFile = join(project.folder, 'secrets.json')
const register = (url: string, email: string) =>
  send(`${url}/register`, { json: { name: 'Ann', email, password: 'a horse on the moon' } })

/** The processes that have a text in their command line; zombies have none. */
const processesWith = (text: string) =>
  execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(text) && !line.includes('ps -eo'))

/** The mongod has the folder in its command line. */
const killMongod = () => {
  const mongod = processesWith('mongod ').find((line) => line.includes(project.folder))!
  process.kill(Number(mongod.trim().split(' ')[0]), 'SIGKILL')
}

const nothingLeft = async ({ url }: Partial<Api> = {}) => {
  // What serves has its port.
  for (const text of [project.folder, ...(url ? [`--httpPort ${new URL(url).port}`] : [])]) {
    await until(() => processesWith(text).length === 0, `no process with ${text}`)
  }
}

describe('a start with nothing set', () => {
  let secrets: string
  let api: Api
  let token: string

  test('makes secrets that only the owner reads', async () => {
    api = await startApi(project.folder, { detached: true })
    expect(api.output()).toContain('Created secrets.json')
    expect(statSync(secretsFile).mode & 0o777).toBe(0o600)
    secrets = readFileSync(secretsFile, 'utf8')
    expect(Object.keys(JSON.parse(secrets))).toEqual(['SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY'])
    const registered = await register(api.url, 'kept@example.com')
    // Acknowledged, and at once the database is gone.
    killMongod()
    expect(registered.status).toBe(201)
    token = (await jsonOf(registered))['token']!
  })

  test('has an authorizer that lets nobody in while it has never reached the database, and says so with a 503', async () => {
    const answer = await send(`${api.url}/me`, { token })
    expect([answer.status, await codeOf(answer.clone())]).toEqual([503, 'unavailable'])
    expect(answer.headers.get('retry-after')).toBe('5')
    expect(api.output()).toContain('cannot load revocations')
    // Garbage is known as such without asking anybody.
    expect(await codeOf(await send(`${api.url}/me`, { token: `${token}x` }))).toBe('invalid_token')
  })

  test('leaves no process after kill -9 of the whole tree', async () => {
    process.kill(-api.process.pid!, 'SIGKILL')
    await api.exit
    await nothingLeft(api)
    expect(processesWith(project.folder)).toEqual([])
  })

  test('keeps its secrets and data for the next start, which prints three lines that work, and ends by SIGTERM without a trace', async () => {
    const npmStart = await startApi(project.folder, { npm: true, quiet: true, detached: true })
    expect(readFileSync(secretsFile, 'utf8')).toBe(secrets)
    expect((await register(npmStart.url, 'kept@example.com')).status).toBe(409)

    // The first start has one line more, of the secrets that it makes.
    const printed = npmStart.output().split('POST /register')[0]!.trimEnd().split('\n')
    expect(printed.length).toBeLessThanOrEqual(14)
    const lines = npmStart.output().match(/^ {2}curl .+$/gm)!
    const [registered, me, users] = lines.map((line) =>
      JSON.parse(execFileSync('sh', ['-c', line.replaceAll('curl ', 'curl -s ')], { encoding: 'utf8' })),
    )
    expect(registered).toMatchObject({ auth: true, tokenType: 'Bearer' })
    expect(me).toMatchObject({ name: 'Ann', roles: ['user'] })
    expect(users).toContainEqual(expect.objectContaining({ name: 'Ann' }))

    await until(() => /^GET \/users 200 \d+ ms$/m.test(npmStart.output()), 'the line of the request')
    expect(npmStart.output()).not.toContain('"level"')
    expect((await register(npmStart.url, 'bea@example.com')).status).toBe(201)

    // A second one on the same data says so; on data of its own it runs beside the first.
    await expect(startDatabase(() => undefined, join(project.folder, LOCAL_FOLDER))).rejects.toThrow(
      /^The local database in \S+ is in use: this API is already running\. Stop it, or set DB/,
    )
    const other = await sharedApi('bareApi')
    expect((await register(other.url, 'kept@example.com')).status).toBe(201)

    const mails = join(project.folder, '.dev', 'mail')
    const mail = () => readdirSync(mails).find((file) => /bea@example\.com.*\.txt$/.test(file))
    await until(() => existsSync(mails) && mail() !== undefined, 'the mail')
    const [, link] = /#token=(\S+)/.exec(readFileSync(join(mails, mail()!), 'utf8'))!
    expect((await send(`${npmStart.url}/email/verify`, { json: { token: link } })).status).toBe(204)

    // Without DB it is this database, which runs.
    const { command, remove } = await compileModule('commands/Admin.ts')
    const grant = async () => {
      const { exit, output } = run(project.folder, [...command, 'grant', 'bea@example.com'])
      return [await exit, output()]
    }
    const granted = [0, expect.stringContaining('Ann is now an admin in ')]
    expect(await grant()).toEqual(granted)
    expect((await register(npmStart.url, 'still-there@example.com')).status).toBe(201)

    // To npm alone, as a supervisor or an editor's stop button sends it; npm does not pass it on.
    npmStart.process.kill('SIGTERM')
    await npmStart.exit
    await nothingLeft(npmStart)

    // And it need not run.
    expect(await grant()).toEqual(granted)
    remove()
    await nothingLeft()
  })
})

test('a mongod whose parent is killed ends by itself', async () => {
  const { command, remove } = await compileModule('local/Database.ts')
  const [node, module] = command as [string, string]
  const script = `import { startDatabase } from '${pathToFileURL(module).href}'
await startDatabase(() => undefined, '${join(project.folder, LOCAL_FOLDER)}')
console.log('it runs')
setInterval(() => undefined, 1000)`
  const parent = run(project.folder, [node, '--input-type=module', '--eval', script])
  await until(() => parent.output().includes('it runs'), 'the database')
  expect(processesWith('mongod ').filter((line) => line.includes(project.folder))).toHaveLength(1)
  parent.process.kill('SIGKILL')
  await parent.exit
  await nothingLeft()
  remove()
})

test('a start that is refused while its database starts ends, and leaves nothing behind', async () => {
  const { folder, remove } = copyProject()
  try {
    const yaml = join(folder, 'serverless.yml')
    const open = readFileSync(yaml, 'utf8').replace('path: me, authorizer: *authorizer', 'path: me')
    writeFileSync(yaml, open)
    const message = await startApi(folder).then(
      () => 'it serves',
      (error: Error) => error.message,
    )
    expect(message).toMatch(/^sls offline ended with 1:/)
    expect(message).toContain('GET /me declares a role, so it needs the authorizer in serverless.yml.')
    await until(() => processesWith(folder).length === 0, 'no process of the refused start')
  } finally {
    remove()
  }
})

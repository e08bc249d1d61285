/**
 * Mail as it goes on a laptop: into a folder, or to an SMTP server, alive and dead.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { databaseUri, dropDatabase } from '../support/database.ts'
import { type SmtpServer, startSmtp } from '../../support/mail.ts'
import { type Api, copyProject, sls, startApi } from '../../support/project.ts'
import { until } from '../../support/until.ts'

const DB = databaseUri()
const project = copyProject()
const folder = join(project.folder, '.dev', 'mail')
const PASSWORD = 'a horse on the moon'
let api: Api

afterAll(async () => {
  project.remove()
  await dropDatabase(DB)
})

async function call(method: string, path: string, json?: unknown, token?: string) {
  const answer = await fetch(api.url + path, {
    method,
    headers: { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) },
    ...(json !== undefined && { body: JSON.stringify(json) }),
  })
  const text = await answer.text()
  return { status: answer.status, body: (text ? JSON.parse(text) : {}) as Record<string, unknown> }
}

const register = (email: string) => call('POST', '/register', { name: 'Ann', email, password: PASSWORD })
const logIn = async (email: string) => {
  const { body } = await call('POST', '/login', { email, password: PASSWORD })
  return body['token'] as string
}

/** The lines of the log that say what became of a mail. */
const logged = (event: string) =>
  api
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { event?: string; mail?: string; requestId?: string })
    .filter((line) => line.event === event)

describe('without SMTP_URL', () => {
  beforeAll(async () => {
    api = await startApi(project.folder, { environment: { DB, BCRYPT_COST: '4' } })
  })
  afterAll(() => api.stop())

  test('a registration writes its mail as text and HTML and prints the link, whose token verifies the e-mail', async () => {
    const email = 'ann@example.com'
    expect(await register(email)).toMatchObject({ status: 201 })
    const printed = /^Mail to ann@example\.com, "Confirm your email address for Auth": (\S+)$/m
    await until(() => printed.test(api.output()), 'the link of the mail')
    const [, link] = printed.exec(api.output())!
    expect(link).toMatch(new RegExp(`^${api.url}/verify-email#token=[\\w.-]+$`))

    const files = readdirSync(folder).toSorted()
    expect(files).toEqual([expect.stringMatching(/\.html$/), expect.stringMatching(/\.txt$/)])
    const [html, text] = files.map((file) => readFileSync(join(folder, file), 'utf8'))
    expect(text).toContain(`To: ${email}\nSubject: Confirm your email address for Auth\n`)
    expect(text!.split('\n')).toContain(link)
    expect(html).toContain(`<a href="${link}"`)

    const json = { token: link!.split('#token=')[1] }
    expect(await call('POST', '/email/verify', json)).toEqual({ status: 204, body: {} })
    expect(await call('POST', '/email/verify', json)).toMatchObject({
      status: 400,
      body: { code: 'invalid_one_time_token' },
    })
    expect(await call('GET', '/me', undefined, await logIn(email))).toMatchObject({
      status: 200,
      body: { email, emailVerified: true },
    })
  })

  test('DELETE /me takes its JSON body', async () => {
    const email = 'bea@example.com'
    await register(email)
    const token = await logIn(email)
    const remove = (json?: unknown) => call('DELETE', '/me', json, token)
    expect(await remove()).toMatchObject({ status: 400, body: { code: 'invalid_json' } })
    expect(await remove({ currentPassword: 'wrong' })).toMatchObject({
      status: 403,
      body: { code: 'wrong_password' },
    })
    expect(await remove({ currentPassword: PASSWORD })).toEqual({ status: 204, body: {} })
    expect(await call('POST', '/login', { email, password: PASSWORD })).toMatchObject({ status: 401 })
    await until(
      () => api.output().includes(`Mail to ${email}, "Auth: your account was deleted": see `),
      'the mail of the end of the account',
    )
  })
})

describe('with SMTP_URL', () => {
  let smtp: SmtpServer
  const MAIL_FROM = 'Example <no-reply@auth.test>'

  test('the start asks for MAIL_FROM, and then only for it', async () => {
    const run = sls(project.folder, ['offline'], { DB, SMTP_URL: 'smtp://127.0.0.1:1' })
    expect(await run.exit).toBe(1)
    expect(run.output()).toContain('Missing settings: MAIL_FROM. Set them in secrets.json')
    expect(run.output()).not.toMatch(/^\s+at /m)
  })

  describe('and a server there', () => {
    beforeAll(async () => {
      smtp = await startSmtp()
      const APP_URL = 'https://app.test'
      const environment = { DB, BCRYPT_COST: '4', SMTP_URL: smtp.url, MAIL_FROM, APP_URL }
      api = await startApi(project.folder, { environment })
    })
    afterAll(() => api.stop())

    test('the server gets the mail, and no folder and no terminal does', async () => {
      const email = 'cyd@example.com'
      const before = existsSync(folder) ? readdirSync(folder) : []
      await register(email)
      const { from, to, text, html, token } = await smtp.next(email)
      expect({ from, to }).toEqual({ from: MAIL_FROM, to: email })
      expect(text).toContain(`https://app.test/verify-email#token=${token}`)
      expect(html).toContain(`https://app.test/verify-email#token=${token}`)
      expect(await call('POST', '/email/verify', { token })).toMatchObject({ status: 204 })
      expect(existsSync(folder) ? readdirSync(folder) : []).toEqual(before)
      expect(api.output()).not.toContain('Mail to ')
    })

    test('a server that refuses a mail, and one that is dead, change no answer; the log says it, and the API lives on', async () => {
      const email = 'dan@example.com'
      await register(email)
      await smtp.next(email)
      const forgot = () => call('POST', '/password/forgot', { email })
      const good = await forgot()
      expect(good.status).toBe(202)
      await smtp.next(email)

      smtp.refuse(new Error(`no mail for ${email}`))
      expect(await forgot()).toEqual(good)
      await until(() => logged('mail_failed').length === 1, 'the refused mail in the log')

      smtp.refuse(undefined)
      expect(await forgot()).toEqual(good)
      await smtp.next(email)

      await smtp.stop()
      const other = 'eve@example.com'
      expect(await register(other)).toMatchObject({ status: 201 })
      await until(() => logged('mail_failed').length === 2, 'the mail to a dead server in the log')
      expect(logged('mail_failed')).toEqual([
        expect.objectContaining({ mail: 'passwordReset', requestId: expect.any(String) }),
        expect.objectContaining({ mail: 'emailVerification', requestId: expect.any(String) }),
      ])
      for (const address of [email, other]) expect(api.output()).not.toContain(address)
      expect(await call('GET', '/me', undefined, await logIn(other))).toMatchObject({ status: 200 })
    })
  })
})

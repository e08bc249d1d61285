/**
 * Mail as it goes on a laptop: into a folder, or to an SMTP server, alive and dead.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jsonOf, send } from '../../support/http.ts'
import { type SmtpServer, startSmtp } from '../../support/mail.ts'
import { newSettings } from '../../support/newSettings.ts'
import { until } from '../../support/until.ts'
import { checkSettings } from '../support/plugin.ts'
import { sharedApi, type SharedApi } from '../support/shared.ts'

const PASSWORD = 'a horse on the moon'
let api: SharedApi
/** Where the mails of this API are on a laptop. */
let folder: string

const use = (name: Parameters<typeof sharedApi>[0]) => async () => {
  api = await sharedApi(name)
  folder = join(api.folder, '.dev', 'mail')
}

async function call(method: string, path: string, json?: unknown, token?: string) {
  // Also where there is no body.
  const headers = { 'Content-Type': 'application/json' }
  const answer = await send(api.url + path, { method, json, token, headers })
  return { status: answer.status, body: await jsonOf<Record<string, unknown>>(answer) }
}

const register = (email: string) => call('POST', '/register', { name: 'Ann', email, password: PASSWORD })
const logIn = async (email: string) => {
  const { body } = await call('POST', '/login', { email, password: PASSWORD })
  return body['token'] as string
}

const idOf = ({ body }: { body: Record<string, unknown> }): string => decode(body['token'] as string).sub
const decode = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { sub: string }

/** The lines of the log about mails to somebody that could not be sent. */
const failed = async (userId: string) =>
  (await api.output())
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { event?: string; mail?: string; userId?: string })
    .filter((line) => line.event === 'mail_failed' && line.userId === userId)

describe('without SMTP_URL', () => {
  beforeAll(use('bareApi'))

  test('a registration writes its mail as text and HTML and prints the link, whose token verifies the email', async () => {
    const email = 'ann@example.com'
    expect(await register(email)).toMatchObject({ status: 201 })
    const printed = /^Mail to ann@example\.com, "Confirm your email address for Auth": (\S+)$/m
    await until(async () => printed.test(await api.output()), 'the link of the mail')
    const [, link] = printed.exec(await api.output())!
    expect(link).toMatch(new RegExp(`^${api.url}/verify-email#token=[\\w.-]+$`))

    const files = readdirSync(folder)
      .filter((name) => name.includes(`-${email}-`))
      .toSorted()
    expect(files).toEqual([expect.stringMatching(/\.html$/), expect.stringMatching(/\.txt$/)])
    const [html, text] = files.map((file) => readFileSync(join(folder, file), 'utf8'))
    expect(text).toContain(`To: ${email}\nSubject: Confirm your email address for Auth\n`)
    expect(text!.split('\n')).toContain(link)
    expect(html).toContain(`<a href="${link}"`)

    const json = { token: link!.split('#token=')[1], password: PASSWORD }
    expect(await call('POST', '/email/verify', json)).toMatchObject({ status: 200, body: { auth: true } })
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
      async () => (await api.output()).includes(`Mail to ${email}, "Auth: your account was deleted": see `),
      'the mail of the end of the account',
    )
  })
})

describe('with SMTP_URL', () => {
  let smtp: SmtpServer

  test('the start asks for MAIL_FROM, and then only for it', async () => {
    const environment = { ...newSettings(), MAIL_FROM: '' }
    expect(await checkSettings(tmpdir(), 'offline', environment)).toEqual({
      said: '',
      refusal: expect.stringMatching(/^Missing settings: MAIL_FROM\. Set them in secrets\.json/),
    })
  })

  describe('and a server there', () => {
    beforeAll(use('api'))
    beforeAll(async () => {
      smtp = await startSmtp(Number(new URL(api.environment['SMTP_URL']!).port))
    })

    test('the server gets the mail, and no folder and no terminal does', async () => {
      const email = 'cyd@example.com'
      const before = existsSync(folder) ? readdirSync(folder) : []
      await register(email)
      const { from, to, text, html, token } = await smtp.next(email)
      expect({ from, to }).toEqual({ from: api.environment['MAIL_FROM'], to: email })
      expect(text).toContain(`https://app.test/verify-email#token=${token}`)
      expect(html).toContain(`https://app.test/verify-email#token=${token}`)
      expect(await call('POST', '/email/verify', { token, password: PASSWORD })).toMatchObject({
        status: 200,
      })
      expect(existsSync(folder) ? readdirSync(folder) : []).toEqual(before)
      expect(await api.output()).not.toContain('Mail to ')
    })

    test('a server that refuses a mail, and one that is dead, change no answer; the log says it, and the API lives on', async () => {
      const email = 'dan@example.com'
      const dan = idOf(await register(email))
      await smtp.next(email)
      const forgot = () => call('POST', '/password/forgot', { email })
      const good = await forgot()
      expect(good.status).toBe(202)
      await smtp.next(email)

      smtp.refuse(new Error(`no mail for ${email}`))
      expect(await forgot()).toEqual(good)
      await until(async () => (await failed(dan)).length === 1, 'the refused mail in the log')

      smtp.refuse(undefined)
      expect(await forgot()).toEqual(good)
      await smtp.next(email)

      await smtp.stop()
      const other = 'eve@example.com'
      const registered = await register(other)
      expect(registered).toMatchObject({ status: 201 })
      const eve = idOf(registered)
      await until(async () => (await failed(eve)).length === 1, 'the mail to a dead server in the log')
      expect([...(await failed(dan)), ...(await failed(eve))]).toEqual([
        expect.objectContaining({ mail: 'passwordReset', requestId: expect.any(String) }),
        expect.objectContaining({ mail: 'emailVerification', requestId: expect.any(String) }),
      ])
      const output = await api.output()
      for (const address of [email, other]) expect(output).not.toContain(address)
      expect(await call('GET', '/me', undefined, await logIn(other))).toMatchObject({ status: 200 })
    })
  })
})

/**
 * Mails: what they say, whom they reach, and what becomes of a request whose mail cannot be sent. Real SMTP, and a real
 * endpoint of asynchronous invocations.
 */
import { createServer } from 'node:net'
import { SMTPServer } from 'smtp-server'
import type { MailEvent, MailJob } from '../../mail/MailJobs.ts'
import { sendBySmtp } from '../../mail/Smtp.ts'
import { parseSetting } from '../../api/Settings.ts'
import { type Api, PASSWORD, startAccounts, withLimits } from '../support/account.ts'
import { onDatabase } from '../support/database.ts'

/** Names with what HTML and headers make something of. */
const PRODUCT = `Müller & "Söhne"'s`
const APP_URL = 'https://app.test/my-account'

let api: Api
beforeAll(async () => {
  api = await startAccounts({
    PRODUCT_NAME: PRODUCT,
    APP_URL,
    ...withLimits({ forgotsPerAddress: 1000, forgotsPerEmail: 100, mailsPerEmail: 100 }),
  })
})
afterAll(() => api.stop())
afterEach(() => {
  api.smtp.refuse(undefined)
  api.smtp.hang(false)
  api.mailFunction.misbehave(undefined)
})

const event = (job: MailJob): MailEvent => ({
  ...job,
  origin: { requestId: 'request-2', address: '2001:db8::1' },
  time: '2026-02-03T04:05:06.789Z',
})

/** What a mail program shows of HTML. */
const shown = (html: string) =>
  html
    .replace(/<title>.*<\/title>/, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll(/\s+/g, ' ')

const NOTICES = [
  'passwordChanged',
  'passwordReset',
  'emailChangeRequested',
  'emailChanged',
  'mfaEnabled',
  'mfaDisabled',
  'mfaRemoved',
  'recoveryCodeUsed',
  'recoveryCodesReplaced',
  'sessionStolen',
  'accountDeleted',
  'adminAdded',
] as const

describe('a mail', () => {
  const kinds: { name: string; job: (email: string, userId: string) => MailJob; link: string | undefined }[] =
    [
      {
        name: 'emailVerification',
        job: (email) => ({ mail: 'emailVerification', email }),
        link: 'verify-email',
      },
      { name: 'passwordReset', job: (email) => ({ mail: 'passwordReset', email }), link: 'reset-password' },
      {
        name: 'emailChange',
        job: (email, userId) => ({ mail: 'emailChange', userId, sessionVersion: 0, email }),
        link: 'verify-email',
      },
      { name: 'registeredAlready', job: (email) => ({ mail: 'registeredAlready', email }), link: '' },
      ...NOTICES.map((notice) => ({
        name: notice,
        job: (email: string): MailJob => ({ mail: 'notice', notice, email }),
        link: undefined,
      })),
    ]

  test.each(kinds)('of the kind $name says the same as text and as HTML', async ({ job, link }) => {
    const { email, caller } = await api.newPerson()
    await api.mail(event(job(email, caller.id)))
    const mail = await api.smtp.next(email)
    expect(mail.from).toBe('Example <no-reply@auth.test>')
    expect(mail.subject).toContain(PRODUCT)

    const url = link === undefined ? undefined : `${APP_URL}${link && `/${link}#token=${mail.token}`}`
    const { text, html } = mail
    const hrefs = [...html.matchAll(/href="([^"]*)"/g)].map(([, href]) => href)
    expect(hrefs).toEqual(url ? [url, url] : [])
    const parts = text.trim().split('\n\n')
    // The signature begins with the line that mail programs know (RFC 3676 section 4.3).
    expect(parts.pop()).toBe(`-- \n${PRODUCT}`)
    const [label = 'none:', address] = url ? parts.splice(-2) : []
    expect([label.at(-1), address]).toEqual([':', url])
    expect(parts.length).toBeGreaterThanOrEqual(2)
    const words = shown(html)
    for (const paragraph of parts) expect(words).toContain(` ${paragraph} `)
    expect(words.trim().endsWith(PRODUCT)).toBe(true)
    // Nothing of the product's name is markup.
    expect(html).not.toContain('& "')
    expect(html.match(/<title>(.*)<\/title>/)![1]).toBe(
      mail.subject.replaceAll(/[&"']/g, (character) => `&#${character.charCodeAt(0)};`),
    )
  })

  test.each(NOTICES)('of the kind %s says when, and from which address', async (notice) => {
    const email = `${notice}@example.com`
    await api.mail(event({ mail: 'notice', notice, email }))
    const { text } = await api.smtp.next(email)
    expect(text).toContain('On 2026-02-03 04:05 UTC, from the IP address 2001:db8::1, ')
    // The readers of the first two have no way to the account any more; the third is not about its reader.
    const isOfNoUse = ['emailChanged', 'accountDeleted', 'adminAdded'].includes(notice)
    expect(text.includes('Forgot password')).toBe(!isOfNoUse)
  })

  test('holds nothing that a request says of where it came from or who sends it', async () => {
    const evil = 'https://evil.test/win <b>money</b> & more'
    const headers = Object.fromEntries(
      ['Host', 'X-Forwarded-Host', 'X-Forwarded-For', 'Forwarded', 'Origin', 'Referer', 'User-Agent'].map(
        (name) => [name, evil],
      ),
    )
    const email = 'evil.test-stranger@example.com'
    const name = 'https://evil.test <b>win</b>'
    await api.call('register', { name, email, password: PASSWORD }, { headers })
    await api.call('register', { name, email, password: PASSWORD }, { headers })
    const caller = api.signedIn(email, (await api.call('login', { email, password: PASSWORD })).body)
    await api.mailFunction.settled()
    await api.call('resendVerification', { email }, { headers })
    await api.call('forgotPassword', { email }, { headers })
    await api.call('updateMe', { name }, caller)
    const newPassword = 'another horse on evil.test'
    await api.call('changeMyPassword', { currentPassword: PASSWORD, newPassword }, { ...caller, headers })
    await api.call('changeMyEmail', { email, currentPassword: newPassword }, { ...caller, headers })
    await api.mail(event({ mail: 'registeredAlready', email }))
    await api.mailFunction.settled()
    const mails = api.smtp.received.filter(({ to }) => to === email)
    expect(mails).toHaveLength(7)
    for (const { text, html } of mails) {
      for (const content of [text, html]) expect(content).not.toMatch(/evil|win|money/)
      const links = [...`${text} ${html}`.matchAll(/https?:[^\s"<]+/g)].map(([link]) => link)
      expect(links.filter((link) => link !== APP_URL && !link.startsWith(`${APP_URL}/`))).toEqual([])
    }
  })
})

describe('an email', () => {
  const REFUSED = [
    'ann@example.com\r\nBcc: eve@evil.test',
    'ann@example.com\nBcc: eve@evil.test',
    'ann@example.com%0d%0aBcc: eve@evil.test',
    'ann@example.com, eve@evil.test',
    'ann@example.com,eve@evil.test',
    'ann@example.com; eve@evil.test',
    'ann@example.com eve@evil.test',
    'Ann <ann@example.com>',
    '<ann@example.com>',
    '"ann\r\nBcc: eve@evil.test"@example.com',
    'ann@example.com\u0000@evil.test',
    'ann@example.com\u2028Bcc: eve@evil.test',
    'ann@example.com＼r＼n',
    'ann@［evil.test］',
  ]
  test.each(REFUSED)('that would be more than one address is refused: %j', async (email) => {
    const before = api.mailFunction.events.length
    const { caller } = await api.newPerson()
    const bodies = [
      api.call('register', { name: 'Ann', email, password: PASSWORD }),
      api.call('login', { email, password: PASSWORD }),
      api.call('forgotPassword', { email }),
      api.call('resendVerification', { email }),
      api.call('changeMyEmail', { email, currentPassword: PASSWORD }, { caller }),
    ]
    for (const { status, body } of await Promise.all(bodies)) {
      expect([status, body]).toEqual([
        400,
        expect.objectContaining({ errors: [{ path: 'email', message: 'must be an email address' }] }),
      ])
    }
    // That of newPerson.
    expect(api.mailFunction.events.length).toBe(before + 1)
  })

  test.each(["o'neil+tag@example.com", 'a{b}|c=d`e^f~g*h!i#j$k%l&m/n?@example.com'])(
    'with odd characters is one recipient: %s',
    async (email) => {
      expect((await api.call('register', { name: 'Ann', email, password: PASSWORD })).status).toBe(201)
      await api.mailFunction.settled()
      const mail = await api.smtp.next(email)
      const header = (name: string) =>
        mail.headers.filter(({ key }) => key === name).map(({ value }) => value)
      expect(header('to')).toEqual([email])
      expect([header('cc'), header('bcc'), header('reply-to')]).toEqual([[], [], []])
      // So that nobody's holiday answers it (RFC 3834 section 5).
      expect(header('auto-submitted')).toEqual(['auto-generated'])
      expect((await api.call('verifyEmail', { token: mail.token })).status).toBe(204)
    },
  )

  test.each(['Example\r\nBcc: eve@evil.test', 'Example\nX', 'Ex\u0000ample', 'Example <eve@evil.test>', ''])(
    'cannot be added by the name of the product: %j',
    (name) => {
      expect(() => parseSetting('PRODUCT_NAME', name)).toThrow('PRODUCT_NAME')
    },
  )
})

/** The lines of the log since a moment. */
const since = (count: number) => api.logged().slice(count)

describe('when the mail server', () => {
  const FAILURES: { name: string; fail: () => void }[] = [
    {
      name: 'refuses for good',
      fail: () => api.smtp.refuse(Object.assign(new Error('no ann@example.com here'), { responseCode: 550 })),
    },
    {
      name: 'refuses for now',
      fail: () => api.smtp.refuse(Object.assign(new Error('try later'), { responseCode: 451 })),
    },
    { name: 'hangs', fail: () => api.smtp.hang(true) },
  ]

  test.each(FAILURES)('$name, no answer changes, and the mail comes by a second run', async ({ fail }) => {
    const { email, caller } = await api.newPerson()
    const usual = await api.call('forgotPassword', { email: 'nobody@example.com' })
    const lines = api.logged().length
    const before = api.mailFunction.failed.length
    fail()
    const answers = [
      await api.call('forgotPassword', { email }),
      await api.call(
        'changeMyPassword',
        { currentPassword: PASSWORD, newPassword: 'a horse at sea' },
        { caller },
      ),
    ]
    expect(answers[0]).toEqual(usual)
    expect(answers[1]!.status).toBe(200)
    await api.mailFunction.settled()
    // Both have thrown: Lambda runs them again.
    const again = api.mailFunction.failed.slice(before)
    expect(again.map((failed) => failed.email)).toEqual([email, email])
    const failures = since(lines).filter(({ event: name }) => name === 'mail_failed')
    expect(failures.map(({ level, mail }) => `${level} ${String(mail)}`).toSorted()).toEqual([
      'ERROR passwordChanged',
      'ERROR passwordReset',
    ])
    expect(JSON.stringify(since(lines))).not.toContain('@example.com')

    api.smtp.refuse(undefined)
    api.smtp.hang(false)
    for (const job of again) await api.mail(job)
    const mails = [await api.smtp.next(email), await api.smtp.next(email)]
    const token = mails.find((mail) => mail.token)!.token
    expect((await api.call('resetMyPassword', { token, password: 'a horse in space' })).status).toBe(204)
  })
})

describe('when the function that sends mail', () => {
  test.each([
    { name: 'is unknown', how: 404 as const },
    { name: 'is throttled', how: 429 as const },
    { name: 'fails', how: 500 as const },
    { name: 'hangs', how: 'hang' as const },
    { name: 'drops the connection', how: 'drop' as const },
  ])('$name, no answer changes, and the log says so', async ({ how }) => {
    const usual = await api.call('forgotPassword', { email: 'nobody@example.com' })
    const { email, caller, token } = await api.newPerson()
    const lines = api.logged().length
    api.mailFunction.misbehave(how)
    expect(await api.call('forgotPassword', { email })).toEqual(usual)
    const other = `other-${how}@example.com`
    const registered = await api.call('register', { name: 'Bo', email: other, password: PASSWORD })
    expect(registered.status).toBe(201)
    const change = { currentPassword: PASSWORD, newPassword: 'a horse at sea' }
    expect((await api.call('changeMyPassword', change, { caller })).status).toBe(200)
    expect((await api.call('login', { email, password: 'a horse at sea' })).status).toBe(200)
    const failures = since(lines).filter(({ event: name }) => name === 'mail_failed')
    expect(failures.map(({ level, mail, requestId }) => [level, mail, requestId])).toEqual([
      ['ERROR', 'passwordReset', 'request-1'],
      ['ERROR', 'emailVerification', 'request-1'],
      ['ERROR', 'passwordChanged', 'request-1'],
    ])
    for (const secret of [email, other, token, PASSWORD]) {
      expect(JSON.stringify(since(lines))).not.toContain(secret)
    }
  })
})

describe('the connection to the mail server', () => {
  const MAIL = { to: 'ann@example.com', subject: 'Hello', text: 'Hello', html: '<p>Hello</p>' }

  /** A server that says how many mails it took; its certificate is nobody's. */
  async function withServer(
    options: { secure?: boolean; disabledCommands?: string[] },
    host: string,
    work: (port: number) => Promise<unknown>,
  ): Promise<number> {
    let taken = 0
    // It warns that everybody knows its key.
    const warning = jest.spyOn(console, 'error').mockImplementation()
    const server = new SMTPServer({
      ...options,
      authOptional: true,
      onData: (stream, _session, done) =>
        void stream
          .resume()
          .on('end', () => done())
          .on('end', () => taken++),
    })
    warning.mockRestore()
    server.on('error', () => undefined)
    await new Promise<void>((done) => void server.listen(0, host, done))
    try {
      await work((server.server.address() as { port: number }).port)
    } finally {
      await new Promise<void>((done) => server.close(() => done()))
    }
    return taken
  }

  /** Another name of this machine, which does not look like one. */
  const OTHER = '0.0.0.0'

  test.each([
    {
      name: 'without TLS to this machine',
      url: 'smtp://127.0.0.1',
      options: { disabledCommands: ['STARTTLS'] },
      error: /^sent$/,
      taken: 1,
    },
    {
      name: 'without TLS to another machine',
      url: `smtp://${OTHER}`,
      options: { disabledCommands: ['STARTTLS'] },
      error: /STARTTLS/,
      taken: 0,
    },
    {
      name: 'with a certificate of nobody',
      url: 'smtps://127.0.0.1',
      options: { secure: true },
      error: /certificate/,
      taken: 0,
    },
    {
      name: 'with a certificate of nobody after STARTTLS',
      url: `smtp://${OTHER}`,
      options: {},
      error: /certificate/,
      taken: 0,
    },
    {
      name: 'with a certificate that the setting lets pass',
      url: 'smtps://127.0.0.1',
      query: '?tls.rejectUnauthorized=false',
      options: { secure: true },
      error: /^sent$/,
      taken: 1,
    },
  ])('$name: $taken mails are handed over', async ({ url, query = '', options, error, taken }) => {
    const count = await withServer(options, OTHER, async (port) => {
      const sent = sendBySmtp(MAIL, `${url}:${port}${query}`, 'Example <no-reply@auth.test>')
      expect(
        await sent.then(
          () => 'sent',
          (reason: Error) => reason.message,
        ),
      ).toMatch(error)
    })
    expect(count).toBe(taken)
  })

  test('is given up when nobody is there', async () => {
    const server = createServer()
    await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as { port: number }
    await new Promise((done) => server.close(done))
    await expect(sendBySmtp(MAIL, `smtp://127.0.0.1:${port}`, 'no-reply@auth.test')).rejects.toThrow(
      'ECONNREFUSED',
    )
  })
})

test('nothing secret of all this is in the log', () => {
  expect(api.logged().some(({ event: name }) => name === 'mail_sent')).toBe(true)
  expect(api.secretsInLog()).toEqual([])
})

test('every admin is told when somebody becomes one, and nobody else is', async () => {
  const [root, other, user, next] = [
    await api.newPerson(),
    await api.newPerson(),
    await api.newPerson(),
    await api.newPerson(),
  ]
  for (const { confirmation } of [root, other, next]) await api.call('verifyEmail', { token: confirmation })
  for (const { email } of [root, other]) {
    await onDatabase(process.env['DB']!, (database) =>
      database.collection('users').updateOne({ email }, { $set: { roles: ['user', 'admin'] } }),
    )
  }
  const caller = { ...root.caller, roles: 'user admin' }
  const patch = (json: object) => api.call('updateUser', json, { caller, path: { id: next.caller.id } })
  const told = () =>
    api.smtp.received.filter(({ subject }) => subject.endsWith('there is a new admin')).map(({ to }) => to)
  const before = told().length
  expect((await patch({ roles: ['user', 'admin'] })).status).toBe(200)
  await api.mailFunction.settled()
  const news = told().slice(before)
  expect(news.toSorted()).toEqual([root.email, other.email].toSorted())
  expect(news).not.toContain(user.email)
  // Who stays one is no news.
  const count = told().length
  await patch({ roles: ['user', 'admin'], disabled: false })
  await api.mailFunction.settled()
  expect(told()).toHaveLength(count)
})

test('a user whose second factor an admin removes is told', async () => {
  const owner = await api.newPerson()
  await api.withApp(owner)
  const caller = { ...owner.caller, id: '65f0000000000000000000ff', roles: 'user admin' }
  const { status } = await api.call('removeUserMfa', undefined, { caller, path: { id: owner.caller.id } })
  await api.mailFunction.settled()
  const subjects = api.smtp.received.filter(({ to }) => to === owner.email).map(({ subject }) => subject)
  expect([status, subjects.at(-1)]).toEqual([204, `${PRODUCT}: the second factor was removed`])
})

/**
 * Somebody has been in an account, with its password and a session, or has registered it with another person's email:
 * nothing that they have prepared works once its owner has it back.
 */
import { type Api, PASSWORD, type Person, startAccounts } from '../support/account.ts'
import { onDatabase } from '../support/database.ts'

let api: Api
beforeAll(async () => {
  api = await startAccounts()
})
afterAll(() => api.stop())

const NEW = 'another horse on the sun'

/** The token in the next mail with a link. */
async function nextLink(email: string): Promise<string> {
  const { token } = await api.smtp.next(email)
  return token ?? nextLink(email)
}

test.each([
  {
    name: 'reset',
    change: async ({ email }: Person) => {
      await api.call('forgotPassword', { email })
      return api.call('resetMyPassword', { token: await nextLink(email), password: NEW })
    },
  },
  {
    name: 'changed',
    change: (owner: Person) =>
      api.call('changeMyPassword', { currentPassword: PASSWORD, newPassword: NEW }, owner),
  },
])('a change of the email that was asked for is void when the password is $name', async ({ change }) => {
  const person = await api.newPerson()
  const email = `thief-${person.email}`
  await api.call('changeMyEmail', { email, currentPassword: PASSWORD }, person)
  const prepared = await nextLink(email)
  expect((await change(person)).status).toBeLessThan(300)
  expect((await api.call('verifyEmail', { token: prepared })).code).toBe('invalid_one_time_token')
  expect((await api.call('login', { email: person.email, password: NEW })).status).toBe(200)
})

test('a stolen session gives a handful of guesses of the password, from however many addresses, and its owner can end it', async () => {
  const { email, caller } = await api.newPerson()
  const guess = (number: number) => {
    const address = `2001:db8:0:${number.toString(16)}::1`
    return api.call('deleteMe', { currentPassword: `guess ${number}` }, { caller, address })
  }
  const guesses = await Promise.all(Array.from({ length: 50 }, (_, number) => guess(number)))
  const answered = (wanted: string) => guesses.filter(({ code }) => code === wanted).length
  // Five, and a few more where this machine needs seconds for all of them.
  expect(answered('wrong_password')).toBeGreaterThanOrEqual(5)
  expect(answered('wrong_password')).toBeLessThan(10)
  expect(answered('wrong_password') + answered('too_many_attempts')).toBe(50)
  const owner = await api.signIn(email)
  expect((await api.call('logoutAll', undefined, owner)).status).toBe(204)
})

test('a stolen session and the password do not change the email where the second factor is on', async () => {
  const person = await api.newPerson()
  const { code } = await api.withApp(person)
  const ask = (more: object) =>
    api.call('changeMyEmail', { email: 'thief@example.com', currentPassword: PASSWORD, ...more }, person)
  expect((await ask({})).body).toMatchObject({
    status: 400,
    errors: [{ path: 'code', message: 'is required' }],
  })
  expect((await ask({ code: 'aaaaaa' })).code).toBe('wrong_code')
  expect((await ask({ code: code() })).status).toBe(202)
})

describe('when the password is changed', () => {
  const changed = async () => {
    const owner = await api.newPerson()
    const other = await api.signIn(owner.email)
    const change = { currentPassword: PASSWORD, newPassword: NEW }
    const { status, body } = await api.call('changeMyPassword', change, owner)
    expect(status).toBe(200)
    return { owner, other, now: api.signedIn(owner.email, body) }
  }

  test('this session goes on with its next refresh token, and no other does', async () => {
    const { owner, other, now } = await changed()
    expect(now.caller).toEqual(owner.caller)
    expect(now.refreshToken).toMatch(`${owner.caller.sessionId}.1.`)
    expect((await api.call('refresh', { refreshToken: now.refreshToken })).status).toBe(200)
    expect((await api.call('refresh', { refreshToken: other.refreshToken })).code).toBe(
      'invalid_refresh_token',
    )
    const { body } = await api.call('sessions', undefined, owner)
    expect(body).toEqual([expect.objectContaining({ id: owner.caller.sessionId })])
  })

  test('a refresh token of this session that was stolen before gets nothing within 10 seconds, and the session lives on', async () => {
    const { owner, now } = await changed()
    const { code, headers } = await api.call('refresh', { refreshToken: owner.refreshToken })
    expect([code, headers['Set-Cookie']]).toEqual(['invalid_refresh_token', undefined])
    expect((await api.call('refresh', { refreshToken: now.refreshToken })).status).toBe(200)
  })

  test('a cookie of before gets nothing, and does not take the new one away from the browser', async () => {
    const { owner } = await changed()
    const answer = await api.call('refresh', undefined, {
      headers: { 'Refresh-Token-In': 'cookie', Cookie: `__Host-refresh-token=${owner.refreshToken}` },
    })
    expect([answer.code, answer.setCookies]).toEqual(['invalid_refresh_token', []])
  })

  test('a refresh token of this session that was stolen before ends it after 10 seconds, and the owner is told once', async () => {
    const { owner, now } = await changed()
    await onDatabase(process.env['DB']!, (database) =>
      database
        .collection<{ _id: string }>('sessions')
        .updateOne({ _id: owner.caller.sessionId }, { $set: { replacedAt: new Date(Date.now() - 10_000) } }),
    )
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => api.call('refresh', { refreshToken: owner.refreshToken })),
    )
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(['invalid_refresh_token']))
    expect((await api.call('refresh', { refreshToken: now.refreshToken })).code).toBe('invalid_refresh_token')
    await api.mailFunction.settled()
    const told = api.smtp.received.filter(
      ({ to, subject }) => to === owner.email && subject.endsWith('we signed one of your devices out'),
    )
    expect(told).toHaveLength(1)
    const reuses = api
      .logged()
      .filter(({ event, sessionId }) => event === 'authn_token_reuse' && sessionId === owner.caller.sessionId)
    expect(reuses).toHaveLength(1)
  })
})

test('an access token whose session has ended changes nothing, in the seconds in which the authorizer lets it pass', async () => {
  const person = await api.newPerson()
  await api.call('logout', undefined, person)
  for (const [route, body] of [
    ['changeMyPassword', { currentPassword: PASSWORD, newPassword: NEW }],
    ['changeMyEmail', { currentPassword: PASSWORD, email: 'thief@example.com' }],
    ['startTotp', { currentPassword: PASSWORD }],
    ['deleteMe', { currentPassword: PASSWORD }],
  ] as const) {
    expect((await api.call(route, body, person)).code).toBe('invalid_token')
  }
  expect((await api.call('login', { email: person.email, password: PASSWORD })).status).toBe(200)
})

test('who reads the mailbox resets the password again and again, and gets no more guesses of the code by it', async () => {
  const { email, ...person } = await api.newPerson()
  await api.withApp({ email, ...person })
  const codes: (string | number)[] = []
  for (let round = 0; round < 7; round++) {
    const address = `192.0.2.${100 + round}`
    await api.call('forgotPassword', { email }, { address })
    const password = `${NEW} ${round}`
    await api.call('resetMyPassword', { token: await nextLink(email), password }, { address })
    const { body } = await api.call('login', { email, password }, { address })
    for (let guess = 0; guess < 4; guess++) {
      const code = { challenge: body['challenge'], code: 'aaaaaa' }
      codes.push((await api.call('loginMfa', code, { address })).code)
    }
  }
  expect(codes.filter((code) => code === 'wrong_code')).toHaveLength(20)
  expect(codes.slice(20).every((code) => code === 'too_many_attempts')).toBe(true)
})

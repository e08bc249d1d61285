import { createHmac } from 'node:crypto'
import mongoose from 'mongoose'
import { login, me, register } from '../../auth/AuthHandler.ts'
import { handler as verifyToken } from '../../auth/VerifyToken.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'
import { authorizerEvent, request } from '../../support/events.ts'

const DB = process.env['DB']!
const ann = { name: 'Ann', email: 'ann@example.com', password: 'a horse on the moon' }

const bodyOf = (result: { body: string }) => JSON.parse(result.body)
const count = (collection: string) =>
  onDatabase(DB, (database) => database.collection(collection).countDocuments())
const storedUser = (email: string) =>
  onDatabase(DB, (database) => database.collection('users').findOne({ email }))

/** Calls /me as API Gateway would: the authorizer first, its context in the event. */
async function callMe(token: string) {
  const { context } = await verifyToken(authorizerEvent(`Bearer ${token}`))
  return me(request({ authorizer: context as Record<string, string> }))
}

beforeAll(() => register(request({ json: ann })))

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

describe('POST /register', () => {
  test('answers 201 with a session whose token opens /me', async () => {
    const result = await register(request({ json: { ...ann, email: 'bea@example.com', name: 'Bea' } }))
    expect(result.statusCode).toBe(201)
    expect(bodyOf(result)).toEqual({
      auth: true,
      token: expect.stringMatching(/^eyJ/),
      tokenType: 'Bearer',
      expiresIn: 900,
      refreshToken: expect.stringMatching(/^[\w-]{22}\.0\.[\w-]{43}$/),
    })
    const answer = await callMe(bodyOf(result).token)
    expect(answer.statusCode).toBe(200)
    expect(bodyOf(answer)).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{24}$/),
      name: 'Bea',
      email: 'bea@example.com',
      emailVerified: false,
      roles: ['user'],
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    })
  })

  test('50 parallel registrations of one address give one 201, 49 times 409, and one user', async () => {
    const email = 'race@example.com'
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        // The same mailbox in other spellings.
        register(request({ json: { ...ann, email: index % 2 ? email : ` ${email.toUpperCase()}` } })),
      ),
    )
    const codes = results.map((result) => bodyOf(result).code ?? result.statusCode)
    expect(codes.filter((code) => code === 201)).toHaveLength(1)
    expect(codes.filter((code) => code === 'email_taken')).toHaveLength(49)
    await onDatabase(DB, async (database) => {
      expect(await database.collection('users').countDocuments({ email })).toBe(1)
    })
  })

  test.each([
    { name: 'a taken email', json: ann, status: 409, code: 'email_taken' },
    {
      name: 'the same email in fullwidth and capitals',
      json: { ...ann, email: 'ＡＮＮ@Example.COM ' },
      status: 409,
      code: 'email_taken',
    },
    {
      name: 'an operator for an email',
      json: { ...ann, email: { $ne: null } },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'a role of one’s own',
      json: { ...ann, email: 'x@example.com', roles: ['admin'] },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'a common password',
      json: { ...ann, email: 'x@example.com', password: 'Password123' },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'a password made of the name',
      json: { ...ann, email: 'x@example.com', name: 'Annabella', password: 'annabella1' },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'a missing name',
      json: { email: 'x@example.com', password: ann.password },
      status: 400,
      code: 'invalid_request',
    },
  ])('refuses $name and writes nothing', async ({ json, status, code }) => {
    const before = [await count('users'), await count('sessions')]
    const result = await register(request({ json }))
    expect([result.statusCode, bodyOf(result).code]).toEqual([status, code])
    expect([await count('users'), await count('sessions')]).toEqual(before)
  })

  test('stores no password, and a versioned hash', async () => {
    const stored = await storedUser(ann.email)
    expect(JSON.stringify(stored)).not.toContain(ann.password)
    expect(stored).toMatchObject({ passwordHash: expect.stringMatching(/^v1\$2b\$04\$/), disabled: false })
  })

  test('has its unique index and the one that clears dead sessions', async () => {
    await onDatabase(DB, async (database) => {
      expect(await database.collection('users').indexes()).toContainEqual(
        expect.objectContaining({ key: { email: 1 }, unique: true }),
      )
      expect(await database.collection('sessions').indexes()).toContainEqual(
        expect.objectContaining({ key: { expiresAt: 1 }, expireAfterSeconds: 0 }),
      )
    })
  })
})

describe('POST /login', () => {
  test('answers 200 with a session, however the email is spelt', async () => {
    const result = await login(request({ json: { email: '  ANN@example.com', password: ann.password } }))
    expect(result.statusCode).toBe(200)
    expect((await callMe(bodyOf(result).token)).statusCode).toBe(200)
  })

  test('starts a session that holds the device and no secret', async () => {
    const event = request({
      json: { email: ann.email, password: ann.password },
      headers: { 'content-type': 'application/json', 'User-Agent': 'curl/8' },
    })
    const { refreshToken } = bodyOf(await login(event))
    const [sid] = refreshToken.split('.')
    const session = await onDatabase(DB, (database) => database.collection('sessions').findOne({ _id: sid }))
    expect(session).toMatchObject({ generation: 0, userAgent: 'curl/8', address: '192.0.2.1' })
    expect(JSON.stringify(session)).not.toContain(refreshToken.split('.')[2])
    const key = Buffer.from(process.env['REFRESH_TOKEN_KEY']!, 'base64url')
    expect(refreshToken).toBe(`${sid}.0.${createHmac('sha256', key).update(`${sid}.0`).digest('base64url')}`)
  })

  test.each([
    {
      name: 'a wrong password',
      json: { email: ann.email, password: 'a horse on the mars' },
      status: 401,
      code: 'invalid_credentials',
    },
    {
      name: 'an unknown email',
      json: { email: 'nobody@example.com', password: ann.password },
      status: 401,
      code: 'invalid_credentials',
    },
    {
      name: 'an empty password',
      json: { email: ann.email, password: '' },
      status: 401,
      code: 'invalid_credentials',
    },
    {
      name: 'an operator for an email (the tutorial let it in)',
      json: { email: { $ne: null }, password: ann.password },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'an operator for a password',
      json: { email: ann.email, password: { $gt: '' } },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'an array for an email',
      json: { email: [ann.email], password: ann.password },
      status: 400,
      code: 'invalid_request',
    },
  ])('refuses $name and starts no session', async ({ json, status, code }) => {
    const before = await count('sessions')
    const result = await login(request({ json }))
    expect([result.statusCode, bodyOf(result).code]).toEqual([status, code])
    expect(await count('sessions')).toBe(before)
  })

  test('unknown email, wrong password and disabled account answer alike, to the letter', async () => {
    await register(request({ json: { ...ann, email: 'off@example.com' } }))
    await onDatabase(DB, (database) =>
      database.collection('users').updateOne({ email: 'off@example.com' }, { $set: { disabled: true } }),
    )
    const [unknown, wrong, disabled] = await Promise.all([
      login(request({ json: { email: 'nobody@example.com', password: ann.password } })),
      login(request({ json: { email: ann.email, password: 'not the password' } })),
      login(request({ json: { email: 'off@example.com', password: ann.password } })),
    ])
    expect(wrong).toEqual(unknown)
    expect(disabled).toEqual(unknown)
  })

  test.each([
    { name: '$2y (PHP)', hash: '$2y$10$dDhznR8rKDYR5cL2hpKWlewFUmt1p1YJ0xrnBvkOAFjeejFhGvhea' },
    { name: '$2b', hash: '$2b$04$Zxs3Qxm6I5TD5eWVbZNBx.uRHVCNDYeK5YSKVQTO6Kch4kiqFZNUO' },
  ])('takes a plain $name hash from another system, and replaces it', async ({ name, hash }) => {
    const email = `imported-${name.slice(1, 3)}@example.com`
    const bcrypt = await import('bcryptjs')
    const imported =
      name === '$2b'
        ? await bcrypt.hash(ann.password, 4)
        : hash.slice(0, 4) + (await bcrypt.hash(ann.password, 4)).slice(4)
    await onDatabase(DB, (database) =>
      database.collection('users').insertOne({
        name: 'Old',
        email,
        emailVerified: true,
        passwordHash: imported,
        roles: ['user'],
        disabled: false,
        createdAt: new Date(),
      }),
    )
    const enter = () => login(request({ json: { email, password: ann.password } }))
    expect((await enter()).statusCode).toBe(200)
    const upgraded = (await storedUser(email))!['passwordHash']
    expect(upgraded).toMatch(/^v1\$2b\$04\$/)
    expect((await enter()).statusCode).toBe(200)
    expect((await storedUser(email))!['passwordHash']).toBe(upgraded)
  })

  test.each([{ hash: '$2x$04$junk' }, { hash: 'v1' }, { hash: '' }, { hash: 'plain text' }])(
    'a stored hash of $hash is a failed login, not a 500',
    async ({ hash }) => {
      const email = `bad-${Buffer.from(hash).toString('hex')}@example.com`
      await onDatabase(DB, (database) =>
        database.collection('users').insertOne({
          name: 'Bad',
          email,
          passwordHash: hash,
          roles: [],
          disabled: false,
          createdAt: new Date(),
        }),
      )
      expect((await login(request({ json: { email, password: 'plain text' } }))).statusCode).toBe(401)
    },
  )
})

describe('GET /me', () => {
  const tokenOf = async (email: string) => bodyOf(await register(request({ json: { ...ann, email } }))).token

  test.each([
    {
      name: 'deleted',
      change: (users: mongoose.mongo.Collection, email: string) => users.deleteOne({ email }),
    },
    {
      name: 'disabled',
      change: (users: mongoose.mongo.Collection, email: string) =>
        users.updateOne({ email }, { $set: { disabled: true } }),
    },
  ])('answers 401 when the account was $name after the token was issued', async ({ name, change }) => {
    const email = `${name}@example.com`
    const token = await tokenOf(email)
    await onDatabase<unknown>(DB, (database) => change(database.collection('users'), email))
    const result = await callMe(token)
    expect([result.statusCode, bodyOf(result).code]).toEqual([401, 'invalid_token'])
    expect(result.headers).toMatchObject({ 'WWW-Authenticate': 'Bearer error="invalid_token"' })
  })
})

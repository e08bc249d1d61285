/**
 * The admin routes, called as API Gateway calls them, against a real MongoDB.
 */
import type { APIGatewayProxyResult } from 'aws-lambda'
import mongoose from 'mongoose'
import { withDatabase } from '../support/withDatabase.ts'
import {
  adminUser,
  adminUsers,
  endUserSessions,
  removeUserMfa,
  updateUser,
} from '../../admin/AdminHandler.ts'
import type { Problem } from '../../api/Problem.ts'
import { changeUser, createUser, findUserById, newUserId } from '../../user/User.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'
import { compileModule } from '../../support/command.ts'
import { request } from '../../support/events.ts'
import { startSmtp } from '../../support/mail.ts'
import { copyProject, run } from '../../support/project.ts'

const DB = process.env['DB']!
const NOBODY = '65f0000000000000000000ff'

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

const bodyOf = ({ body }: APIGatewayProxyResult) => JSON.parse(body)
const codeOf = (answer: APIGatewayProxyResult) =>
  answer.statusCode < 300 ? answer.statusCode : bodyOf(answer).code

const newUser = (email: string, roles = ['user']) =>
  withDatabase(() =>
    createUser(
      { id: newUserId(), name: email.split('@')[0]!, email, passwordHash: 'v1$secret', roles },
      new Date(),
    ),
  )

/** Somebody who has followed the link in the mail. */
async function newVerified(email: string, roles?: string[]) {
  const user = await newUser(email, roles)
  await onDatabase(DB, (database) =>
    database.collection('users').updateOne({ email }, { $set: { emailVerified: true } }),
  )
  return { ...user, emailVerified: true }
}

/** Who has come through the authorizer as an admin. */
const authorizer = { id: NOBODY, sessionId: 'session-1', roles: 'user admin' }
const asAdmin = (event: Parameters<typeof request>[0] = {}) => request({ authorizer, ...event })

const patch = (id: string, json: unknown) => updateUser(asAdmin({ json, pathParameters: { id } }))
const userOf = async (id: string) => (await withDatabase(() => findUserById(id)))!

test.each([
  { name: 'adminUsers', route: adminUsers },
  { name: 'adminUser', route: adminUser },
  { name: 'updateUser', route: updateUser },
  { name: 'endUserSessions', route: endUserSessions },
  { name: 'removeUserMfa', route: removeUserMfa },
])('$name asks for the role itself, should the gateway ever let others through', async ({ route }) => {
  const { id } = await newUser(`victim-${Math.random()}@example.com`)
  for (const roles of ['user', '', 'administrator', 'user,admin']) {
    const answer = await route(
      request({ authorizer: { ...authorizer, roles }, json: { disabled: true }, pathParameters: { id } }),
    )
    expect(codeOf(answer)).toBe('forbidden')
  }
  expect(codeOf(await route(request({ json: { disabled: true }, pathParameters: { id } })))).toBe('forbidden')
  expect(await userOf(id)).toMatchObject({ disabled: false, tokenVersion: 0 })
})

describe('GET /admin/users', () => {
  const emails = ['ann@a.example', 'ann@b.example', 'anna@a.example', 'a.n@a.example', 'bob@a.example']

  beforeAll(async () => {
    for (const email of emails) await newUser(email)
    const off = await newUser('off@a.example')
    await withDatabase(() => changeUser(off.id, { disabled: true }, new Date()))
  })

  const search = async (query: Record<string, string>) => {
    const answer = await adminUsers(asAdmin({ query }))
    return {
      emails: (bodyOf(answer) as { email: string }[]).map(({ email }) => email),
      link: answer.headers?.['Link'],
    }
  }

  test('shows what an admin needs, the disabled ones too, and never a hash', async () => {
    const answer = await adminUsers(asAdmin({ query: { email: 'off@' } }))
    expect(bodyOf(answer)).toEqual([
      {
        id: expect.stringMatching(/^[0-9a-f]{24}$/),
        name: 'off',
        email: 'off@a.example',
        emailVerified: false,
        roles: ['user'],
        createdAt: expect.any(String),
        disabled: true,
        mfa: false,
      },
    ])
  })

  test.each([
    { email: 'ann', want: ['ann@a.example', 'ann@b.example', 'anna@a.example'] },
    { email: 'ann@', want: ['ann@a.example', 'ann@b.example'] },
    { email: ' ANN@A', want: ['ann@a.example'] },
    { email: 'bob@a.example', want: ['bob@a.example'] },
    { email: 'bob@a.example.com', want: [] },
    { email: 'a.example', want: [] },
    { email: 'zed', want: [] },
    { email: '.*', want: [] },
    { email: '^ann', want: [] },
    { email: 'a.n', want: ['a.n@a.example'] },
    { email: '\u{10ffff}', want: [] },
    { email: '{"$gt":""}', want: [] },
  ])('an email that begins with "$email"', async ({ email, want }) => {
    expect((await search({ email })).emails.toSorted()).toEqual(want.toSorted())
  })

  test('gives pages whose links keep the search', async () => {
    const first = await search({ email: 'ann', limit: '2' })
    expect(first.emails).toEqual(['ann@a.example', 'ann@b.example'])
    const next = /^<https:\/\/auth\.test\/admin\/users\?(.+)>; rel="next"$/.exec(String(first.link))![1]
    const second = await search(Object.fromEntries(new URLSearchParams(next)))
    expect(second).toEqual({ emails: ['anna@a.example'], link: undefined })
  })

  test.each([
    { query: { limit: '0' }, path: 'limit' },
    { query: { after: 'x' }, path: 'after' },
    { query: { email: 'x'.repeat(255) }, path: 'email' },
    { query: { role: 'admin' }, path: 'role' },
  ])('refuses $query', async ({ query, path }) => {
    expect(bodyOf(await adminUsers(asAdmin({ query })))).toMatchObject({
      status: 400,
      errors: [{ path }],
    })
  })
})

describe('GET /admin/users/{id}', () => {
  const get = (id: string) => adminUser(asAdmin({ pathParameters: { id } }))

  test('shows one user', async () => {
    const { id } = await newUser('one@example.com')
    const answer = await get(id)
    expect(answer.statusCode).toBe(200)
    expect(bodyOf(answer)).toMatchObject({ id, email: 'one@example.com', disabled: false })
    expect(answer.body).not.toContain('secret')
  })

  test.each([
    { name: 'nobody', id: NOBODY, want: 'not_found' },
    { name: 'no id', id: 'me', want: 'invalid_request' },
  ])('of $name is $want', async ({ id, want }) => {
    expect(codeOf(await get(id))).toBe(want)
  })
})

describe('PATCH /admin/users/{id}', () => {
  beforeAll(() => newUser('root@example.com', ['user', 'admin']))

  test('changes roles: access tokens are outdated, sessions go on', async () => {
    const { id } = await newVerified('promoted@example.com')
    const answer = await patch(id, { roles: ['user', 'admin'] })
    expect(bodyOf(answer)).toMatchObject({ id, roles: ['user', 'admin'], disabled: false })
    expect(await userOf(id)).toMatchObject({ roles: ['user', 'admin'], tokenVersion: 1, sessionVersion: 0 })
  })

  test('an attacker who has registered an address that is not theirs becomes no admin', async () => {
    const { id } = await newUser('boss@example.com')
    expect(codeOf(await patch(id, { roles: ['user', 'admin'] }))).toBe('email_not_verified')
    expect(await userOf(id)).toMatchObject({ roles: ['user'], tokenVersion: 0 })
  })

  test('disables: access tokens are outdated, sessions end, and enabling brings none back', async () => {
    const { id } = await newUser('disabled@example.com')
    expect(bodyOf(await patch(id, { disabled: true }))).toMatchObject({ disabled: true, roles: ['user'] })
    expect(await userOf(id)).toMatchObject({ disabled: true, tokenVersion: 1, sessionVersion: 1 })
    expect(bodyOf(await patch(id, { disabled: false }))).toMatchObject({ disabled: false })
    expect(await userOf(id)).toMatchObject({ disabled: false, sessionVersion: 1 })
  })

  test.each([
    { name: 'an unknown role', json: { roles: ['superuser'] }, path: 'roles.0' },
    { name: 'no role', json: { roles: [] }, path: 'roles' },
    { name: 'a role twice', json: { roles: ['user', 'user'] }, path: 'roles' },
    { name: 'a role that every object has', json: { roles: ['constructor'] }, path: 'roles.0' },
    { name: 'text for disabled', json: { disabled: 'yes' }, path: 'disabled' },
    { name: 'an operator', json: { disabled: { $ne: true } }, path: 'disabled' },
    { name: 'nothing', json: {}, path: '' },
    { name: 'a password', json: { passwordHash: 'x' }, path: 'passwordHash' },
  ])('refuses $name, and changes nothing', async ({ json, path }) => {
    const user = await newUser(`refused-${Math.random()}@example.com`)
    expect(bodyOf(await patch(user.id, json))).toMatchObject({
      status: 400,
      errors: expect.arrayContaining([expect.objectContaining({ path })]),
    })
    expect(await userOf(user.id)).toEqual(user)
  })

  test('of nobody is 404', async () => {
    expect(codeOf(await patch(NOBODY, { disabled: true }))).toBe('not_found')
  })
})

describe('DELETE /admin/users/{id}/sessions', () => {
  const end = (id: string) => endUserSessions(asAdmin({ pathParameters: { id } }))

  test('ends the sessions of a user', async () => {
    const { id } = await newUser('ended@example.com')
    expect(codeOf(await end(id))).toBe(204)
    expect(await userOf(id)).toMatchObject({ tokenVersion: 1, sessionVersion: 1 })
    expect(codeOf(await end(NOBODY))).toBe('not_found')
  })
})

describe('DELETE /admin/users/{id}/mfa', () => {
  const remove = (id: string) => removeUserMfa(asAdmin({ pathParameters: { id } }))
  const secondFactor = { totp: { secret: 'encrypted', lastStep: 1 }, recoveryCodes: ['hash'] }
  const withFactor = async (email: string) => {
    const { id } = await newVerified(email)
    await onDatabase(DB, (database) =>
      database.collection('users').updateOne({ email }, { $set: secondFactor }),
    )
    return id
  }

  test('removes a lost second factor with its recovery codes, which admins see', async () => {
    const id = await withFactor('lost@example.com')
    const show = async () => bodyOf(await adminUser(asAdmin({ pathParameters: { id } })))
    expect(await show()).toMatchObject({ mfa: true })
    expect(codeOf(await remove(id))).toBe(204)
    expect(await show()).toMatchObject({ mfa: false })
    const stored = await onDatabase(DB, (database) =>
      database.collection('users').findOne({ email: 'lost@example.com' }),
    )
    expect(stored).not.toHaveProperty('totp')
    expect(stored).not.toHaveProperty('recoveryCodes')
    expect(codeOf(await remove(id))).toBe('mfa_not_enabled')
    expect(codeOf(await remove(NOBODY.replace(/.$/, '0')))).toBe('not_found')
  })

  test('a stolen access token of an admin does not remove the second factor of that admin', async () => {
    const id = await withFactor('own-factor@example.com')
    const own = request({ authorizer: { ...authorizer, id }, pathParameters: { id } })
    expect(codeOf(await removeUserMfa(own))).toBe('forbidden')
    expect(await userOf(id)).toMatchObject({ totp: secondFactor.totp })
  })
})

describe('the last admin', () => {
  beforeEach(() =>
    onDatabase(DB, (database) =>
      database.collection('users').updateMany({ roles: 'admin' }, { $set: { roles: ['user'] } }),
    ),
  )
  let number = 0
  const newAdmin = () => newVerified(`admin${++number}@example.com`, ['user', 'admin'])
  const admins = () =>
    onDatabase(DB, (database) =>
      database.collection('users').countDocuments({ roles: 'admin', disabled: false }),
    )

  test.each([{ roles: ['user'] }, { disabled: true }, { roles: ['user', 'admin'], disabled: true }])(
    'cannot be changed to %j',
    async (json) => {
      const { id } = await newAdmin()
      expect(codeOf(await patch(id, json))).toBe('last_admin')
      expect(await userOf(id)).toMatchObject({ roles: ['user', 'admin'], disabled: false, tokenVersion: 0 })
      // Who is not the last can go, and the one who was refused counts as one who stays.
      const second = await newAdmin()
      expect(codeOf(await patch(second.id, json))).toBe(200)
      expect(await admins()).toBe(1)
    },
  )

  test('is not saved by a disabled one', async () => {
    const [first, second] = [await newAdmin(), await newAdmin()]
    expect(codeOf(await patch(second.id, { disabled: true }))).toBe(200)
    expect(codeOf(await patch(first.id, { roles: ['user'] }))).toBe('last_admin')
  })

  test('may be changed otherwise', async () => {
    const { id } = await newAdmin()
    expect(codeOf(await patch(id, { roles: ['admin'], disabled: false }))).toBe(200)
  })

  test('is there whatever many admins do to each other at the same time', async () => {
    for (let round = 0; round < 20; round++) {
      const [first, second] = [await newAdmin(), await newAdmin()]
      const answers = await Promise.all([
        patch(first.id, { roles: ['user'] }),
        patch(second.id, round % 2 ? { roles: ['user'] } : { disabled: true }),
        patch(first.id, { disabled: false }),
        patch(second.id, { roles: ['user'] }),
      ])
      for (const answer of answers) expect([200, 'last_admin', 'unavailable']).toContain(codeOf(answer))
      expect(await admins()).toBeGreaterThan(0)
      await onDatabase(DB, (database) =>
        database.collection('users').updateMany({ roles: 'admin' }, { $set: { roles: ['user'] } }),
      )
    }
  })

  describe('is still there when the last write of another request is late, and', () => {
    /** Begins a change and holds its last write back. */
    async function begin(id: string, json: { roles?: string[]; disabled?: boolean }, now = new Date()) {
      const model = mongoose.model('User')
      const findOneAndUpdate = model.findOneAndUpdate.bind(model)
      let reached = () => {}
      let release = () => {}
      const isReached = new Promise<void>((done) => (reached = done))
      const isReleased = new Promise<void>((done) => (release = done))
      jest.spyOn(model, 'findOneAndUpdate').mockImplementationOnce(((
        ...args: Parameters<typeof findOneAndUpdate>
      ) => ({
        lean: async () => {
          reached()
          await isReleased
          return findOneAndUpdate(...args).lean()
        },
      })) as unknown as typeof findOneAndUpdate)
      const result = withDatabase(() => changeUser(id, json, now)).then(
        () => 200,
        (error: Problem) => error.code,
      )
      await isReached
      return () => {
        release()
        return result
      }
    }
    const DEMOTE = { roles: ['user'] }

    test('somebody changes the same user meanwhile', async () => {
      const [first, second] = [await newAdmin(), await newAdmin()]
      const finish = await begin(first.id, DEMOTE)
      expect(codeOf(await patch(first.id, { roles: ['user', 'admin'] }))).toBe(200)
      expect(codeOf(await patch(second.id, DEMOTE))).toBe(200)
      expect(await finish()).toBe('unavailable')
      expect(await admins()).toBe(1)
    })

    test('the user becomes an admin meanwhile', async () => {
      const [first, second] = [await newVerified(`late${++number}@example.com`), await newAdmin()]
      const finish = await begin(first.id, { disabled: true })
      expect(codeOf(await patch(first.id, { roles: ['user', 'admin'] }))).toBe(200)
      expect(codeOf(await patch(second.id, DEMOTE))).toBe(200)
      expect(await finish()).toBe('unavailable')
      expect(await admins()).toBe(1)
    })

    test('the clocks differ by more than a request may take', async () => {
      const [first, second] = [await newAdmin(), await newAdmin()]
      const finish = await begin(first.id, DEMOTE, new Date(Date.now() - 31_000))
      expect(codeOf(await patch(second.id, DEMOTE))).toBe(200)
      expect(await finish()).toBe('unavailable')
      expect(await admins()).toBe(1)
    })

    test('a second request to demote the same user is refused', async () => {
      const [first, second] = [await newAdmin(), await newAdmin()]
      const finish = await begin(first.id, DEMOTE)
      expect(codeOf(await patch(second.id, DEMOTE))).toBe('last_admin')
      expect(codeOf(await patch(first.id, DEMOTE))).toBe(200)
      expect(await finish()).toBe('unavailable')
      expect(await admins()).toBe(1)
    })
  })

  test('may come from another system that stores no `disabled`', async () => {
    const { id } = await newAdmin()
    await onDatabase(DB, (database) =>
      database.collection('users').updateOne({ roles: 'admin' }, { $unset: { disabled: 1 } }),
    )
    expect(codeOf(await patch(id, { roles: ['user'] }))).toBe('last_admin')
    const second = await newAdmin()
    expect(codeOf(await patch(second.id, { roles: ['user'] }))).toBe(200)
  })
})

describe('npm run admin', () => {
  const project = copyProject()
  afterAll(() => project.remove())
  let compiled: Awaited<ReturnType<typeof compileModule>>
  beforeAll(async () => {
    compiled = await compileModule('commands/Admin.ts')
  })
  afterAll(() => compiled.remove())
  const admin = async (args: string[], environment: NodeJS.ProcessEnv = { DB }) => {
    const { exit, output } = run(project.folder, [...compiled.command, ...args], environment)
    return { status: await exit, output: output() }
  }

  test('grants the role to who has registered, and says when it is in force', async () => {
    const { id } = await newVerified('first@example.com')
    const { status, output } = await admin(['grant', ' FIRST@example.com'])
    expect({ status, output }).toEqual({
      status: 0,
      output: expect.stringMatching(
        /^first is now an admin in .+\. .* within 5 seconds: .*sign in again\. The other admins were not told, because SMTP_URL or MAIL_FROM is not set\.\n$/,
      ),
    })
    expect(await userOf(id)).toMatchObject({ roles: ['user', 'admin'], tokenVersion: 1 })
    // Twice is once.
    expect((await admin(['grant', 'first@example.com'])).status).toBe(0)
    expect(await userOf(id)).toMatchObject({ roles: ['user', 'admin'] })
  })

  test('refuses an address that is not verified, which an attacker may have registered', async () => {
    const { id } = await newUser('unproven@example.com')
    expect(await admin(['grant', 'unproven@example.com'])).toEqual({
      status: 1,
      output: expect.stringMatching(/^The email address unproven@example\.com is not verified in .+\n$/),
    })
    expect(await userOf(id)).toMatchObject({ roles: ['user'], tokenVersion: 0 })
  })

  test('tells the other admins, or says that it could not', async () => {
    await newVerified('old-admin@example.com', ['user', 'admin'])
    await newVerified('new-admin@example.com')
    const smtp = await startSmtp()
    const settings = { DB, SMTP_URL: smtp.url, MAIL_FROM: 'no-reply@auth.test' }
    const { id } = await newVerified('newer-admin@example.com')
    expect(await admin(['grant', 'newer-admin@example.com'], settings)).toMatchObject({ status: 0 })
    const told = smtp.received.filter(({ to }) => to === 'old-admin@example.com')
    expect(told).toEqual([expect.objectContaining({ subject: 'Auth: there is a new admin' })])
    expect(told[0]!.text).toContain(`another user became an admin (id ${id})`)
    // Who is one already is not news.
    const count = smtp.received.length
    await admin(['grant', 'newer-admin@example.com'], settings)
    expect(smtp.received).toHaveLength(count)
    await smtp.stop()
    const { output } = await admin(['grant', 'new-admin@example.com'], settings)
    expect(output).toContain('The other admins were not told: ')
  })

  test.each([
    { name: 'no arguments', args: [], want: 'Usage: npm run admin -- grant <email>' },
    { name: 'two emails', args: ['grant', 'a@example.com', 'b@example.com'], want: 'Usage: ' },
    { name: 'an unknown option', args: ['grant', 'a@example.com', '--force'], want: 'Usage: ' },
    { name: 'an unknown email', args: ['grant', 'nobody@example.com'], want: 'No user in ' },
    {
      name: 'a stage without a DB',
      args: ['grant', 'a@example.com', '--stage', 'nowhere'],
      environment: {},
      want: 'Setting DB is missing. Set it in secrets.nowhere.json or in the environment.',
    },
    {
      name: 'a malformed DB',
      args: ['grant', 'a@example.com'],
      environment: { DB: 'localhost' },
      want: 'Setting DB must be a connection string',
    },
    {
      name: 'a DB that is away',
      args: ['grant', 'a@example.com'],
      environment: { DB: 'mongodb://ann:hunter2@127.0.0.1:1/auth' },
      want: 'Cannot reach the database at 127.0.0.1:1/auth',
    },
  ])('says what is wrong with $name, and no password', async ({ args, environment = { DB }, want }) => {
    const { status, output } = await admin(args, environment)
    expect({ status, output }).toEqual({ status: 1, output: expect.stringContaining(want) })
    expect(output).not.toMatch(/hunter2|^ +at /m)
  })
})

/**
 * Lambdas of signing in: register, login, me.
 */
import * as z from 'zod/mini'
import { withDatabase } from '../db.ts'
import { setting } from '../lib/Config.ts'
import { type Answer, route } from '../lib/Http.ts'
import { Problem } from '../lib/Problem.ts'
import {
  createUser,
  fields,
  findEnabledUser,
  findUserByEmail,
  ownView,
  upgradePasswordHash,
  type User,
} from '../user/User.ts'
import { hashPassword, passwordErrors, verifyPassword } from './Passwords.ts'
import { DEFAULT_ROLES } from './Permissions.ts'
import { sessionAnswer, usesCookie } from './SessionAnswer.ts'
import { type Device, startSession } from './Sessions.ts'

/** POST /register: 201 session. */
export const register = route(
  { body: z.strictObject({ name: fields.name, email: fields.email, password: fields.password }) },
  async ({ body: { name, email, password }, device, header }) => {
    const inCookie = usesCookie(header)
    const errors = await passwordErrors(password, { name, email }, setting('PASSWORD_MIN_LENGTH'))
    if (errors.length > 0) throw new Problem('invalid_request', { errors })
    const passwordHash = await hashPassword(password, hashSettings())
    return withDatabase(async () => {
      const user = await createUser({ name, email, passwordHash, roles: [...DEFAULT_ROLES] }, new Date())
      return signIn(201, user, device, inCookie)
    })
  },
)

/** POST /login: 200 session. Unknown e-mail, wrong password and disabled account cost and answer alike. */
export const login = route(
  { body: z.strictObject({ email: fields.email, password: fields.password }) },
  async ({ body: { email, password }, device, header }) => {
    const inCookie = usesCookie(header)
    const user = await withDatabase(() => findUserByEmail(email))
    const { matches, outdated } = await verifyPassword(password, user?.passwordHash, hashSettings())
    if (!user || !matches || user.disabled) throw new Problem('invalid_credentials')
    const upgraded = outdated ? await hashPassword(password, hashSettings()) : undefined
    return withDatabase(async () => {
      if (upgraded) await upgradePasswordHash(user, upgraded)
      return signIn(200, user, device, inCookie)
    })
  },
)

/** GET /me: 200 user. */
export const me = route({}, ({ caller }) =>
  withDatabase(async () => {
    const user = await findEnabledUser(caller.id)
    // The token outlives the account: to the client it is a token that is no longer good.
    if (!user) throw new Problem('invalid_token')
    return { status: 200, body: ownView(user) }
  }),
)

async function signIn(status: number, user: User, device: Device, inCookie: boolean): Promise<Answer> {
  const now = new Date()
  const session = await startSession(user, device, setting('REFRESH_TOKEN_KEY'), now)
  return sessionAnswer(status, user, session, inCookie, now)
}

const hashSettings = () => ({ pepper: setting('PEPPER'), cost: setting('BCRYPT_COST') })

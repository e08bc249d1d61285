/**
 * Lambdas of signing in: register, login, me.
 */
import * as z from 'zod/mini'
import { withDatabase } from '../db.ts'
import { setting } from '../lib/Config.ts'
import { type Answer, type Request, route } from '../lib/Http.ts'
import { Problem } from '../lib/Problem.ts'
import {
  createUser,
  fields,
  findUserByEmail,
  findUserById,
  ownView,
  upgradePasswordHash,
  type User,
} from '../user/User.ts'
import { hashPassword, passwordErrors, verifyPassword } from './Passwords.ts'
import { DEFAULT_ROLES } from './Permissions.ts'
import { startSession } from './Sessions.ts'
import { ACCESS_TOKEN_SECONDS, signer } from './Tokens.ts'

/** POST /register: 201 session. */
export const register = route(
  { body: z.strictObject({ name: fields.name, email: fields.email, password: fields.password }) },
  async ({ body: { name, email, password }, device }) => {
    const errors = await passwordErrors(password, { name, email }, setting('PASSWORD_MIN_LENGTH'))
    if (errors.length > 0) throw new Problem('invalid_request', { errors })
    const passwordHash = await hashPassword(password, hashSettings())
    return withDatabase(async () => {
      const now = new Date()
      const user = await createUser({ name, email, passwordHash, roles: [...DEFAULT_ROLES] }, now)
      return session(201, user, device, now)
    })
  },
)

/** POST /login: 200 session. Unknown e-mail, wrong password and disabled account cost and answer alike. */
export const login = route(
  { body: z.strictObject({ email: fields.email, password: fields.password }) },
  async ({ body: { email, password }, device }) => {
    const user = await withDatabase(() => findUserByEmail(email))
    const { matches, outdated } = await verifyPassword(password, user?.passwordHash, hashSettings())
    if (!user || !matches || user.disabled) throw new Problem('invalid_credentials')
    const upgraded = outdated ? await hashPassword(password, hashSettings()) : undefined
    return withDatabase(async () => {
      if (upgraded) await upgradePasswordHash(user, upgraded)
      return session(200, user, device, new Date())
    })
  },
)

/** GET /me: 200 user. */
export const me = route({}, ({ caller }) =>
  withDatabase(async () => {
    const user = await findUserById(caller.id)
    // The token outlives the account: to the client it is a token that is no longer good.
    if (!user || user.disabled) throw new Problem('invalid_token')
    return { status: 200, body: ownView(user) }
  }),
)

/** Starts a session and answers with its tokens (RFC 6749 section 5.1, in the names of this API's contract). */
async function session(
  status: number,
  user: User,
  device: Request<never, never>['device'],
  now: Date,
): Promise<Answer> {
  const { sessionId, refreshToken } = await startSession(user.id, device, setting('REFRESH_TOKEN_KEY'), now)
  const token = sign({ userId: user.id, sessionId, roles: user.roles }, now)
  return {
    status,
    body: { auth: true, token, tokenType: 'Bearer', expiresIn: ACCESS_TOKEN_SECONDS, refreshToken },
  }
}

const hashSettings = () => ({ pepper: setting('PEPPER'), cost: setting('BCRYPT_COST') })

let signToken: ReturnType<typeof signer> | undefined

/** The signer is made with the first token, since not every function of this file is given the keys. */
const sign: ReturnType<typeof signer> = (subject, now) => {
  signToken ??= signer(setting('SIGNING_KEYS'), { issuer: setting('ISSUER'), audience: setting('AUDIENCE') })
  return signToken(subject, now)
}

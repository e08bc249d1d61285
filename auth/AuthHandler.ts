/**
 * Handlers for signing in: register, login and me.
 */
import * as z from 'zod/mini'
import { Problem } from '../api/Problem.ts'
import { accepted, route, routes } from '../api/Route.ts'
import { database } from '../db.ts'
import { AttemptsModel } from '../throttle/Counters.ts'
import { fields, findEnabledUser, ownView } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'
import { logIn, logInWithCode, verifyAndLogIn } from './Login.ts'
import { NEW_PASSWORD } from './Passwords.ts'
import { register as registerUser } from './Registration.ts'
import { sessionAnswer, SIGNING, usesCookie } from './SessionAnswer.ts'
import { SessionModel } from './Sessions.ts'

const signingIn = database(UserModel, SessionModel, AttemptsModel)

/** POST /register: 201 session, or 202 and an email if a login requires a verified email. */
export const register = route(
  {
    settings: [
      ...SIGNING,
      ...NEW_PASSWORD,
      'LIMITS',
      'REGISTRATION',
      'EMAIL_VERIFICATION',
      'MAIL_FUNCTION_URL',
    ],
    database: signingIn,
    hashesPasswords: true,
    body: z.strictObject({ name: fields.name, email: fields.email, password: fields.password }),
  },
  async (request) => {
    const inCookie = usesCookie(request.header)
    const signedIn = await registerUser(request.body, request.device, request)
    return signedIn
      ? sessionAnswer(201, signedIn, inCookie, request)
      : accepted('We have sent you an email. Follow the link in it, then sign in.')
  },
)

const withPassword = {
  settings: [...SIGNING, 'PEPPER', 'BCRYPT_COST', 'LIMITS', 'REGISTRATION', 'EMAIL_VERIFICATION'],
  database: signingIn,
  hashesPasswords: true,
} as const

/** POST /login: 200 session, or 401 with a challenge if the second factor is on. */
export const login = route(
  { ...withPassword, body: z.strictObject({ email: fields.email, password: fields.password }) },
  async (request) => {
    const inCookie = usesCookie(request.header)
    return sessionAnswer(200, await logIn(request.body, request.device, request), inCookie, request)
  },
)

/** POST /email/verify: as POST /login, with the emailed link of a new account, whose email it verifies. */
export const verifyEmail = route(
  { ...withPassword, body: z.strictObject({ token: z.string(), password: fields.password }) },
  async (request) => {
    const inCookie = usesCookie(request.header)
    const signedIn = await verifyAndLogIn(request.body, request.device, request)
    return sessionAnswer(200, signedIn, inCookie, request)
  },
)

/** Signing in with a password as one Lambda function. */
export const signIn = routes({ 'POST /login': login, 'POST /email/verify': verifyEmail })

/** POST /login/mfa: 200 session, in exchange for a challenge and a code. */
export const loginMfa = route(
  {
    settings: [...SIGNING, 'PEPPER', 'LIMITS', 'MAIL_FUNCTION_URL'],
    database: signingIn,
    body: z.strictObject({ challenge: z.string(), code: fields.code }),
  },
  async (request) => {
    const inCookie = usesCookie(request.header)
    return sessionAnswer(200, await logInWithCode(request.body, request.device, request), inCookie, request)
  },
)

/** GET /me: 200 user. */
export const me = route({ role: 'user', database: database(UserModel) }, async (request) => {
  const user = await request.database(() => findEnabledUser(request.caller.id))
  // The token outlives the account. To the client, it is simply no longer valid.
  if (!user) throw new Problem('invalid_token')
  return { status: 200, body: ownView(user) }
})

/**
 * Lambdas of signing in: register, login, me.
 */
import * as z from 'zod/mini'
import { mailLater } from '../mail/MailJobs.ts'
import { useCode } from '../user/SecondFactor.ts'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { accepted, type Answer, type Device, route } from '../api/Route.ts'
import { identify } from '../lib/Log.ts'
import { Problem } from '../api/Problem.ts'
import {
  createUser,
  fields,
  findEnabledUser,
  findUserByEmail,
  offerUser,
  ownView,
  upgradePasswordHash,
} from '../user/User.ts'
import { DEFAULT_ROLES } from '../user/Roles.ts'
import type { User } from '../user/UserModel.ts'
import { CHALLENGE_SECONDS, newChallenge, readChallenge } from './MfaChallenge.ts'
import { hashPassword, passwordErrors, verifyPassword } from './Passwords.ts'
import { sessionAnswer, usesCookie } from './SessionAnswer.ts'
import { startSession } from './Sessions.ts'
import {
  codeRules,
  countAttempt,
  forgive,
  forgiveFirstFactor,
  loginRules,
  registrationRules,
} from '../throttle/Counters.ts'

/** POST /register: 201 session; 202 and a mail where a login needs a verified e-mail. */
export const register = route(
  { body: z.strictObject({ name: fields.name, email: fields.email, password: fields.password }) },
  async ({ body: { name, email, password }, device, header }) => {
    const inCookie = usesCookie(header)
    const rules = registrationRules(device.address, setting('LIMITS'))
    await withDatabase(() => countAttempt(rules, new Date()))
    const own = { name, email, product: setting('PRODUCT_NAME') }
    const errors = await passwordErrors(password, own, setting('PASSWORD_MIN_LENGTH'))
    if (errors.length > 0) throw new Problem('invalid_request', { errors })
    const passwordHash = await hashPassword(password, hashSettings())
    const user = { name, email, passwordHash, roles: [...DEFAULT_ROLES] }
    if (setting('REGISTRATION') === 'private') return registerPrivately(user)

    const answer = await withDatabase(async () => {
      const created = await createUser(user, new Date())
      identify({ userId: created.id })
      audit('user_created')
      return needsVerification() ? REGISTERED : signIn(201, created, device, inCookie)
    })
    await mailLater({ mail: 'emailVerification', email })
    return answer
  },
)

/** One answer, and one time, whether the e-mail is taken or not: the mail tells its owner. */
async function registerPrivately(user: Parameters<typeof offerUser>[0]): Promise<Answer> {
  const userId = await withDatabase(() => offerUser(user, new Date()))
  if (userId) {
    identify({ userId })
    audit('user_created')
  }
  await mailLater({ mail: userId ? 'emailVerification' : 'registeredAlready', email: user.email })
  return REGISTERED
}

const REGISTERED = accepted('A mail is on its way: follow the link in it, and then log in.')

/** Private registration needs it too: whoever can log in at once knows that the e-mail was not taken. */
const needsVerification = () =>
  setting('REGISTRATION') === 'private' || setting('EMAIL_VERIFICATION') === 'required'

/**
 * POST /login: 200 session, or 401 with a challenge where there is a second factor. Unknown e-mail, wrong password and
 * disabled account cost and answer alike.
 */
export const login = route(
  { body: z.strictObject({ email: fields.email, password: fields.password }) },
  async ({ body: { email, password }, device, header }) => {
    const inCookie = usesCookie(header)
    const rules = loginRules(email, device.address, setting('LIMITS'))
    const user = await withDatabase(async () => {
      await countAttempt(rules, new Date())
      return findUserByEmail(email)
    })
    if (user) identify({ userId: user.id })
    // Of a disabled account no password is right: a cheap hash that matches would tell by its time.
    const stored = user?.disabled ? undefined : user?.passwordHash
    const { matches, outdated } = await verifyPassword(password, stored, hashSettings())
    const reason = failure(user, matches)
    if (!user || reason) {
      audit('authn_login_fail', { reason })
      // Only who knows the password hears that the e-mail is not verified, and in private nobody does.
      const isOpen = setting('REGISTRATION') !== 'private'
      throw new Problem(
        reason === 'email_not_verified' && isOpen ? 'email_not_verified' : 'invalid_credentials',
      )
    }
    const upgraded = outdated ? await hashPassword(password, hashSettings()) : undefined
    return withDatabase(async () => {
      if (upgraded) await upgradePasswordHash(user, upgraded)
      if (user.totp) {
        await forgiveFirstFactor(rules, new Date())
        throw mfaRequired(user)
      }
      const [answer] = await Promise.all([signIn(200, user, device, inCookie), forgive(rules, new Date())])
      return answer
    })
  },
)

function failure(user: User | undefined, matches: boolean): string | undefined {
  if (!user) return 'unknown_email'
  if (user.disabled) return 'disabled'
  if (!matches) return 'wrong_password'
  return needsVerification() && !user.emailVerified ? 'email_not_verified' : undefined
}

function mfaRequired(user: User): Problem {
  audit('authn_mfa_required')
  const challenge = newChallenge(user, setting('REFRESH_TOKEN_KEY'), new Date())
  return new Problem('mfa_required', { extensions: { challenge, expiresIn: CHALLENGE_SECONDS } })
}

/**
 * POST /login/mfa: 200 session. A code of the app or a recovery code; each works once, and wrong ones count as failed
 * logins do.
 */
export const loginMfa = route(
  { body: z.strictObject({ challenge: z.string(), code: fields.code }) },
  async ({ body: { challenge, code }, device, header }) => {
    const inCookie = usesCookie(header)
    const subject = readChallenge(challenge, setting('REFRESH_TOKEN_KEY'), new Date())
    if (!subject) throw loginFailed('invalid_challenge')
    identify({ userId: subject.id })
    const { answer, user, factor } = await withDatabase(async () => {
      const user = await findEnabledUser(subject.id)
      if (!user?.totp || user.sessionVersion !== subject.sessionVersion)
        throw loginFailed('invalid_challenge')
      const limits = setting('LIMITS')
      const rules = [...loginRules(user.email, device.address, limits), ...codeRules(user.id, limits)]
      await countAttempt(rules, new Date())
      const factor = await useCode(user, code, setting('PEPPER'), new Date())
      if (!factor) throw loginFailed('wrong_code')
      if (factor === 'recovery_code') audit('authn_recovery_code_used')
      const [answer] = await Promise.all([
        signIn(200, user, device, inCookie, factor),
        forgive(rules, new Date()),
      ])
      return { answer, user, factor }
    })
    if (factor === 'recovery_code') {
      await mailLater({ mail: 'notice', notice: 'recoveryCodeUsed', email: user.email })
    }
    return answer
  },
)

function loginFailed(reason: 'invalid_challenge' | 'wrong_code'): Problem {
  audit('authn_login_fail', { reason })
  return new Problem(reason)
}

/** GET /me: 200 user. */
export const me = route({}, ({ caller }) =>
  withDatabase(async () => {
    const user = await findEnabledUser(caller.id)
    // The token outlives the account: to the client it is a token that is no longer good.
    if (!user) throw new Problem('invalid_token')
    return { status: 200, body: ownView(user) }
  }),
)

async function signIn(
  status: number,
  user: User,
  device: Device,
  inCookie: boolean,
  factor?: string,
): Promise<Answer> {
  const now = new Date()
  const session = await startSession(user, device, setting('REFRESH_TOKEN_KEY'), now)
  identify({ userId: user.id, sessionId: session.sessionId })
  audit('authn_login_success', { ...(factor && { factor }) })
  return sessionAnswer(status, user, session, inCookie, now)
}

const hashSettings = () => ({ pepper: setting('PEPPER'), cost: setting('BCRYPT_COST') })

/**
 * Handlers for the second factor: set it up, turn it off, replace the recovery codes. POST /login/mfa is in
 * auth/AuthHandler.ts.
 */
import * as z from 'zod/mini'
import { audit } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import { route, routes } from '../api/Route.ts'
import { SessionModel } from '../auth/Sessions.ts'
import { database } from '../db.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { AttemptsModel } from '../throttle/Counters.ts'
import {
  confirmEnrolment,
  describeSecondFactor,
  removeSecondFactor,
  replaceRecoveryCodes,
  startEnrolment,
} from '../user/SecondFactor.ts'
import { fields } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'
import {
  confirmCaller,
  CONFIRMING,
  findConfirming,
  forgetFailures,
  hasCode,
  hasPassword,
  notConfirmed,
} from './Confirmation.ts'

const confirming = database(UserModel, SessionModel, AttemptsModel)
const { password: currentPassword, code } = fields

/** GET /me/mfa: 200 `{ totp, recoveryCodesLeft }`. */
export const mfa = route({ role: 'user', database: database(UserModel) }, async (request) => {
  const body = await request.database(() => describeSecondFactor(request.caller.id))
  if (!body) throw new Problem('invalid_token')
  return { status: 200, body }
})

/**
 * POST /me/mfa/totp: 200 `{ secret, uri }` for an authenticator app, valid for ten minutes. The email must be
 * verified. Otherwise, a stranger who registered with it could lock its owner out for good.
 */
export const startTotp = route(
  {
    role: 'user',
    settings: ['PEPPER', 'BCRYPT_COST', 'LIMITS', 'PRODUCT_NAME'],
    database: confirming,
    hashesPasswords: true,
    body: z.strictObject({ currentPassword }),
  },
  async (request) => {
    const { body, caller, settings, now } = request
    const checks = [hasPassword(body.currentPassword, request)]
    const enrolment = await confirmCaller(caller, request, checks, async (user) => {
      if (!user.emailVerified) throw new Problem('email_not_verified')
      return request.database(() => startEnrolment(user, settings.PRODUCT_NAME, settings.PEPPER, now))
    })
    if (!enrolment) throw new Problem('mfa_enabled')
    return { status: 200, body: enrolment }
  },
)

/** POST /me/mfa/totp/confirm: 200 `{ recoveryCodes }`. From now on, a login asks for a code. */
export const confirmTotp = route(
  {
    role: 'user',
    settings: ['PEPPER', 'LIMITS', 'MAIL_FUNCTION_URL'],
    database: confirming,
    body: z.strictObject({ code }),
  },
  async (request) => {
    const { body, caller, settings, now } = request
    const { user, rules } = await findConfirming(caller, request)
    if (user.totp) throw new Problem('mfa_enabled')
    const recoveryCodes = await request.database(async () => {
      const codes = await confirmEnrolment(user, body.code, settings.PEPPER, now)
      if (codes) audit('authn_mfa_enabled')
      return codes
    })
    if (!recoveryCodes) throw notConfirmed('wrong_code')
    await Promise.all([
      forgetFailures(rules, request),
      mailLater(request, { mail: 'notice', notice: 'mfaEnabled', email: user.email }),
    ])
    return { status: 200, body: { recoveryCodes } }
  },
)

const ownerWithCode = {
  role: 'user',
  settings: CONFIRMING,
  database: confirming,
  hashesPasswords: true,
  body: z.strictObject({ currentPassword, code }),
} as const

/** DELETE /me/mfa/totp: 204. */
export const disableTotp = route(ownerWithCode, async (request) => {
  const { body, caller } = request
  const checks = [hasPassword(body.currentPassword, request), hasCode(body.code, request)]
  await confirmCaller(caller, request, checks, async (user) => {
    await request.database(async () => {
      await removeSecondFactor(user)
      audit('authn_mfa_disabled')
    })
    await mailLater(request, { mail: 'notice', notice: 'mfaDisabled', email: user.email })
  })
  return { status: 204 }
})

/** POST /me/mfa/recovery-codes: 200 `{ recoveryCodes }`, which replace the old ones. */
export const newRecoveryCodes = route(ownerWithCode, async (request) => {
  const { body, caller } = request
  const checks = [hasPassword(body.currentPassword, request), hasCode(body.code, request)]
  const recoveryCodes = await confirmCaller(caller, request, checks, async (user) => {
    const codes = await request.database(async () => {
      const replaced = await replaceRecoveryCodes(user)
      audit('authn_recovery_codes_created')
      return replaced
    })
    await mailLater(request, { mail: 'notice', notice: 'recoveryCodesReplaced', email: user.email })
    return codes
  })
  return { status: 200, body: { recoveryCodes } }
})

/** All routes of the second factor as one Lambda function. */
export const secondFactor = routes({
  'GET /me/mfa': mfa,
  'POST /me/mfa/totp': startTotp,
  'POST /me/mfa/totp/confirm': confirmTotp,
  'DELETE /me/mfa/totp': disableTotp,
  'POST /me/mfa/recovery-codes': newRecoveryCodes,
})

/**
 * Handlers for forgotten passwords and for confirming an email. Neither the answers nor their timing reveal
 * whether there is an account, because only the mail function looks that up (mail/MailJobs.ts).
 */
import * as z from 'zod/mini'
import { audit, event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import { accepted, route, routes } from '../api/Route.ts'
import { hashNewPassword, NEW_PASSWORD } from '../auth/Passwords.ts'
import { database } from '../db.ts'
import { bestEffort } from '../lib/BestEffort.ts'
import { identify } from '../lib/Log.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { AttemptsModel, clear, countAttempt } from '../throttle/Counters.ts'
import { mailRequestRules, ownerRules } from '../throttle/Rules.ts'
import { confirmEmail, findByPasswordReset, resetPassword } from '../user/Account.ts'
import { fields } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'

const counting = database(AttemptsModel)
const users = database(UserModel)
const askingForMail = {
  settings: ['LIMITS', 'MAIL_FUNCTION_URL'],
  database: counting,
  body: z.strictObject({ email: fields.email }),
} as const

/** POST /password/forgot: always 202. */
export const forgotPassword = route(askingForMail, async (request) => {
  const { body, device, settings, now } = request
  const rules = mailRequestRules('forgots', body.email, device.address, settings.LIMITS)
  await request.database(() => countAttempt(rules, now))
  await mailLater(request, { mail: 'passwordReset', email: body.email })
  return accepted('If there is an account with this email address, we have sent a link to it.')
})

/** POST /password/reset: 204. All sessions end, and no new one starts. */
export const resetMyPassword = route(
  {
    settings: [...NEW_PASSWORD, 'LIMITS', 'MAIL_FUNCTION_URL'],
    database: database(UserModel, AttemptsModel),
    hashesPasswords: true,
    body: z.strictObject({ token: z.string(), password: fields.password }),
  },
  async (request) => {
    const { body, device, settings, now } = request
    const user = await request.database(() => findByPasswordReset(body.token, now)).catch(reported)
    identify({ userId: user.id })
    const passwordHash = await hashNewPassword('password', body.password, user, settings)
    const { email } = await request
      .database(async () => {
        const changed = await resetPassword(body.token, passwordHash, now)
        audit('authn_password_reset')
        return changed
      })
      .catch(reported)
    await Promise.all([
      mailLater(request, { mail: 'notice', notice: 'passwordReset', email }),
      // An attacker may have used up the attempts of this email. Now its owner is back.
      bestEffort('clear the counters of an email', () =>
        request.database(() => clear(ownerRules(email, device.address, settings.LIMITS))),
      ),
    ])
    return { status: 204 }
  },
)

/** Rethrows an error. If a link was refused, adds the event of a failed password reset. */
function reported(error: unknown): never {
  if (!(error instanceof Problem) || error.code !== 'invalid_one_time_token') throw error
  throw new Problem(error.code, { events: [event('authn_password_reset_fail')] })
}

/**
 * POST /email/verify: 204. The address that the link was sent to becomes the verified email of the account.
 */
export const verifyEmail = route(
  { settings: ['MAIL_FUNCTION_URL'], database: users, body: z.strictObject({ token: z.string() }) },
  async (request) => {
    const { before, after } = await request.database(async () => {
      const confirmed = await confirmEmail(request.body.token, request.now)
      identify({ userId: confirmed.after.id })
      audit('user_email_verified')
      if (confirmed.after.email !== confirmed.before.email) audit('user_email_changed')
      return confirmed
    })
    if (after.email !== before.email) {
      await mailLater(request, { mail: 'notice', notice: 'emailChanged', email: before.email })
    }
    return { status: 204 }
  },
)

/** POST /email/verify/resend: always 202. */
export const resendVerification = route(askingForMail, async (request) => {
  const { body, device, settings, now } = request
  const rules = mailRequestRules('resends', body.email, device.address, settings.LIMITS)
  await request.database(() => countAttempt(rules, now))
  await mailLater(request, { mail: 'emailVerification', email: body.email })
  return accepted(
    'If there is an account with this email address and it is not verified yet, we have sent a link to it.',
  )
})

/** All routes but the reset as one Lambda function. Only the reset hashes a password. */
export const email = routes({
  'POST /password/forgot': forgotPassword,
  'POST /email/verify': verifyEmail,
  'POST /email/verify/resend': resendVerification,
})

/**
 * Handlers for forgotten passwords and for confirming an email. Neither the answers nor their timing reveal
 * whether there is an account, because only the mail function looks that up (mail/MailJobs.ts).
 */
import * as z from 'zod/mini'
import { audit, event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import { accepted, route, routes } from '../api/Route.ts'
import { hashNewPassword, NEW_PASSWORD } from '../auth/Passwords.ts'
import { revokeSessions, SessionModel } from '../auth/Sessions.ts'
import { database } from '../db.ts'
import { bestEffort } from '../lib/BestEffort.ts'
import { identify } from '../lib/Log.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { AttemptsModel, clear, countAttempt } from '../throttle/Counters.ts'
import { mailRequestRules, ownerRules } from '../throttle/Rules.ts'
import { findByPasswordReset, resetPassword, withdraw } from '../user/Account.ts'
import { fields } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'

const counting = database(AttemptsModel)
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
        const changed = await resetPassword(user, body.token, passwordHash, now)
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
 * POST /email/withdraw: 204. For whoever gets a link that they did not ask for: deletes an account that was never
 * verified, or cancels the change of an email.
 */
export const withdrawEmail = route(
  { database: database(UserModel, SessionModel), body: z.strictObject({ token: z.string() }) },
  async ({ body, database: onDatabase, now }) => {
    await onDatabase(async () => {
      const { user, isDeleted } = await withdraw(body.token, (userId) => revokeSessions(userId, now), now)
      identify({ userId: user.id })
      audit(isDeleted ? 'user_registration_withdrawn' : 'user_email_change_withdrawn')
    })
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
  'POST /email/verify/resend': resendVerification,
  'POST /email/withdraw': withdrawEmail,
})

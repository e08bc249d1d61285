/**
 * Lambdas of the mails with a link: forgotten passwords, and the confirmation of an e-mail.
 * Whether there is an account shows in no answer and in no time: the function that sends mail looks (MailJobs.ts).
 */
import * as z from 'zod/mini'
import { hashPassword, passwordErrors } from '../auth/Passwords.ts'
import { countAttempt, forgetEmail, mailRequestRules } from '../throttle/Counters.ts'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { accepted, route } from '../api/Route.ts'
import { identify } from '../lib/Log.ts'
import { Problem } from '../api/Problem.ts'
import { fields } from '../user/User.ts'
import { confirmEmail, findByPasswordReset, resetPassword } from '../user/Account.ts'
import { mailLater } from '../mail/MailJobs.ts'

/** POST /password/forgot: always 202. */
export const forgotPassword = route(
  { body: z.strictObject({ email: fields.email }) },
  async ({ body: { email }, device }) => {
    const rules = mailRequestRules('forgots', email, device.address, setting('LIMITS'))
    await withDatabase(() => countAttempt(rules, new Date()))
    await mailLater({ mail: 'passwordReset', email })
    return accepted('If there is an account with this e-mail, a mail with a link is on its way to it.')
  },
)

/** POST /password/reset: 204. All sessions have ended, and no new one begins. */
export const resetMyPassword = route(
  { body: z.strictObject({ token: z.string(), password: fields.password }) },
  async ({ body: { token, password }, device }) => {
    const user = await withDatabase(() => findByPasswordReset(token, new Date())).catch(logged)
    identify({ userId: user.id })
    const own = { ...user, product: setting('PRODUCT_NAME') }
    const errors = await passwordErrors(password, own, setting('PASSWORD_MIN_LENGTH'))
    if (errors.length > 0) throw new Problem('invalid_request', { errors })
    const passwordHash = await hashPassword(password, {
      pepper: setting('PEPPER'),
      cost: setting('BCRYPT_COST'),
    })
    const changed = await withDatabase(() => resetPassword(token, passwordHash, new Date())).catch(logged)
    identify({ userId: changed.id })
    audit('authn_password_reset')
    await Promise.all([
      mailLater({ mail: 'notice', notice: 'passwordReset', email: changed.email }),
      // Others may have used up the attempts of this e-mail; its owner is back.
      withDatabase(() => forgetEmail(changed.email, device.address, setting('LIMITS'))),
    ])
    return { status: 204 }
  },
)

function logged(error: unknown): never {
  if (error instanceof Problem && error.code === 'invalid_one_time_token') audit('authn_password_reset_fail')
  throw error
}

/** POST /email/verify: 204. The e-mail that the link was sent to is the verified one of the account. */
export const verifyEmail = route(
  { body: z.strictObject({ token: z.string() }) },
  async ({ body: { token } }) => {
    const { before, after } = await withDatabase(() => confirmEmail(token, new Date()))
    identify({ userId: after.id })
    audit('user_email_verified')
    if (after.email !== before.email) {
      audit('user_email_changed')
      await mailLater({ mail: 'notice', notice: 'emailChanged', email: before.email })
    }
    return { status: 204 }
  },
)

/** POST /email/verify/resend: always 202. */
export const resendVerification = route(
  { body: z.strictObject({ email: fields.email }) },
  async ({ body: { email }, device }) => {
    const rules = mailRequestRules('resends', email, device.address, setting('LIMITS'))
    await withDatabase(() => countAttempt(rules, new Date()))
    await mailLater({ mail: 'emailVerification', email })
    return accepted(
      'If there is an account whose e-mail is not verified, a mail with a link is on its way to it.',
    )
  },
)

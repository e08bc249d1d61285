/**
 * Lambdas of one's own account: name, password, e-mail, and its end.
 */
import * as z from 'zod/mini'
import { hashPassword, passwordErrors } from '../auth/Passwords.ts'
import { sessionAnswer, usesCookie } from '../auth/SessionAnswer.ts'
import { keepSession, revokeSessions } from '../auth/Sessions.ts'
import { countAttempt, emailChangeRules } from '../throttle/Counters.ts'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { accepted, route } from '../api/Route.ts'
import { Problem } from '../api/Problem.ts'
import { deleteUser, fields, ownView } from '../user/User.ts'
import { changePassword, renameUser } from '../user/Account.ts'
import { confirmCaller, hasCodeIfAny, hasPassword } from './Confirmation.ts'
import { mailLater } from '../mail/MailJobs.ts'

const currentPassword = fields.password

/** PATCH /me: 200 user. */
export const updateMe = route({ body: z.strictObject({ name: fields.name }) }, ({ body, caller }) =>
  withDatabase(async () => {
    const user = await renameUser(caller.id, body.name)
    if (!user) throw new Problem('invalid_token')
    audit('user_updated')
    return { status: 200, body: ownView(user) }
  }),
)

/** POST /me/password: 200 session. It is this one, with new tokens; all others have ended. */
export const changeMyPassword = route(
  { body: z.strictObject({ currentPassword, newPassword: fields.password }) },
  async ({ body, caller, header }) => {
    const inCookie = usesCookie(header)
    const user = await confirmCaller(caller, hasPassword(body.currentPassword))
    const own = { ...user, product: setting('PRODUCT_NAME') }
    const errors = await passwordErrors(body.newPassword, own, setting('PASSWORD_MIN_LENGTH'))
    if (errors.length > 0) {
      throw new Problem('invalid_request', {
        errors: errors.map(({ message }) => ({ path: 'newPassword', message })),
      })
    }
    const passwordHash = await hashPassword(body.newPassword, {
      pepper: setting('PEPPER'),
      cost: setting('BCRYPT_COST'),
    })
    const now = new Date()
    const changed = await withDatabase(() => changePassword(user, passwordHash, now))
    // Told at once, whatever becomes of the session.
    audit('authn_password_change')
    const { sessionId } = caller
    const [refreshToken] = await Promise.all([
      withDatabase(() => keepSession(sessionId, changed, setting('REFRESH_TOKEN_KEY'), now)),
      mailLater({ mail: 'notice', notice: 'passwordChanged', email: user.email }),
    ])
    // Ended at the same moment: the client signs in, with the new password.
    if (!refreshToken) throw new Problem('invalid_token')
    return sessionAnswer(200, changed, { sessionId, refreshToken }, inCookie, now)
  },
)

/**
 * POST /me/email: 202. The new address counts once it is confirmed by the link in the mail to it. Mails reset the
 * password: where the second factor is on, its code is asked for as well.
 */
export const changeMyEmail = route(
  { body: z.strictObject({ email: fields.email, currentPassword, code: z.optional(fields.code) }) },
  async ({ body, caller }) => {
    const user = await confirmCaller(caller, hasPassword(body.currentPassword), hasCodeIfAny(body.code))
    await withDatabase(() => countAttempt(emailChangeRules(user.id, setting('LIMITS')), new Date()))
    audit('user_email_change_requested')
    await Promise.all([
      mailLater({
        mail: 'emailChange',
        userId: user.id,
        sessionVersion: user.sessionVersion,
        email: body.email,
      }),
      mailLater({ mail: 'notice', notice: 'emailChangeRequested', email: user.email }),
    ])
    return accepted('A mail with a link to confirm the new address is on its way to it.')
  },
)

/** DELETE /me: 204. */
export const deleteMe = route({ body: z.strictObject({ currentPassword }) }, async ({ body, caller }) => {
  const user = await confirmCaller(caller, hasPassword(body.currentPassword))
  await withDatabase(() => deleteUser(user, () => revokeSessions(user.id, new Date()), new Date()))
  audit('user_deleted')
  await mailLater({ mail: 'notice', notice: 'accountDeleted', email: user.email })
  return { status: 204 }
})

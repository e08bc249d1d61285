/**
 * Handlers for the caller's own account: name, password, email and deletion.
 */
import * as z from 'zod/mini'
import { audit } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import { accepted, route, routes } from '../api/Route.ts'
import { NEW_PASSWORD } from '../auth/Passwords.ts'
import { sessionAnswer, SIGNING, usesCookie } from '../auth/SessionAnswer.ts'
import { revokeSessions, SessionModel } from '../auth/Sessions.ts'
import { database } from '../db.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { AttemptsModel, countAttempt } from '../throttle/Counters.ts'
import { emailChangeRules } from '../throttle/Rules.ts'
import { changeEmail, renameUser } from '../user/Account.ts'
import { deleteUser, fields, ownView } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'
import { confirmCaller, CONFIRMING, findCaller, hasCodeIfAny, hasPassword } from './Confirmation.ts'
import { changePassword } from './PasswordChange.ts'

const confirming = database(UserModel, SessionModel, AttemptsModel)
const currentPassword = fields.password

/** PATCH /me: 200 user. */
export const updateMe = route(
  { role: 'user', database: database(UserModel), body: z.strictObject({ name: fields.name }) },
  async ({ body, caller, database: onDatabase }) => {
    const user = await onDatabase(async () => {
      const renamed = await renameUser(caller.id, body.name)
      if (renamed) audit('user_updated')
      return renamed
    })
    if (!user) throw new Problem('invalid_token')
    return { status: 200, body: ownView(user) }
  },
)

/** POST /me/password: 200 with the current session and new tokens. All other sessions have ended. */
export const changeMyPassword = route(
  {
    role: 'user',
    settings: [...SIGNING, ...NEW_PASSWORD, ...CONFIRMING],
    database: confirming,
    hashesPasswords: true,
    body: z.strictObject({ currentPassword, newPassword: fields.password, code: z.optional(fields.code) }),
  },
  async (request) => {
    const inCookie = usesCookie(request.header)
    return sessionAnswer(200, await changePassword(request.body, request.caller, request), inCookie, request)
  },
)

/**
 * POST /me/email: 202. The new address takes effect once the user follows the link that is sent to it.
 * Because an email can reset the password, a code is required too if the second factor is on.
 */
export const changeMyEmail = route(
  {
    role: 'user',
    settings: CONFIRMING,
    database: confirming,
    hashesPasswords: true,
    body: z.strictObject({ email: fields.email, currentPassword, code: z.optional(fields.code) }),
  },
  async (request) => {
    const { body, caller, settings, now } = request
    const checks = [hasPassword(body.currentPassword, request), hasCodeIfAny(body.code, request)]
    await confirmCaller(caller, request, checks, async ({ id: userId, email, sessionVersion }) => {
      await request.database(() => countAttempt(emailChangeRules(userId, settings.LIMITS), now))
      audit('user_email_change_requested')
      // Somebody's own address is not a new one, but it may still have to be verified.
      if (body.email === email) return mailLater(request, { mail: 'emailVerification', email })
      await Promise.all([
        mailLater(request, { mail: 'emailChange', userId, sessionVersion, email: body.email }),
        mailLater(request, { mail: 'notice', notice: 'emailChangeRequested', email }),
      ])
    })
    return accepted(
      'We have sent an email to your new address. Follow the link in it to confirm the address.',
    )
  },
)

/** POST /me/email/verify: 204. The address that the link was sent to becomes the verified email of the caller. */
export const confirmMyEmail = route(
  {
    role: 'user',
    settings: ['MAIL_FUNCTION_URL'],
    database: database(UserModel, SessionModel),
    body: z.strictObject({ token: z.string() }),
  },
  async (request) => {
    const { body, caller, now } = request
    const before = await request.database(async () => {
      const user = await findCaller(caller)
      await changeEmail(user, body.token, now)
      audit('user_email_verified')
      audit('user_email_changed')
      return user
    })
    await mailLater(request, { mail: 'notice', notice: 'emailChanged', email: before.email })
    return { status: 204 }
  },
)

/** DELETE /me: 204. */
export const deleteMe = route(
  {
    role: 'user',
    settings: CONFIRMING,
    database: confirming,
    hashesPasswords: true,
    body: z.strictObject({ currentPassword, code: z.optional(fields.code) }),
  },
  async (request) => {
    const { body, caller, now } = request
    const checks = [hasPassword(body.currentPassword, request), hasCodeIfAny(body.code, request)]
    await confirmCaller(caller, request, checks, async (user) => {
      await request.database(async () => {
        await deleteUser(user, () => revokeSessions(user.id, now), now)
        audit('user_deleted')
      })
      await mailLater(request, { mail: 'notice', notice: 'accountDeleted', email: user.email })
    })
    return { status: 204 }
  },
)

/** All routes but the password as one Lambda function. Only the password route needs the signing keys. */
export const account = routes({
  'PATCH /me': updateMe,
  'DELETE /me': deleteMe,
  'POST /me/email': changeMyEmail,
  'POST /me/email/verify': confirmMyEmail,
})

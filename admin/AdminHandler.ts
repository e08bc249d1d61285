/**
 * Handlers for admins: list, show and change users.
 */
import * as z from 'zod/mini'
import { audit } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import { route, routes } from '../api/Route.ts'
import { database } from '../db.ts'
import { bestEffort } from '../lib/BestEffort.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { page, pageAnswer } from '../user/Page.ts'
import { ADMIN, ROLES } from '../user/Roles.ts'
import { removeSecondFactor } from '../user/SecondFactor.ts'
import {
  adminView,
  changeUser,
  endSessions,
  fields,
  findAdmins,
  findUserById,
  normaliseEmail,
  searchUsers,
} from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'

const users = database(UserModel)
const oneUser = { role: 'admin', database: users, path: z.strictObject({ id: fields.id }) } as const

/**
 * GET /admin/users?email=&limit=&after=: 200 array of users whose email starts with a text, paginated like
 * GET /users.
 */
export const adminUsers = route(
  {
    role: 'admin',
    settings: ['ISSUER'],
    database: users,
    query: z.strictObject({ ...page, email: z._default(z.string().check(z.maxLength(254)), '') }),
  },
  async ({ query: { email, limit, after }, settings, database: onDatabase }) => {
    const found = await onDatabase(() => searchUsers(normaliseEmail(email), limit, after))
    return pageAnswer(`${settings.ISSUER}/admin/users`, { ...(email && { email }), limit }, found, adminView)
  },
)

/** GET /admin/users/{id}: 200 user. */
export const adminUser = route(oneUser, async ({ path: { id }, database: onDatabase }) => {
  const user = await onDatabase(() => findUserById(id))
  if (!user) throw new Problem('not_found')
  return { status: 200, body: adminView(user) }
})

/** PATCH /admin/users/{id}: 200 changed user. The other admins are told when it makes somebody an admin. */
export const updateUser = route(
  {
    ...oneUser,
    settings: ['MAIL_FUNCTION_URL'],
    body: z
      .strictObject({
        roles: z.optional(
          z.array(z.enum(ROLES, { error: `must be one of ${ROLES.join(', ')}` })).check(
            z.minLength(1, 'must contain at least one role'),
            z.refine((roles) => new Set(roles).size === roles.length, 'must not contain a role twice'),
          ),
        ),
        disabled: z.optional(z.boolean()),
      })
      .check(z.refine((change) => Object.keys(change).length > 0, 'must contain roles or disabled')),
  },
  async (request) => {
    const { path, body, database: onDatabase, now } = request
    const { id } = path
    const promotes = body.roles?.includes(ADMIN)
    const { user, isNewAdmin } = await onDatabase(async () => {
      const before = promotes ? await findUserById(id) : undefined
      const changed = await changeUser(id, body, now)
      if (body.roles) audit('authz_change', { subjectId: id, roles: changed.roles })
      if (body.disabled !== undefined) {
        audit(body.disabled ? 'user_disabled' : 'user_enabled', { subjectId: id })
      }
      return { user: changed, isNewAdmin: promotes && !before?.roles.includes(ADMIN) }
    })
    if (isNewAdmin) {
      await bestEffort('tell the admins', async () => {
        const admins = await onDatabase(() => findAdmins(id))
        await Promise.all(
          admins.map(({ email }) =>
            mailLater(request, { mail: 'notice', notice: 'adminAdded', email, subjectId: id }),
          ),
        )
      })
    }
    return { status: 200, body: adminView(user) }
  },
)

/** DELETE /admin/users/{id}/sessions: 204. */
export const endUserSessions = route(oneUser, async ({ path: { id }, database: onDatabase, now }) => {
  await onDatabase(async () => {
    await endSessions(id, now)
    audit('sessions_revoked', { subjectId: id })
  })
  return { status: 204 }
})

/**
 * DELETE /admin/users/{id}/mfa: 204. For a user who has lost the app and the recovery codes. It ends no
 * session, and the next login needs only the password.
 */
export const removeUserMfa = route({ ...oneUser, settings: ['MAIL_FUNCTION_URL'] }, async (request) => {
  const { path, caller, database: onDatabase } = request
  // The caller's own second factor must not fall to a stolen access token: DELETE /me/mfa/totp asks for it.
  if (path.id === caller.id) throw new Problem('forbidden')
  const { email } = await onDatabase(async () => {
    const user = await findUserById(path.id)
    if (!user) throw new Problem('not_found')
    if (!user.totp) throw new Problem('mfa_not_enabled')
    await removeSecondFactor(user)
    audit('authn_mfa_removed', { subjectId: path.id })
    return user
  })
  await mailLater(request, { mail: 'notice', notice: 'mfaRemoved', email })
  return { status: 204 }
})

/** All admin routes as one Lambda function. */
export const admin = routes({
  'GET /admin/users': adminUsers,
  'GET /admin/users/{id}': adminUser,
  'PATCH /admin/users/{id}': updateUser,
  'DELETE /admin/users/{id}/sessions': endUserSessions,
  'DELETE /admin/users/{id}/mfa': removeUserMfa,
})

/**
 * Lambdas of users: the public list, and what an admin sees of them and may change.
 */
import * as z from 'zod/mini'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { type Answer, route } from '../api/Route.ts'
import { Problem } from '../api/Problem.ts'
import { ADMIN, ROLES } from './Roles.ts'
import {
  adminView,
  changeUser,
  endSessions,
  fields,
  findUserById,
  listUsers,
  normaliseEmail,
  publicView,
  searchUsers,
} from './User.ts'
import type { User } from './UserModel.ts'

const page = { limit: z._default(fields.limit, 20), after: z.optional(fields.id) }

/** GET /users?limit=&after=: 200 array of public users, with a Link to the next page while there is one (RFC 8288). */
export const users = route({ query: z.strictObject(page) }, ({ query: { limit, after } }) =>
  withDatabase(async () => {
    // Whoever finds the name here that they have just registered with knows that the e-mail was not taken.
    const found = await listUsers(limit, after, setting('REGISTRATION') === 'private')
    return answerPage('/users', { limit }, found, publicView)
  }),
)

/** GET /admin/users?email=&limit=&after=: 200 array of users whose e-mail begins so, with a Link as above. */
export const adminUsers = route(
  {
    role: ADMIN,
    query: z.strictObject({ ...page, email: z._default(z.string().check(z.maxLength(254)), '') }),
  },
  ({ query: { email, limit, after } }) =>
    withDatabase(async () => {
      const found = await searchUsers(normaliseEmail(email), limit, after)
      return answerPage('/admin/users', { ...(email && { email }), limit }, found, adminView)
    }),
)

const oneUser = { role: ADMIN, path: z.strictObject({ id: fields.id }) }

/** GET /admin/users/{id}: 200 user. */
export const adminUser = route(oneUser, ({ path: { id } }) =>
  withDatabase(async () => {
    const user = await findUserById(id)
    if (!user) throw new Problem('not_found')
    return { status: 200, body: adminView(user) }
  }),
)

/** PATCH /admin/users/{id}: 200 the changed user. */
export const updateUser = route(
  {
    ...oneUser,
    body: z
      .strictObject({
        roles: z.optional(
          z.array(z.enum(ROLES, { error: `must be one of ${ROLES.join(', ')}` })).check(
            z.minLength(1, 'must hold at least one role'),
            z.refine((roles) => new Set(roles).size === roles.length, 'must not hold a role twice'),
          ),
        ),
        disabled: z.optional(z.boolean()),
      })
      .check(z.refine((change) => Object.keys(change).length > 0, 'must have roles or disabled')),
  },
  ({ path: { id }, body }) =>
    withDatabase(async () => {
      const user = await changeUser(id, body, new Date())
      if (body.roles) audit('authz_change', { subjectId: id, roles: user.roles })
      if (body.disabled !== undefined) {
        audit(body.disabled ? 'user_disabled' : 'user_enabled', { subjectId: id })
      }
      return { status: 200, body: adminView(user) }
    }),
)

/** DELETE /admin/users/{id}/sessions: 204. */
export const endUserSessions = route(oneUser, ({ path: { id } }) =>
  withDatabase(async () => {
    await endSessions(id, new Date())
    audit('sessions_revoked', { subjectId: id })
    return { status: 204 }
  }),
)

function answerPage(
  path: string,
  query: Record<string, string | number>,
  { users: found, more }: { users: User[]; more: boolean },
  view: (user: User) => object,
): Answer {
  const next = new URLSearchParams({ ...query, after: found.at(-1)?.id ?? '' } as Record<string, string>)
  return {
    status: 200,
    body: found.map(view),
    ...(more && { headers: { Link: `<${setting('ISSUER')}${path}?${next.toString()}>; rel="next"` } }),
  }
}

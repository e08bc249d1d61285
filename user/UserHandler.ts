/**
 * Handler for the public list of users.
 */
import * as z from 'zod/mini'
import { route } from '../api/Route.ts'
import { database } from '../db.ts'
import { page, pageAnswer } from './Page.ts'
import { listUsers, publicView } from './User.ts'
import { UserModel } from './UserModel.ts'

/**
 * GET /users?limit=&after=: 200 array of public users, with a Link to the next page if there is one (RFC
 * 8288).
 */
export const users = route(
  { settings: ['ISSUER', 'REGISTRATION'], database: database(UserModel), query: z.strictObject(page) },
  async ({ query: { limit, after }, settings, database: onDatabase }) => {
    // If unverified users were listed, someone who just registered could look for their name here, and learn
    // from that whether the email was taken.
    const verified = settings.REGISTRATION === 'private'
    const found = await onDatabase(() => listUsers(limit, after, verified))
    return pageAnswer(`${settings.ISSUER}/users`, { limit }, found, publicView)
  },
)

/**
 * Lambda of the public user list.
 */
import * as z from 'zod/mini'
import { withDatabase } from '../db.ts'
import { setting } from '../lib/Config.ts'
import { route } from '../lib/Http.ts'
import { fields, listUsers, publicView } from './User.ts'

const LIMIT = 'must be a whole number from 1 to 100'

const limit = z.pipe(
  z.string().check(z.regex(/^\d{1,3}$/, LIMIT)),
  z.pipe(z.transform(Number), z.number()).check(z.refine((value) => value >= 1 && value <= 100, LIMIT)),
)

/** GET /users?limit=&after=: 200 array of public users, with a Link to the next page while there is one (RFC 8288). */
export const users = route(
  { query: z.strictObject({ limit: z._default(limit, 20), after: z.optional(fields.id) }) },
  ({ query }) =>
    withDatabase(async () => {
      const page = await listUsers(query.limit, query.after)
      const next = `${setting('ISSUER')}/users?limit=${query.limit}&after=${page.users.at(-1)?.id}`
      return {
        status: 200,
        body: page.users.map(publicView),
        ...(page.more && { headers: { Link: `<${next}>; rel="next"` } }),
      }
    }),
)

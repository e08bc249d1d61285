/**
 * Pagination: the parameters of a request, and the answer with a Link to the next page (RFC 8288).
 */
import * as z from 'zod/mini'
import type { Answer } from '../api/Route.ts'
import { wholeNumber } from '../lib/WholeNumber.ts'
import { fields } from './User.ts'
import type { User } from './UserModel.ts'

/** The query parameters of a list: the size of a page, and the last user of the previous one. */
export const page = {
  limit: z._default(wholeNumber(1, 100, 3), 20),
  after: z.optional(fields.id),
}

/**
 * Creates the answer with one page.
 * @param url the URL of the list, without a query
 * @param query the parameters that the Link to the next page repeats
 */
export function pageAnswer(
  url: string,
  query: Record<string, string | number>,
  { users, more }: { users: User[]; more: boolean },
  view: (user: User) => object,
): Answer {
  const next = new URLSearchParams({ ...query, after: users.at(-1)?.id ?? '' } as Record<string, string>)
  return {
    status: 200,
    body: users.map(view),
    ...(more && { headers: { Link: `<${url}?${next.toString()}>; rel="next"` } }),
  }
}

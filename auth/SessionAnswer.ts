/**
 * The answer that signs a client in, and the two ways in which a refresh token travels: in JSON bodies, or, for
 * browsers, in a cookie that no script can read. A client asks for the cookie with the header
 *
 *   Refresh-Token-In: cookie
 *
 * The same header is the proof that a request with the cookie is the client's own: no form and no link of another
 * site can set a header, and a script of another origin asks CORS first (OWASP CSRF Prevention Cheat Sheet,
 * "Custom Request Headers").
 */
import { setting } from '../api/Environment.ts'
import type { Answer, Request } from '../api/Route.ts'
import { Problem } from '../api/Problem.ts'
import type { User } from '../user/UserModel.ts'
import { IDLE_LIFETIME } from './Sessions.ts'
import { ACCESS_TOKEN_SECONDS, signer } from './Tokens.ts'

const COOKIE = '__Secure-refresh-token'
const HEADER = 'Refresh-Token-In'

/**
 * Whether the client keeps its refresh token in a cookie.
 * @throws Problem `invalid_request` (400) for another place than a cookie
 */
export function usesCookie(header: Request['header']): boolean {
  const place = header(HEADER)
  if (place === undefined) return false
  if (place.toLowerCase() === 'cookie') return true
  throw new Problem('invalid_request', { errors: [{ path: HEADER, message: 'must be: cookie' }] })
}

/**
 * The session of the contract: an access token, and a refresh token where the client wants it.
 * @param status 201 where an account was made, otherwise 200
 */
export function sessionAnswer(
  status: number,
  user: User,
  { sessionId, refreshToken }: { sessionId: string; refreshToken: string },
  inCookie: boolean,
  now: Date,
): Answer {
  return {
    status,
    body: {
      auth: true,
      token: sign()(user, sessionId, now),
      tokenType: 'Bearer',
      expiresIn: ACCESS_TOKEN_SECONDS,
      ...(!inCookie && { refreshToken }),
    },
    headers: inCookie ? cookie(refreshToken, IDLE_LIFETIME / 1000) : {},
  }
}

/**
 * The refresh token of a request that uses the cookie.
 * @throws Problem `invalid_request` (400) for two cookies of the name: a neighbouring subdomain can set one beside
 *   ours, with its own session in it, and nobody can tell them apart (RFC 6265 section 8.6)
 */
export function readCookie(header: Request['header']): string | undefined {
  const pairs = header('cookie')?.split(/; */) ?? []
  const [value, another] = pairs.filter((pair) => pair.startsWith(`${COOKIE}=`))
  if (another !== undefined) {
    throw new Problem('invalid_request', { errors: [{ path: COOKIE, message: 'must be one cookie' }] })
  }
  return value?.slice(COOKIE.length + 1)
}

/** The header that takes the cookie away again. */
export const expiredCookie = () => cookie('', 0)

/** Sent to POST /refresh and nowhere else; logging out needs the access token alone. */
function cookie(value: string, seconds: number): Record<string, string> {
  const base = new URL(setting('ISSUER')).pathname.replace(/\/$/, '')
  return {
    'Set-Cookie': `${COOKIE}=${value}; Path=${base}/refresh; Max-Age=${seconds}; HttpOnly; Secure; SameSite=Strict`,
  }
}

let cachedSign: ReturnType<typeof signer> | undefined

/** Made with the first token: not every function of a handler file has the keys. */
const sign = () =>
  (cachedSign ??= signer(setting('SIGNING_KEYS'), {
    issuer: setting('ISSUER'),
    audience: setting('AUDIENCE'),
  }))

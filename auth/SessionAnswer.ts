/**
 * The answer that signs a client in, and the two ways in which a refresh token travels: in JSON bodies or, for
 * browsers, in a cookie that no script can read. A client asks for the cookie with the header
 *
 *   Refresh-Token-In: cookie
 *
 * The same header proves that a request with the cookie is the client's own: no form and no link of another site can
 * set a header, and a script of another origin asks CORS first (OWASP CSRF Prevention Cheat Sheet, "Custom Request
 * Headers").
 */
import { invalidField } from '../api/Problem.ts'
import type { Answer, Context, Request } from '../api/Route.ts'
import type { User } from '../user/UserModel.ts'
import { IDLE_LIFETIME } from './Sessions.ts'
import { ACCESS_TOKEN_SECONDS, type KeyRing, signer } from './Tokens.ts'

const COOKIE = '__Secure-refresh-token'
const HEADER = 'Refresh-Token-In'

/** The settings that signing somebody in needs. */
export const SIGNING = ['SIGNING_KEYS', 'REFRESH_TOKEN_KEY', 'ISSUER', 'AUDIENCE'] as const
export type Signing = (typeof SIGNING)[number]

/**
 * Whether the client keeps its refresh token in a cookie.
 * @throws Problem `invalid_request` (400) for another place than a cookie
 */
export function usesCookie(header: Request['header']): boolean {
  const place = header(HEADER)
  if (place === undefined) return false
  if (place.toLowerCase() === 'cookie') return true
  throw invalidField(HEADER, 'must be: cookie')
}

/** A user who is signed in. */
export interface SignedIn {
  user: User
  sessionId: string
  /** Left out where the session could not be moved on: the access token is good, and the client signs in after it. */
  refreshToken?: string | undefined
}

/**
 * The session of the contract: an access token, and a refresh token where the client wants it.
 * @param status 201 where an account was made, otherwise 200
 */
export function sessionAnswer(
  status: number,
  { user, sessionId, refreshToken }: SignedIn,
  inCookie: boolean,
  { settings, now }: Pick<Context<Signing>, 'settings' | 'now'>,
): Answer {
  return {
    status,
    body: {
      auth: true,
      token: signerOf(settings)(user, sessionId, now),
      tokenType: 'Bearer',
      expiresIn: ACCESS_TOKEN_SECONDS,
      ...(!inCookie && { refreshToken }),
    },
    headers: inCookie && refreshToken ? cookie(refreshToken, IDLE_LIFETIME / 1000, settings.ISSUER) : {},
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
  if (another !== undefined) throw invalidField(COOKIE, 'must be one cookie')
  return value?.slice(COOKIE.length + 1)
}

/** The header that takes the cookie away again. */
export const expiredCookie = (issuer: string) => cookie('', 0, issuer)

/** Sent to POST /refresh and nowhere else; logging out needs the access token alone. */
function cookie(value: string, seconds: number, issuer: string): Record<string, string> {
  const base = new URL(issuer).pathname.replace(/\/$/, '')
  return {
    'Set-Cookie': `${COOKIE}=${value}; Path=${base}/refresh; Max-Age=${seconds}; HttpOnly; Secure; SameSite=Strict`,
  }
}

const signers = new WeakMap<KeyRing, ReturnType<typeof signer>>()

/** Made once for each key ring: reading a key costs forty times as much as using it. */
function signerOf({ SIGNING_KEYS, ISSUER, AUDIENCE }: Context<Signing>['settings']) {
  const known = signers.get(SIGNING_KEYS)
  if (known) return known
  const made = signer(SIGNING_KEYS, { issuer: ISSUER, audience: AUDIENCE })
  signers.set(SIGNING_KEYS, made)
  return made
}

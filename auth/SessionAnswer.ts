/**
 * The answer that signs a client in, and the two ways to send a refresh token: in JSON bodies or, for
 * browsers, in a cookie that no script can read. A client asks for the cookie with this header:
 *
 *   Refresh-Token-In: cookie
 *
 * The header also protects against CSRF. Forms and links on other sites cannot set a header, and scripts from
 * other origins need permission through CORS (OWASP CSRF Prevention Cheat Sheet, "Custom Request Headers").
 */
import { invalidField } from '../api/Problem.ts'
import type { Answer, Context, Request } from '../api/Route.ts'
import type { User } from '../user/UserModel.ts'
import { IDLE_LIFETIME } from './Sessions.ts'
import { ACCESS_TOKEN_SECONDS, type KeyRing, signer } from './Tokens.ts'

/** Only this host can set it (RFC 6265bis section 4.1.3.2): a neighbouring subdomain cannot plant one. */
const COOKIE = '__Host-refresh-token'
/**
 * The cookie of earlier versions, which a neighbouring subdomain can plant. It is accepted only for sessions that
 * began with such a version, and those end 30 days after the upgrade at the latest. Then this can go.
 */
const OLD_COOKIE = '__Secure-refresh-token'
const HEADER = 'Refresh-Token-In'

/** The settings that sessionAnswer needs, and the key of the refresh tokens. */
export const SIGNING = ['SIGNING_KEYS', 'REFRESH_TOKEN_KEY', 'ISSUER', 'AUDIENCE'] as const
export type Signing = (typeof SIGNING)[number]

/**
 * Returns whether the client keeps its refresh token in a cookie.
 * @throws Problem `invalid_request` (400) if the header names anything but a cookie
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
  /**
   * Missing if it could not be issued. The access token still works, and the client signs in again once it
   * expires.
   */
  refreshToken?: string | undefined
}

/**
 * Creates the answer with a session: an access token, and a refresh token in the body or in a cookie.
 * @param status 201 if an account was created, otherwise 200
 * @param inCookie whether the refresh token goes into a cookie
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
    headers: inCookie && refreshToken ? { 'Set-Cookie': cookie(refreshToken, IDLE_LIFETIME / 1000) } : {},
  }
}

/**
 * Reads the refresh token from the cookie. Several cookies of earlier versions count as none: a neighbouring
 * subdomain can add one with an attacker's session, and nobody can tell which one is ours (RFC 6265 section 8.6).
 * @returns the token, and whether it came in the cookie of earlier versions
 * @throws Problem `invalid_request` (400) if the cookie is there twice
 */
export function readCookie(header: Request['header']): { token: string | undefined; fromOldCookie: boolean } {
  const pairs = header('cookie')?.split(/; */) ?? []
  const valuesOf = (name: string) =>
    pairs.filter((pair) => pair.startsWith(`${name}=`)).map((pair) => pair.slice(name.length + 1))
  const [token, another] = valuesOf(COOKIE)
  // Only a browser that does not know the prefix sends two.
  if (another !== undefined) throw invalidField(COOKIE, 'must be a single cookie')
  if (token) return { token, fromOldCookie: false }
  const old = valuesOf(OLD_COOKIE)
  return { token: old.length === 1 ? old[0] : undefined, fromOldCookie: true }
}

/** Returns the headers that remove the cookie, and that of earlier versions. */
export const expiredCookies = (issuer: string) => ({
  'Set-Cookie': [cookie('', 0), expiredOldCookie(issuer)],
})

/** The cookie of earlier versions went to POST /refresh only. */
export const expiredOldCookie = (issuer: string): string => {
  const base = new URL(issuer).pathname.replace(/\/$/, '')
  return `${OLD_COOKIE}=; Path=${base}/refresh; Max-Age=0; ${ATTRIBUTES}`
}

const ATTRIBUTES = 'HttpOnly; Secure; SameSite=Strict'

const cookie = (value: string, seconds: number): string =>
  `${COOKIE}=${value}; Path=/; Max-Age=${seconds}; ${ATTRIBUTES}`

const signers = new WeakMap<KeyRing, ReturnType<typeof signer>>()

/** Creates the signer once per key ring, because parsing a key takes forty times as long as using it. */
function signerOf({ SIGNING_KEYS, ISSUER, AUDIENCE }: Context<Signing>['settings']) {
  const known = signers.get(SIGNING_KEYS)
  if (known) return known
  const made = signer(SIGNING_KEYS, { issuer: ISSUER, audience: AUDIENCE })
  signers.set(SIGNING_KEYS, made)
  return made
}

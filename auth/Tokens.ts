/**
 * Access tokens: JWTs (RFC 7519) in the profile of RFC 9068, signed with ES256.
 *
 * jsonwebtoken signs and verifies. This file adds the checks that it lacks: it ignores `crit`, checks no
 * claim's type, accepts a token without `exp` and throws all kinds of errors (RFC 8725). Each KeyObject is
 * created once, because creating one takes forty times as long as verifying with it.
 */
import { createPrivateKey, createPublicKey, randomUUID, type JsonWebKey, type KeyObject } from 'node:crypto'
import jwt from 'jsonwebtoken'

/** Lifetime of an access token, in seconds. */
export const ACCESS_TOKEN_SECONDS = 15 * 60
/** Tolerated clock skew between servers, in seconds (RFC 7519 section 4.1.4). */
export const SKEW_SECONDS = 30
/** In characters. Anything longer was not issued here and is not worth parsing. */
const MAX_TOKEN_LENGTH = 8 * 1024

type Jwk = JsonWebKey & { kid: string }

/** A JWK Set (RFC 7517 section 5). The first key signs, and all of them verify. */
export interface KeyRing {
  keys: Jwk[]
}

/** Who issues the tokens and who accepts them. */
export interface Parties {
  issuer: string
  audience: string
}

/** The user that a token is about. */
interface Subject {
  id: string
  roles: string[]
  emailVerified: boolean
  tokenVersion: number
}

export interface Claims {
  iss: string
  aud: string
  /** The user's id. */
  sub: string
  /** The session's id. */
  sid: string
  roles: string[]
  /** OpenID Connect Core 1.0 section 5.1. */
  email_verified: boolean
  /** The user's tokenVersion when the token was issued. Once that has grown, the token is outdated. */
  ver: number
  /** Seconds since the epoch, like `exp`. */
  iat: number
  exp: number
  jti: string
}

/** A token was refused. The message is for the log. The client only learns that the token is not valid. */
export class InvalidToken extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'InvalidToken'
  }
}

/**
 * Creates the function that issues access tokens (RFC 9068 section 2).
 * @param keyRing private keys, of which the first one signs
 * @returns a function that takes the user, the session's id and the time, and returns the compact JWT
 */
export function signer(keyRing: KeyRing, { issuer, audience }: Parties) {
  const [jwk] = keyRing.keys
  if (!jwk) throw new Error('There is no key to sign with.')
  const key = createPrivateKey({ key: jwk, format: 'jwk' })

  return (user: Subject, sessionId: string, now: Date): string => {
    const iat = seconds(now)
    const claims: Claims = {
      iss: issuer,
      aud: audience,
      sub: user.id,
      sid: sessionId,
      roles: user.roles,
      email_verified: user.emailVerified,
      ver: user.tokenVersion,
      iat,
      exp: iat + ACCESS_TOKEN_SECONDS,
      jti: randomUUID(),
    }
    return jwt.sign(claims, key, {
      algorithm: 'ES256',
      keyid: jwk.kid,
      header: { alg: 'ES256', typ: 'at+jwt' },
    })
  }
}

/**
 * Creates the function that verifies access tokens (RFC 9068 section 4, RFC 8725 section 3).
 * @param keyRing public keys. Only a token's `kid` chooses among them, so `jwk`, `jku`, `x5c` and `x5u`
 *   headers have no effect (RFC 8725 section 3.10)
 * @returns a function that takes the compact JWT and the time, and returns the claims. It throws InvalidToken
 *   for any token that this deployment did not issue or that has expired
 */
export function verifier(keyRing: KeyRing, { issuer, audience }: Parties) {
  const keys = new Map<unknown, KeyObject>(
    keyRing.keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]),
  )

  return (token: string, now: Date): Claims => {
    const key = keyFor(token, keys)
    let claims: unknown
    try {
      claims = jwt.verify(token, key, {
        algorithms: ['ES256'],
        issuer,
        audience,
        clockTolerance: SKEW_SECONDS,
        clockTimestamp: seconds(now),
      })
    } catch (error) {
      throw new InvalidToken(error instanceof Error ? error.message : 'not verifiable')
    }
    if (!isClaims(claims)) throw new InvalidToken('a claim is missing or of the wrong type')
    if (claims.iat > seconds(now) + SKEW_SECONDS) throw new InvalidToken('issued in the future')
    // None of our tokens lives longer. This also stops an `exp` in milliseconds.
    if (claims.exp > claims.iat + ACCESS_TOKEN_SECONDS) throw new InvalidToken('lives too long')
    return claims
  }
}

/**
 * Returns the public halves of a key ring for the JWKS (RFC 7517 section 5). The members are listed one by
 * one, so that a private one can never slip through.
 */
export function publicKeys(keyRing: KeyRing): KeyRing {
  return {
    keys: keyRing.keys.map(
      ({ kty, crv, kid, x, y }) => ({ kty, crv, kid, alg: 'ES256', use: 'sig', x, y }) as Jwk,
    ),
  }
}

/**
 * Does the checks that come before any cryptography, and picks the key. Nothing in the token is trusted yet.
 */
function keyFor(token: string, keys: Map<unknown, KeyObject>): KeyObject {
  if (token.length > MAX_TOKEN_LENGTH) throw new InvalidToken('too long')
  const parts = token.split('.')
  if (parts.length !== 3 || !parts.every(isCanonicalBase64url)) throw new InvalidToken('not a compact JWS')

  const unverifiedHeader = parseObject(parts[0]!)
  if (unverifiedHeader['alg'] !== 'ES256') throw new InvalidToken('alg is not ES256')
  // "application/at+jwt" means the same (RFC 9068 section 4), and case does not matter (RFC 7515 section
  // 4.1.9).
  const { typ } = unverifiedHeader
  if (typeof typ !== 'string' || !/^(application\/)?at\+jwt$/i.test(typ))
    throw new InvalidToken('typ is not at+jwt')
  // Unsupported extensions must be refused (RFC 7515 section 4.1.11), and we support none.
  if ('crit' in unverifiedHeader) throw new InvalidToken('crit is not supported')
  // No JWT may have it, and a verifier that knows it would read the same bytes as another payload (RFC 7797
  // section 7).
  if ('b64' in unverifiedHeader) throw new InvalidToken('b64 is not supported')
  const key = keys.get(unverifiedHeader['kid'])
  if (!key) throw new InvalidToken('kid is unknown')
  return key
}

/**
 * Most base64url texts have several spellings of their last character. We accept the canonical one (RFC 4648
 * section 3.5).
 */
const isCanonicalBase64url = (text: string) =>
  text !== '' && Buffer.from(text, 'base64url').toString('base64url') === text

function parseObject(base64url: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(base64url, 'base64url').toString())
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // not JSON: refused below
  }
  throw new InvalidToken('the header is not a JSON object')
}

function isClaims(value: unknown): value is Claims {
  if (typeof value !== 'object' || value === null) return false
  const claims = value as Record<string, unknown>
  return (
    ['iss', 'aud', 'sub', 'sid', 'jti'].every(
      (name) => typeof claims[name] === 'string' && claims[name] !== '',
    ) &&
    ['iat', 'exp', 'ver'].every((name) => Number.isSafeInteger(claims[name])) &&
    typeof claims['email_verified'] === 'boolean' &&
    Array.isArray(claims['roles']) &&
    claims['roles'].every((role) => typeof role === 'string')
  )
}

const seconds = (time: Date) => Math.floor(time.getTime() / 1000)

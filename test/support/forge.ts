/**
 * Tokens made by hand, good and bad: the bytes that a signer would never write.
 */
import { createPrivateKey, randomUUID, sign } from 'node:crypto'
import type { KeyRing } from '../../auth/Tokens.ts'
import { newSecrets } from '../../plugin/Secrets.ts'

export type Jwk = KeyRing['keys'][number]
type Members = Record<string, unknown>

export const newKey = (): Jwk => newSecrets().SIGNING_KEYS.keys[0]!

export const PARTIES = { issuer: 'https://auth.test', audience: 'https://api.test' }
/** The time at which the forged tokens are issued. */
export const NOW = new Date()
export const later = (seconds: number) => new Date(NOW.getTime() + seconds * 1000)
export const IAT = Math.floor(NOW.getTime() / 1000)

/** The header of a good token; members that are undefined are left out. */
export const header = ({ kid }: Jwk, more: Members = {}): Members => ({
  alg: 'ES256',
  typ: 'at+jwt',
  kid,
  ...more,
})

/** The claims of a good token. */
export const claims = (more: Members = {}): Members => ({
  iss: PARTIES.issuer,
  aud: PARTIES.audience,
  sub: '65f000000000000000000001',
  sid: 'session-1',
  roles: ['user'],
  email_verified: false,
  ver: 0,
  iat: IAT,
  exp: IAT + 900,
  jti: randomUUID(),
  ...more,
})

/** Base64url of text, or of anything else as JSON. */
export const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A genuine ES256 signature over two parts as they are, also where they are not base64url. */
export const sealed = (head: string, body: string, key: Jwk): string =>
  `${head}.${body}.${es256(head, body, key)}`

export const es256 = (
  head: string,
  body: string,
  key: Jwk,
  dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363',
) =>
  sign('sha256', Buffer.from(`${head}.${body}`), {
    key: createPrivateKey({ key, format: 'jwk' }),
    dsaEncoding,
  }).toString('base64url')

/** A token that is genuinely signed, with some members of header and claims replaced. */
export const forge = (key: Jwk, { head = {}, body = {} }: { head?: Members; body?: Members } = {}): string =>
  sealed(encode(header(key, head)), encode(claims(body)), key)

/** A good token of so many characters. */
export function ofLength(key: Jwk, length: number): string {
  for (const x of ['', 'x', 'xx']) {
    const head = { x }
    const start = forge(key, { head, body: { y: '' } }).length
    for (let y = Math.floor(((length - start) * 3) / 4) - 4; y < length; y += 1) {
      const token = forge(key, { head, body: { y: 'y'.repeat(y) } })
      if (token.length === length) return token
      if (token.length > length) break
    }
  }
  throw new Error(`no token of ${length} characters`)
}

/**
 * Access tokens: RFC 7515, 7519, 9068 and the attacks of RFC 8725. Every bad token is refused for its own reason.
 */
import { InvalidToken, publicKeys, signer, verifier } from '../../auth/Tokens.ts'
import { attacks, first, second } from '../support/attacks.ts'
import { IAT, NOW, PARTIES, forge, later, newKey, ofLength } from '../support/forge.ts'

const ring = { keys: [first, second] }
const verify = verifier(publicKeys(ring), PARTIES)
const issue = signer(ring, PARTIES)

/** Why a token is refused. */
function refusal(token: string, now = NOW): string {
  try {
    verify(token, now)
  } catch (error) {
    if (error instanceof InvalidToken) return error.message
    return `not an InvalidToken: ${String(error)}`
  }
  return 'accepted'
}

describe('the signer', () => {
  const subject = { id: 'u1', roles: ['user', 'admin'], emailVerified: true, tokenVersion: 7 }
  const token = issue(subject, 's1', NOW)
  const [head, body, signature] = token.split('.').map((part) => Buffer.from(part, 'base64url')) as [
    Buffer,
    Buffer,
    Buffer,
  ]

  test('writes alg, typ and kid in the header and nothing else (RFC 9068 section 2.1)', () => {
    expect(JSON.parse(head.toString())).toEqual({ alg: 'ES256', typ: 'at+jwt', kid: first.kid })
  })

  test('writes exactly the claims of the contract: 15 minutes, no personal data (RFC 9068 section 2.2)', () => {
    expect(JSON.parse(body.toString())).toEqual({
      iss: PARTIES.issuer,
      aud: PARTIES.audience,
      sub: 'u1',
      sid: 's1',
      roles: ['user', 'admin'],
      email_verified: true,
      ver: 7,
      iat: IAT,
      exp: IAT + 15 * 60,
      jti: expect.stringMatching(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/),
    })
  })

  test('signs with 64 bytes, r and s (RFC 7518 section 3.4)', () => {
    expect(signature).toHaveLength(64)
  })

  test('gives each token an id of its own (RFC 9068 section 2.2, jti)', () => {
    expect(verify(token, NOW).jti).not.toBe(verify(issue(subject, 's1', NOW), NOW).jti)
  })

  test('does not start without a key', () => {
    expect(() => signer({ keys: [] }, PARTIES)).toThrow('There is no key to sign with.')
  })
})

describe('the verifier accepts', () => {
  test.each([
    {
      name: 'what the signer made',
      token: issue({ id: 'u1', roles: [], emailVerified: false, tokenVersion: 0 }, 's1', NOW),
    },
    { name: 'the second key of the ring, while keys are rotated', token: forge(second) },
    { name: '29 s after it expired (RFC 7519 section 4.1.4)', token: forge(first), now: later(929) },
    { name: '30 s before it was issued', token: forge(first), now: later(-30) },
    { name: 'nbf of now', token: forge(first, { body: { nbf: IAT } }) },
    { name: 'nbf 30 s ahead', token: forge(first, { body: { nbf: IAT + 30 } }) },
    {
      name: 'a claim that it does not know (RFC 7519 section 4)',
      token: forge(first, { body: { x: { y: 1 } } }),
    },
    { name: 'typ AT+JWT (RFC 7515 section 4.1.9)', token: forge(first, { head: { typ: 'AT+JWT' } }) },
    {
      name: 'typ application/at+jwt (RFC 9068 section 4)',
      token: forge(first, { head: { typ: 'application/at+jwt' } }),
    },
    {
      name: 'a token of ours with foreign jwk, jku, x5u and x5c headers, which it ignores (RFC 8725 section 3.10)',
      token: forge(first, {
        head: { jwk: newKey(), jku: 'https://evil.test/jwks', x5u: 'https://evil.test/x', x5c: ['AAAA'] },
      }),
    },
    { name: '8,192 characters', token: ofLength(first, 8192) },
    { name: 'the other signature (r, -s) that every ECDSA signature has', token: mirrored(forge(first)) },
  ])('$name', ({ token, now }) => {
    expect(refusal(token, now)).toBe('accepted')
  })

  test('and gives the claims that were signed', () => {
    const token = issue({ id: 'u1', roles: ['user'], emailVerified: false, tokenVersion: 0 }, 's1', NOW)
    expect(verify(token, NOW)).toEqual(JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()))
  })
})

describe.each(attacks)('refuses $group:', ({ good, attacks: list }) => {
  test('but accepts a good token', () => {
    expect(refusal(good)).toBe('accepted')
  })

  test.each(list)('$name ($source)', ({ token, reason }) => {
    expect(refusal(token)).toBe(reason)
  })
})

/** What hangs on the second, or on what surrounds a token. */
describe('refuses also', () => {
  test.each([
    { name: '30 s after it expired', token: forge(first), now: later(930), reason: 'jwt expired' },
    {
      name: '31 s before it was issued',
      token: forge(first),
      now: later(-31),
      reason: 'issued in the future',
    },
    {
      name: 'nbf 31 s ahead (RFC 7519 section 4.1.5)',
      token: forge(first, { body: { nbf: IAT + 31 } }),
      reason: 'jwt not active',
    },
    { name: 'a space before it', token: ` ${forge(first)}`, reason: 'not a compact JWS' },
    { name: 'Bearer in front', token: `Bearer ${forge(first)}`, reason: 'not a compact JWS' },
    { name: 'nothing', token: '', reason: 'not a compact JWS' },
  ])('$name', ({ token, now, reason }: { token: string; now?: Date; reason: string }) => {
    expect(refusal(token, now)).toBe(reason)
  })

  test('a key that has left the ring', () => {
    const after = verifier(publicKeys({ keys: [second] }), PARTIES)
    expect(() => after(forge(first), NOW)).toThrow(new InvalidToken('kid is unknown'))
  })
})

describe('publicKeys (RFC 7517 section 9.3)', () => {
  test('publishes named members only: never d, never one that it does not know', () => {
    const jwk = { ...first, k: 'secret', p: 'secret', oth: [], key_ops: ['sign'], x5c: ['x'], note: 'secret' }
    const { kty, crv, kid, x, y } = first
    const text = JSON.stringify(publicKeys({ keys: [jwk, second] }))
    expect(JSON.parse(text).keys[0]).toEqual({ kty, crv, kid, alg: 'ES256', use: 'sig', x, y })
    expect(text).not.toContain('"d"')
    expect(text).not.toContain(first.d)
    expect(text).not.toContain(second.d)
    expect(text).not.toContain('secret')
  })

  test('keeps the order, and nothing but keys', () => {
    const published = publicKeys(Object.assign({ note: 'secret' }, ring))
    expect(Object.keys(published)).toEqual(['keys'])
    expect(published.keys.map(({ kid }) => kid)).toEqual([first.kid, second.kid])
  })
})

/** Good all the same, which is why nothing is ever kept by the text of a token. */
function mirrored(token: string): string {
  const [head, body, signature] = token.split('.') as [string, string, string]
  const hex = Buffer.from(signature, 'base64url').toString('hex')
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const s = (order - BigInt(`0x${hex.slice(64)}`)).toString(16).padStart(64, '0')
  return `${head}.${body}.${Buffer.from(hex.slice(0, 64) + s, 'hex').toString('base64url')}`
}

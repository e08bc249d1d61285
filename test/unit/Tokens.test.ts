/**
 * Access tokens: RFC 7515, 7519, 9068 and the attacks of RFC 8725. Every bad token is refused for its own reason.
 */
import { constants, createHmac, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { InvalidToken, publicKeys, signer, verifier } from '../../auth/Tokens.ts'
import { NOW, PARTIES, IAT, claims, encode, es256, forge, header, later, newKey, sealed } from './forge.ts'

const first = newKey()
const second = newKey()
/** Somebody else's key under the name of ours. */
const attacker = { ...newKey(), kid: first.kid }
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
  const subject = { id: 'u1', roles: ['user', 'admin'], tokenVersion: 7 }
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
    { name: 'what the signer made', token: issue({ id: 'u1', roles: [], tokenVersion: 0 }, 's1', NOW) },
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
        head: { jwk: attacker, jku: 'https://evil.test/jwks', x5u: 'https://evil.test/x', x5c: ['AAAA'] },
      }),
    },
    { name: '8,192 characters', token: ofLength(8192) },
  ])('$name', ({ token, now }) => {
    expect(refusal(token, now)).toBe('accepted')
  })

  test('and gives the claims that were signed', () => {
    const token = issue({ id: 'u1', roles: ['user'], tokenVersion: 0 }, 's1', NOW)
    expect(verify(token, NOW)).toEqual(JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()))
  })
})

describe('algorithms (RFC 8725 section 3.1)', () => {
  const hmac = (secret: string | Buffer, head = {}, hash = 'sha256') => {
    const input = `${encode(header(first, { alg: 'HS256', ...head }))}.${encode(claims())}`
    return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
  }
  const publicKey = createPublicKey({ key: publicKeys(ring).keys[0]!, format: 'jwk' })
  const pem = publicKey.export({ format: 'pem', type: 'spki' })
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const signedBy = (alg: string, key: object, hash: string) => {
    const input = `${encode(header(first, { alg }))}.${encode(claims())}`
    return `${input}.${sign(hash, Buffer.from(input), key as Parameters<typeof sign>[2]).toString('base64url')}`
  }

  test.each([
    ...['none', 'None', 'nOnE', 'NONE'].map((alg) => ({
      name: `alg ${alg} with an old signature`,
      token: forge(first, { head: { alg } }),
    })),
    {
      name: 'alg none without a signature (RFC 7519 section 6.1)',
      token: `${encode(header(first, { alg: 'none' }))}.${encode(claims())}.`,
      want: 'not a compact JWS',
    },
    { name: 'HS256 with our public key as PEM (CVE-2015-9235)', token: hmac(pem) },
    { name: 'HS256 with our public key as PEM, trimmed (CVE-2022-29217)', token: hmac(String(pem).trim()) },
    {
      name: 'HS256 with our public key as DER',
      token: hmac(publicKey.export({ format: 'der', type: 'spki' })),
    },
    { name: 'HS256 with our public JWK', token: hmac(JSON.stringify(publicKeys(ring).keys[0])) },
    { name: 'HS256 with an empty secret', token: hmac('') },
    {
      name: 'an HMAC of 64 bytes with our PEM that calls itself ES256',
      token: hmac(pem, { alg: 'ES256' }, 'sha512'),
      want: 'invalid signature',
    },
    {
      name: 'ES384',
      token: signedBy('ES384', generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, 'sha384'),
    },
    { name: 'RS256', token: signedBy('RS256', rsa, 'sha256') },
    {
      name: 'PS256',
      token: signedBy(
        'PS256',
        { key: rsa, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
        'sha256',
      ),
    },
    { name: 'EdDSA', token: forge(first, { head: { alg: 'EdDSA' } }) },
    ...['es256', 'ES256 ', '', ['ES256'], { toString: 'ES256' }, 0, null, undefined].map((alg) => ({
      name: `alg ${JSON.stringify(alg)}`,
      token: forge(first, { head: { alg } }),
    })),
  ])('refuses $name', ({ token, want = 'alg is not ES256' }: { token: string; want?: string }) => {
    expect(refusal(token)).toBe(want)
  })
})

describe('the key (RFC 8725 section 3.10, RFC 7515 section 4.1)', () => {
  const evil = newKey()

  test.each([
    { name: 'a kid of nobody', token: forge(newKey()) },
    ...[
      '../../../../dev/null',
      '/dev/null',
      "x' UNION SELECT 'secret",
      '__proto__',
      'constructor',
      '0',
      '',
      `${first.kid} `,
      [first.kid],
      { $ne: null },
      0,
      true,
      null,
      undefined,
    ].map((kid) => ({ name: `kid ${JSON.stringify(kid)}`, token: forge(first, { head: { kid } }) })),
    {
      name: "an attacker's key in jwk (CVE-2018-0114)",
      token: forge(evil, { head: { jwk: publicKeys({ keys: [evil] }).keys[0] } }),
    },
    {
      name: "an attacker's key in jwk under our kid",
      token: forge(attacker, { head: { jwk: publicKeys({ keys: [attacker] }).keys[0] } }),
      want: 'invalid signature',
    },
    {
      name: "an attacker's jku and x5u under our kid",
      token: forge(attacker, { head: { jku: 'https://evil.test/jwks', x5u: 'https://evil.test/chain' } }),
      want: 'invalid signature',
    },
    {
      name: "an attacker's x5c under our kid",
      token: forge(attacker, { head: { x5c: [Buffer.from('certificate').toString('base64')] } }),
      want: 'invalid signature',
    },
    {
      name: "another deployment's key of the same kid",
      token: forge(attacker),
      want: 'invalid signature',
    },
    {
      name: 'the second key under the kid of the first',
      token: forge(second, { head: { kid: first.kid } }),
      want: 'invalid signature',
    },
  ])('refuses $name', ({ token, want = 'kid is unknown' }: { token: string; want?: string }) => {
    expect(refusal(token)).toBe(want)
  })

  test('refuses a key that has left the ring', () => {
    const after = verifier(publicKeys({ keys: [second] }), PARTIES)
    expect(() => after(forge(first), NOW)).toThrow(new InvalidToken('kid is unknown'))
  })
})

describe('the header', () => {
  test.each([
    ...[
      { crit: ['exp'] },
      { crit: ['https://example.test/unknown'] },
      { crit: [] },
      { crit: null },
      { crit: 'b64' },
      { crit: ['b64'], b64: false },
      { crit: ['b64'], b64: true },
    ].map((head) => ({
      name: `${JSON.stringify(head)} (RFC 7515 section 4.1.11, RFC 7797 section 6)`,
      head,
      want: 'crit is not supported',
    })),
    ...['JWT', 'at+jwt ', 'at+jwtx', 'xat+jwt', 'text/at+jwt', 'dpop+jwt', '', 0, null, undefined].map(
      (typ) => ({
        name: `typ ${JSON.stringify(typ)} (RFC 9068 section 4, RFC 8725 section 3.11)`,
        head: { typ },
        want: 'typ is not at+jwt',
      }),
    ),
    { name: 'typ that is an array', head: { typ: ['at+jwt'] }, want: 'typ is not at+jwt' },
  ])('refuses $name', ({ head, want }) => {
    expect(refusal(forge(first, { head }))).toBe(want)
  })

  test.each([
    { name: 'not JSON', head: 'alg=ES256', want: 'the header is not a JSON object' },
    { name: 'a JSON string', head: '"ES256"', want: 'the header is not a JSON object' },
    { name: 'null', head: 'null', want: 'the header is not a JSON object' },
    { name: 'an array', head: '[]', want: 'alg is not ES256' },
    { name: 'truncated', head: '{"alg":"ES256"', want: 'the header is not a JSON object' },
    { name: 'nested very deep', head: '['.repeat(5000), want: 'the header is not a JSON object' },
    { name: 'alg in the prototype', head: '{"__proto__":{"alg":"ES256"}}', want: 'alg is not ES256' },
  ])('refuses a header that is $name', ({ head, want }) => {
    expect(refusal(sealed(encode(head), encode(claims()), first))).toBe(want)
  })
})

describe('claims, genuinely signed', () => {
  const MALFORMED = 'a claim is missing or of the wrong type'
  const objects = [{ $ne: null }, {}, [], ['x'], 7, true, null]
  const notTimes = [true, null, [IAT], { $gt: 0 }]
  const each = (name: string, values: unknown[], want: string) =>
    values.map((value) => ({
      name: `${name} ${value === undefined ? 'missing' : JSON.stringify(value)}`,
      body: { [name]: value },
      want,
    }))

  test.each([
    ...each(
      'iss',
      [undefined, ...objects, '', 'https://evil.test', `${PARTIES.issuer}/`, [PARTIES.issuer]],
      `jwt issuer invalid. expected: ${PARTIES.issuer}`,
    ),
    ...each(
      'aud',
      [undefined, ...objects, '', 'https://other.test', PARTIES.audience.toUpperCase()],
      `jwt audience invalid. expected: ${PARTIES.audience}`,
    ),
    ...each('aud', [[PARTIES.audience], ['https://other.test', PARTIES.audience]], MALFORMED),
    ...['sub', 'sid', 'jti'].flatMap((name) => each(name, [undefined, '', ...objects], MALFORMED)),
    ...each('roles', [undefined, 'admin', { 0: 'admin', length: 1 }, 7, true, null], MALFORMED),
    ...each('roles', [[7], [null], [['admin']], ['user', { $ne: null }]], MALFORMED),
    ...each('ver', [undefined, '0', 0.5, true, null, [0], { $gt: 0 }], MALFORMED),
    ...each('iat', [undefined, String(IAT), IAT + 0.5, ...notTimes], MALFORMED),
    ...each('exp', [undefined, IAT + 900.5], MALFORMED),
    ...each('exp', [String(IAT + 900), ...notTimes], 'invalid exp value'),
    ...each('nbf', [String(IAT), null, {}, [IAT]], 'invalid nbf value'),
  ])('refuse $name', ({ body, want }) => {
    expect(refusal(forge(first, { body }))).toBe(want)
  })

  test.each([
    { name: 'expired 30 s ago', now: later(930), want: 'jwt expired' },
    { name: 'expired long ago', body: { iat: 0, exp: 900 }, want: 'jwt expired' },
    { name: 'exp of zero', body: { exp: 0 }, want: 'jwt expired' },
    { name: 'exp before iat', body: { exp: IAT - 60 }, want: 'jwt expired' },
    { name: 'issued 31 s ahead', now: later(-31), want: 'issued in the future' },
    {
      name: 'iat in milliseconds',
      body: { iat: IAT * 1000, exp: IAT * 1000 + 900 },
      want: 'issued in the future',
    },
    { name: 'nbf 31 s ahead (RFC 7519 section 4.1.5)', body: { nbf: IAT + 31 }, want: 'jwt not active' },
    { name: 'exp in milliseconds', body: { exp: (IAT + 900) * 1000 }, want: 'lives too long' },
    { name: 'exp years ahead', body: { exp: IAT + 10 * 365 * 86_400 }, want: 'lives too long' },
    { name: 'a life of 901 s', body: { exp: IAT + 901 }, want: 'lives too long' },
    { name: 'an old iat that hides a long life', body: { iat: IAT - 86_400 }, want: 'lives too long' },
  ])('refuse $name', ({ now, body = {}, want }: { now?: Date; body?: object; want: string }) => {
    expect(refusal(forge(first, { body: { ...body } }), now)).toBe(want)
  })

  test.each([
    { name: 'exp of 1e400, which JSON.parse reads as Infinity', body: `,"exp":1e400}`, want: MALFORMED },
    { name: 'iat of -1e400', body: `,"iat":-1e400}`, want: MALFORMED },
    { name: 'claims in the prototype', body: `,"sub":"","__proto__":{"sub":"u1"}}`, want: MALFORMED },
  ])('refuse $name', ({ body, want }) => {
    const text = JSON.stringify(claims()).slice(0, -1) + body
    expect(refusal(sealed(encode(header(first)), encode(text), first))).toBe(want)
  })

  test.each([
    { name: 'not JSON', body: 'sub=u1' },
    { name: 'a JSON array', body: JSON.stringify([claims()]) },
    { name: 'a JSON string', body: '"u1"' },
    { name: 'null', body: 'null' },
    { name: 'a number', body: '42' },
    { name: 'a whole token of ours: nested (RFC 7519 section 5.2)', body: forge(first) },
    { name: 'bytes that are not UTF-8', body: '\uD800' },
  ])('refuse a payload that is $name', ({ body }) => {
    const token = sealed(encode(header(first)), encode(body), first)
    expect(refusal(token)).toBe(`jwt audience invalid. expected: ${PARTIES.audience}`)
  })
})

describe('the signature', () => {
  const [head, body] = [encode(header(first)), encode(claims())]
  const good = Buffer.from(es256(head, body, first), 'base64url')
  const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')

  test.each([
    { name: '64 zeros (CVE-2022-21449)', bytes: Buffer.alloc(64) },
    { name: 'r and s of the order of the curve (CVE-2022-21449)', bytes: Buffer.concat([order, order]) },
    { name: 'r and s of one', bytes: Buffer.concat([one(), one()]) },
    {
      name: 'DER-encoded (RFC 7518 section 3.4)',
      bytes: Buffer.from(es256(head, body, first, 'der'), 'base64url'),
    },
    { name: 'one byte short', bytes: good.subarray(0, 63) },
    { name: 'one byte long', bytes: Buffer.concat([good, Buffer.alloc(1)]) },
    { name: 'half', bytes: good.subarray(0, 32) },
    { name: 'the good one twice', bytes: Buffer.concat([good, good]) },
    { name: 'one bit off', bytes: Buffer.from(good.map((byte, at) => (at === 40 ? byte ^ 1 : byte))) },
    { name: 'that of another token', bytes: Buffer.from(forge(first).split('.')[2]!, 'base64url') },
    { name: 'random', bytes: randomBytes(64) },
    { name: 'empty', bytes: Buffer.alloc(0), want: 'not a compact JWS' },
  ])('is refused: $name', ({ bytes, want }: { bytes: Buffer; want?: string }) => {
    const size = `"ES256" signatures must be "64" bytes, saw "${bytes.length}"`
    const reason = bytes.length === 64 ? 'invalid signature' : size
    expect(refusal(`${head}.${body}.${bytes.toString('base64url')}`)).toBe(want ?? reason)
  })

  test('covers the claims and the header', () => {
    const promoted = encode(claims({ roles: ['admin'] }))
    const renamed = encode(header(first, { x: 1 }))
    expect(refusal(`${head}.${promoted}.${good.toString('base64url')}`)).toBe('invalid signature')
    expect(refusal(`${renamed}.${body}.${good.toString('base64url')}`)).toBe('invalid signature')
  })
})

describe('the encoding (RFC 7515 section 2, RFC 4648 section 3.5), genuinely signed', () => {
  const h = spare(header(first))
  const p = spare(claims())
  const s = es256(h, p, first)
  const standard = (value: object) =>
    Buffer.from(JSON.stringify({ ...value, x: '>>>>>>??????' }))
      .toString('base64')
      .replaceAll('=', '')

  test('the parts of these tests are good as they are', () => {
    expect(refusal(`${h}.${p}.${s}`)).toBe('accepted')
    expect(standard(claims())).toMatch(/[+/]/)
  })

  test.each([
    { name: 'a second spelling of the header', token: sealed(respelled(h), p, first) },
    { name: 'a second spelling of the payload', token: sealed(h, respelled(p), first) },
    { name: 'a second spelling of the signature', token: `${h}.${p}.${respelled(s)}` },
    { name: 'padding in the header', token: sealed(padded(h), p, first) },
    { name: 'padding in the payload', token: sealed(h, padded(p), first) },
    { name: 'padding in the signature', token: `${h}.${p}.${padded(s)}` },
    { name: 'the alphabet of plain base64', token: sealed(h, standard(claims()), first) },
    ...[' ', '\n', '\r\n', '\t', '\0', '%20', '\u00a0', '\u200b'].flatMap((space) => [
      { name: `${JSON.stringify(space)} before it`, token: sealed(space + h, p, first) },
      { name: `${JSON.stringify(space)} in it`, token: sealed(h, p.slice(0, 8) + space + p.slice(8), first) },
      { name: `${JSON.stringify(space)} after it`, token: `${h}.${p}.${s}${space}` },
    ]),
    { name: 'one part', token: h },
    { name: 'two parts', token: `${h}.${p}` },
    { name: 'four parts', token: `${h}.${p}.${s}.${s}` },
    { name: 'four parts, the last empty', token: `${h}.${p}.${s}.` },
    { name: 'five parts (JWE, RFC 7516 section 7.1)', token: `${h}.${p}.${s}.${p}.${s}` },
    { name: 'an empty header', token: `.${p}.${s}` },
    { name: 'an empty payload (RFC 7515 appendix F)', token: sealed(h, '', first) },
    { name: 'dots only', token: '..' },
    { name: 'the empty string', token: '' },
    {
      name: 'the JSON serialisation (RFC 7515 section 7.2)',
      token: JSON.stringify({ protected: h, payload: p }),
    },
    { name: 'Bearer in front', token: `Bearer ${h}.${p}.${s}` },
    { name: 'more than 8,192 characters', token: ofLength(8193), want: 'too long' },
    { name: 'a megabyte', token: forge(first, { body: { x: 'x'.repeat(1_000_000) } }), want: 'too long' },
    { name: 'a megabyte of dots', token: '.'.repeat(1_000_000), want: 'too long' },
    { name: 'a refresh token', token: refreshToken(7) },
    {
      name: 'a refresh token whose generation is good base64url',
      token: refreshToken(1000),
      want: 'the header is not a JSON object',
    },
  ])('refuses $name', ({ token, want = 'not a compact JWS' }: { token: string; want?: string }) => {
    expect(refusal(token)).toBe(want)
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

/** The number one in 32 bytes. */
function one(): Buffer {
  return Buffer.from(`${'00'.repeat(31)}01`, 'hex')
}

/** Base64url of JSON whose last character has bits to spare. */
function spare(value: object): string {
  const text = JSON.stringify(value)
  return encode(text.padEnd(text.length + (text.length % 3 === 0 ? 1 : 0)))
}

/** The same bytes with another last character. */
function respelled(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const other = text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1)!) ^ 1]
  if (!Buffer.from(other, 'base64url').equals(Buffer.from(text, 'base64url'))) throw new Error('other bytes')
  return other
}

function padded(text: string): string {
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=')
}

/** A good token of so many characters. */
function ofLength(length: number): string {
  for (const x of ['', 'x', 'xx']) {
    const head = { x }
    const start = forge(first, { head, body: { y: '' } }).length
    for (let y = Math.floor(((length - start) * 3) / 4) - 4; y < length; y += 1) {
      const token = forge(first, { head, body: { y: 'y'.repeat(y) } })
      if (token.length === length) return token
      if (token.length > length) break
    }
  }
  throw new Error(`no token of ${length} characters`)
}

function refreshToken(generation: number): string {
  return `${randomBytes(16).toString('base64url')}.${generation}.${randomBytes(32).toString('base64url')}`
}

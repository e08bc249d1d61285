/**
 * Attacks on access tokens, each with its source. The unit tests hold the verifier to the reason of each refusal;
 * the package tests send every one to the packaged authorizer. What hangs on the second is in the unit tests alone.
 */
import {
  constants,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  randomUUID,
  sign,
} from 'node:crypto'
import { publicKeys, signer } from '../../auth/Tokens.ts'
import {
  IAT,
  type Jwk,
  NOW,
  PARTIES,
  claims,
  encode,
  es256,
  forge,
  header,
  newKey,
  ofLength,
  sealed,
} from './forge.ts'

interface Attack {
  name: string
  source: string
  token: string
  /** What the log says of the refusal. */
  reason: string
}

/** What is attacked together, with a good token that differs from the bad ones in nothing else. */
interface Group {
  group: string
  good: string
  attacks: Attack[]
}

/** A group's own source and reason stand for those that an attack does not name. */
const group = (
  name: string,
  { source = '', reason = '', good = forge(first) },
  attacks: (Pick<Attack, 'name' | 'token'> & Partial<Attack>)[],
): Group => ({ group: name, good, attacks: attacks.map((attack) => ({ source, reason, ...attack })) })

/** The keys of the deployment that is attacked. */
export const first = newKey()
export const second = newKey()
/** Somebody else's key, and the same under the name of ours. */
const evil = newKey()
const attacker: Jwk = { ...newKey(), kid: first.kid }

const publicOf = (key: Jwk) => publicKeys({ keys: [key] }).keys[0]!
const show = (value: unknown) => (value === undefined ? 'missing' : JSON.stringify(value))

const NOT_JWS = 'not a compact JWS'
const NOT_OBJECT = 'the header is not a JSON object'
const NOT_ES256 = 'alg is not ES256'
const UNKNOWN_KID = 'kid is unknown'
const BAD_SIGNATURE = 'invalid signature'
const MALFORMED = 'a claim is missing or of the wrong type'
const BAD_AUDIENCE = `jwt audience invalid. expected: ${PARTIES.audience}`
const BAD_ISSUER = `jwt issuer invalid. expected: ${PARTIES.issuer}`

/** An HMAC where a signature should be. */
function hmac(secret: string | Buffer, head: object = {}, hash = 'sha256'): string {
  const input = `${encode(header(first, { alg: 'HS256', ...head }))}.${encode(claims())}`
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
}

/** A signature of another kind. */
function signed(alg: string, hash: string | undefined, key: Parameters<typeof sign>[2]): string {
  const input = `${encode(header(first, { alg }))}.${encode(claims())}`
  return `${input}.${sign(hash, Buffer.from(input), key).toString('base64url')}`
}

/** Two parts signed as they are. */
const rawHeader = (text: string | Buffer) =>
  sealed(Buffer.from(text).toString('base64url'), encode(claims()), first)
const rawClaims = (text: string | Buffer) =>
  sealed(encode(header(first)), Buffer.from(text).toString('base64url'), first)

const key = createPublicKey({ key: publicOf(first), format: 'jwk' })
const pem = String(key.export({ format: 'pem', type: 'spki' }))
const point = Buffer.concat([
  Buffer.from([4]),
  ...[first.x, first.y].map((coordinate) => Buffer.from(coordinate!, 'base64url')),
])
const ssh = ['ecdsa-sha2-nistp256', 'nistp256', point].map((part) => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(part.length)
  return Buffer.concat([length, Buffer.from(part)])
})
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const curve = (namedCurve: string) => ({
  key: generateKeyPairSync('ec', { namedCurve }).privateKey,
  dsaEncoding: 'ieee-p1363' as const,
})
const ed25519 = generateKeyPairSync('ed25519').privateKey

const algorithms = group('algorithms', { source: 'RFC 8725 section 3.1', reason: NOT_ES256 }, [
  ...['none', 'None', 'nOnE', 'NONE'].map((alg) => ({
    name: `alg ${alg} with an old signature`,
    source: 'RFC 8725 section 2.1; McLean, Critical vulnerabilities in JSON Web Token libraries, 2015',
    token: forge(first, { head: { alg } }),
  })),
  ...['none', 'ES256'].flatMap((alg) => {
    const [head, body] = forge(first, { head: { alg } }).split('.')
    const source = 'RFC 7519 section 6.1; CVE-2020-28042'
    return [
      { name: `alg ${alg} with an empty signature`, source, token: `${head}.${body}.`, reason: NOT_JWS },
      { name: `alg ${alg} without a third part`, source, token: `${head}.${body}`, reason: NOT_JWS },
    ]
  }),
  ...[
    { name: 'PEM', secret: pem, source: 'CVE-2015-9235; CVE-2016-10555' },
    { name: 'PEM, trimmed', secret: pem.trim(), source: 'CVE-2015-9235' },
    { name: 'PEM, in CRLF', secret: pem.replaceAll('\n', '\r\n'), source: 'CVE-2015-9235' },
    { name: 'DER', secret: key.export({ format: 'der', type: 'spki' }), source: 'CVE-2024-33663' },
    {
      name: 'OpenSSH',
      secret: `ecdsa-sha2-nistp256 ${Buffer.concat(ssh).toString('base64')}`,
      source: 'CVE-2022-29217; CVE-2024-33663',
    },
    { name: 'JWK', secret: JSON.stringify(publicOf(first)), source: 'CVE-2016-10555' },
    { name: 'point', secret: point, source: 'CVE-2016-10555' },
    { name: 'x coordinate', secret: Buffer.from(first.x!, 'base64url'), source: 'CVE-2016-10555' },
    { name: 'kid', secret: first.kid, source: 'RFC 8725 section 2.2' },
  ].flatMap(({ name, secret, source }) => [
    { name: `HS256 with our public key's ${name} for the secret`, source, token: hmac(secret) },
    {
      name: `an HMAC of 64 bytes with our public key's ${name} that calls itself ES256`,
      source,
      token: hmac(secret, { alg: 'ES256' }, 'sha512'),
      reason: BAD_SIGNATURE,
    },
  ]),
  ...['', 'secret', 'your-256-bit-secret', '\0'].map((secret) => ({
    name: `HS256 with ${show(secret)} for the secret`,
    source: 'RFC 8725 section 2.2',
    token: hmac(secret),
  })),
  ...[384, 512].map((bits) => ({
    name: `HS${bits} with our public key as PEM`,
    source: 'CVE-2015-9235',
    token: hmac(pem, { alg: `HS${bits}` }, `sha${bits}`),
  })),
  ...(
    [
      ['ES384', 'sha384', curve('P-384')],
      ['ES512', 'sha512', curve('P-521')],
      ['ES256K', 'sha256', curve('secp256k1')],
      ['RS256', 'sha256', rsa],
      ['PS256', 'sha256', { key: rsa, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
      ['EdDSA', undefined, ed25519],
    ] as const
  ).flatMap(([alg, hash, privateKey]) => {
    const disguised = signed('ES256', hash, privateKey)
    const bytes = Buffer.from(disguised.split('.')[2]!, 'base64url').length
    return [
      { name: alg, token: signed(alg, hash, privateKey) },
      {
        name: `${alg} that calls itself ES256`,
        token: disguised,
        reason: bytes === 64 ? BAD_SIGNATURE : wrongSize(bytes),
      },
      { name: `ES256 that calls itself ${alg}`, token: forge(first, { head: { alg } }) },
    ]
  }),
  ...['es256', 'ES256 ', 'ES256\0', '', ['ES256'], { toString: 'ES256' }, 0, true, null, undefined].map(
    (alg) => ({
      name: `alg ${show(alg)}`,
      token: forge(first, { head: { alg } }),
    }),
  ),
  {
    name: 'alg twice, none the second time',
    source: 'RFC 7515 section 4; RFC 8725 section 2.6',
    token: rawHeader(JSON.stringify(header(first)).replace(/}$/, ',"alg":"none"}')),
  },
  {
    name: 'PBES2 with two thousand million rounds',
    source: 'Tervoort, Three New Attacks Against JSON Web Tokens, Black Hat USA 2023; CVE-2023-52428',
    token: forge(first, {
      head: { alg: 'PBES2-HS512+A256KW', enc: 'A256GCM', p2s: 'AAAAAAAA', p2c: 2 ** 31 - 1 },
    }),
  },
])

/** Texts that mean something to a file system, a database, a shell or JavaScript where a key is looked up by them. */
const kids: unknown[] = [
  '../../../../dev/null',
  '/dev/null',
  'file:///etc/passwd',
  `${first.kid}/../${first.kid}`,
  'https://evil.test/key',
  "x' UNION SELECT 'secret",
  `${first.kid}' OR '1'='1`,
  '*)(uid=*))(|(uid=*',
  '| sleep 10',
  '$(id)',
  '__proto__',
  'constructor',
  'toString',
  '0',
  '-1',
  '',
  ' ',
  '*',
  'null',
  `${first.kid} `,
  ` ${first.kid}`,
  `${first.kid}\0`,
  `${first.kid}\n`,
  first.kid.toLowerCase(),
  [first.kid],
  [[first.kid]],
  [first.kid, second.kid],
  [],
  { $ne: null },
  { kid: first.kid },
  { length: 1, 0: first.kid },
  {},
  0,
  1,
  -1,
  0.5,
  2 ** 53,
  true,
  false,
  null,
  undefined,
]

const keys = group('the key', { source: 'RFC 8725 section 3.10', reason: UNKNOWN_KID }, [
  ...kids.map((kid) => ({
    name: `kid ${show(kid)}`,
    source: 'RFC 8725 sections 2.9 and 3.10; OWASP WSTG-SESS-10',
    token: forge(first, { head: { kid } }),
  })),
  ...[
    { kid: '../../../../dev/null', secret: '' },
    { kid: '../../../../dev/null', secret: '\0' },
    { kid: "x' UNION SELECT 'secret", secret: 'secret' },
  ].map(({ kid, secret }) => ({
    name: `HS256 with ${show(secret)}, which the kid ${kid} would find`,
    source: 'OWASP WSTG-SESS-10',
    token: hmac(secret, { kid }),
    reason: NOT_ES256,
  })),
  {
    name: 'kid twice, the attacker’s the second time',
    source: 'RFC 7515 section 4',
    token: rawHeader(JSON.stringify(header(first)).replace(/}$/, `,"kid":"${evil.kid}"}`)),
  },
  { name: 'a key of nobody', token: forge(evil) },
  ...[
    { name: 'jwk', head: { jwk: publicOf(evil) }, source: 'CVE-2018-0114' },
    { name: 'jwk with its private half', head: { jwk: evil }, source: 'CVE-2018-0114' },
    { name: 'jku', head: { jku: 'https://evil.test/jwks.json' } },
    { name: 'jku at our own host', head: { jku: `${PARTIES.issuer}@evil.test/jwks.json` } },
    { name: 'x5u', head: { x5u: 'https://evil.test/chain.pem' } },
    { name: 'x5u that is data', head: { x5u: `data:application/json,${JSON.stringify(publicOf(evil))}` } },
    { name: 'x5c', head: { x5c: [derOf(evil).toString('base64')] } },
    { name: 'x5t', head: { x5t: randomBytes(20).toString('base64url') } },
  ].flatMap(({ name, head, source = 'RFC 8725 section 2.9; RFC 7515 section 10.3' }) => [
    { name: `the attacker's key in ${name}`, source, token: forge(evil, { head }) },
    {
      name: `the attacker's key in ${name}, without a kid`,
      source,
      token: forge(evil, { head: { ...head, kid: undefined } }),
    },
    {
      name: `the attacker's key in ${name}, under our kid`,
      source,
      token: forge(evil, { head: { ...head, kid: first.kid } }),
      reason: BAD_SIGNATURE,
    },
  ]),
  {
    name: 'a symmetric key in jwk',
    source: 'CVE-2018-0114',
    token: hmac('secret', { jwk: { kty: 'oct', k: encode('secret') } }),
    reason: NOT_ES256,
  },
  {
    name: "another deployment's key of the same kid",
    source: 'RFC 8725 section 2.7',
    token: signer({ keys: [attacker] }, PARTIES)(
      { id: claims()['sub'] as string, roles: ['user'], emailVerified: false, tokenVersion: 0 },
      's',
      NOW,
    ),
    reason: BAD_SIGNATURE,
  },
  {
    name: 'the second key under the kid of the first',
    token: forge(second, { head: { kid: first.kid } }),
    reason: BAD_SIGNATURE,
  },
])

const headers = group('the header', { reason: NOT_OBJECT, source: 'RFC 7515 section 4' }, [
  ...[['exp'], ['https://example.test/unknown'], ['alg'], [], null, false, 'b64', { b64: true }].map(
    (crit) => ({
      name: `crit ${show(crit)}`,
      source: 'RFC 7515 section 4.1.11; CVE-2025-59420',
      token: forge(first, { head: { crit, 'https://example.test/unknown': true } }),
      reason: 'crit is not supported',
    }),
  ),
  ...[false, true].map((b64) => ({
    name: `b64 ${b64} with crit`,
    source: 'RFC 7797 section 6',
    token: forge(first, { head: { crit: ['b64'], b64 } }),
    reason: 'crit is not supported',
  })),
  ...[false, true, null, 'false'].map((b64) => ({
    name: `b64 ${show(b64)} without crit`,
    source: 'RFC 7797 sections 6 and 7',
    token: forge(first, { head: { b64 } }),
    reason: 'b64 is not supported',
  })),
  {
    name: 'b64 false with a payload that is not encoded',
    source: 'RFC 7797 section 4',
    token: sealed(
      encode(header(first, { b64: false })),
      JSON.stringify(claims()).replaceAll('.', ' '),
      first,
    ),
    reason: NOT_JWS,
  },
  ...[
    'JWT',
    'jwt',
    'at+jwt ',
    'at+jwtx',
    'xat+jwt',
    'text/at+jwt',
    'application/jwt',
    'dpop+jwt',
    'logout+jwt',
    'secevent+jwt',
    '',
    0,
    null,
    undefined,
    ['at+jwt'],
    { at: 'jwt' },
  ].map((typ) => ({
    name: `typ ${show(typ)}`,
    source: 'RFC 9068 section 4; RFC 8725 section 3.11',
    token: forge(first, { head: { typ } }),
    reason: 'typ is not at+jwt',
  })),
  { name: 'a header that is not JSON', token: rawHeader('alg=ES256') },
  { name: 'a header that is a JSON string', token: rawHeader('"ES256"') },
  { name: 'a header that is null', token: rawHeader('null') },
  { name: 'a header that is a number', token: rawHeader('7') },
  { name: 'a header that is an array', token: rawHeader('[]'), reason: NOT_ES256 },
  { name: 'a header that is cut off', token: rawHeader('{"alg":"ES256"') },
  { name: 'a header nested very deep', token: rawHeader('['.repeat(5000)), source: 'CWE-674' },
  {
    name: 'a header whose alg is in the prototype',
    source: 'CWE-1321',
    token: rawHeader('{"__proto__":{"alg":"ES256"}}'),
    reason: NOT_ES256,
  },
  {
    name: 'a header in UTF-16',
    source: 'RFC 8725 sections 2.6 and 3.7',
    token: rawHeader(Buffer.from(JSON.stringify(header(first)), 'utf16le')),
  },
  {
    name: 'a header with a byte order mark',
    source: 'RFC 8725 sections 2.6 and 3.7',
    token: rawHeader(`\uFEFF${JSON.stringify(header(first))}`),
  },
])

const notText = [{ $ne: null }, {}, [], ['x'], 7, true, null]
const notTimes = [true, null, [IAT], { $gt: 0 }]
const notVersions = [undefined, '0', 0.5, 2 ** 53, true, null, [0], { $gt: 0 }]

/** Tokens of ours, but for one claim. */
const wrong = (name: string, values: unknown[], reason: string, source = 'RFC 9068 sections 2.2 and 4') =>
  values.map((value) => ({
    name: `${name} ${show(value)}`,
    source,
    token: forge(first, { body: { [name]: value } }),
    reason,
  }))

const claimsAttacks = group('claims that are missing or wrong, genuinely signed', {}, [
  ...wrong(
    'iss',
    [
      undefined,
      ...notText,
      '',
      'https://evil.test',
      `${PARTIES.issuer}/`,
      `${PARTIES.issuer}.evil.test`,
      PARTIES.issuer.toUpperCase(),
      [PARTIES.issuer],
    ],
    BAD_ISSUER,
    'RFC 8725 section 3.8',
  ),
  ...wrong(
    'aud',
    [
      undefined,
      ...notText,
      '',
      'https://other.test',
      `${PARTIES.audience}/`,
      PARTIES.audience.toUpperCase(),
      '*',
    ],
    BAD_AUDIENCE,
    'RFC 8725 section 3.9',
  ),
  ...wrong(
    'aud',
    [[PARTIES.audience], ['https://other.test', PARTIES.audience]],
    MALFORMED,
    'RFC 8725 section 3.9',
  ),
  ...['sub', 'sid', 'jti'].flatMap((name) => wrong(name, [undefined, '', ...notText], MALFORMED)),
  ...wrong(
    'roles',
    [
      undefined,
      'admin',
      { 0: 'admin', length: 1 },
      7,
      true,
      null,
      [7],
      [null],
      [['admin']],
      ['user', { $ne: null }],
    ],
    MALFORMED,
  ),
  ...wrong('ver', notVersions, MALFORMED),
  ...wrong(
    'iat',
    [undefined, String(IAT), IAT + 0.5, new Date().toISOString(), ...notTimes],
    MALFORMED,
    'RFC 7519 sections 2 and 4.1.6',
  ),
  ...wrong('exp', [undefined, IAT + 900.5], MALFORMED, 'RFC 7519 section 4.1.4'),
  ...wrong(
    'exp',
    [String(IAT + 900), new Date(Date.now() + 900_000).toISOString(), '', ...notTimes],
    'invalid exp value',
    'RFC 7519 sections 2 and 4.1.4',
  ),
  ...wrong(
    'nbf',
    [String(IAT), new Date().toISOString(), '', null, true, {}, [IAT]],
    'invalid nbf value',
    'RFC 7519 sections 2 and 4.1.5',
  ),
  ...wrong('nbf', [IAT + 3600, IAT * 1000, 2 ** 53], 'jwt not active', 'RFC 7519 section 4.1.5'),
  ...wrong('exp', [IAT - 60, 0, -1, -IAT], 'jwt expired', 'RFC 7519 section 4.1.4'),
  ...wrong('exp', [(IAT + 900) * 1000], 'lives too long', 'RFC 7519 section 2, NumericDate'),
  ...wrong('exp', [IAT + 10 * 365 * 86_400, IAT + 901], 'lives too long', 'RFC 6750 section 5.3'),
  ...wrong('iat', [IAT - 86_400, 0, -1], 'lives too long', 'RFC 6750 section 5.3'),
  ...[
    { name: 'expired long ago', body: { iat: 0, exp: 900 }, reason: 'jwt expired' },
    {
      name: 'issued an hour ahead',
      body: { iat: IAT + 3600, exp: IAT + 4500 },
      reason: 'issued in the future',
    },
    {
      name: 'iat and exp in milliseconds',
      body: { iat: IAT * 1000, exp: IAT * 1000 + 900 },
      reason: 'issued in the future',
    },
  ].map(({ name, body, reason }) => ({
    name,
    source: 'RFC 7519 sections 4.1.4 and 4.1.6',
    token: forge(first, { body }),
    reason,
  })),
  ...[
    {
      name: 'exp of 1e400, which JSON.parse reads as Infinity',
      members: '"exp":1e400',
      source: 'RFC 8259 section 6',
    },
    { name: 'iat of -1e400', members: '"iat":-1e400', source: 'RFC 8259 section 6' },
    { name: 'sub twice, empty the second time', members: '"sub":""', source: 'RFC 7519 section 4' },
    { name: 'sub in the prototype', members: '"sub":"","__proto__":{"sub":"u1"}', source: 'CWE-1321' },
  ].map(({ name, members, source }) => ({
    name,
    source,
    token: rawClaims(JSON.stringify(claims()).replace(/}$/, `,${members}}`)),
    reason: MALFORMED,
  })),
])

const payloads = group(
  'payloads that are no claims, genuinely signed',
  { source: 'RFC 7519 section 7.2', reason: BAD_AUDIENCE },
  [
    { name: 'not JSON', token: rawClaims('sub=u1') },
    { name: 'a JSON array', token: rawClaims(JSON.stringify([claims()])) },
    { name: 'a JSON string', token: rawClaims('"u1"') },
    { name: 'claims as JSON in a string', token: rawClaims(JSON.stringify(JSON.stringify(claims()))) },
    { name: 'null', token: rawClaims('null') },
    { name: 'a number', token: rawClaims('42') },
    { name: 'bytes that are not UTF-8', token: rawClaims(Buffer.from([0xff, 0xfe, 0x7b])) },
    { name: 'nested very deep', source: 'CWE-674', token: rawClaims('['.repeat(5000)) },
    { name: 'a whole token of ours, nested', source: 'RFC 7519 section 5.2', token: rawClaims(forge(first)) },
    {
      name: 'a whole token of ours, nested and said to be',
      source: 'RFC 7519 sections 5.2 and 7.2',
      token: sealed(encode(header(first, { cty: 'JWT' })), encode(forge(first)), first),
    },
    {
      name: 'a whole token of ours in a JSON string',
      source: 'RFC 7519 section 5.2',
      token: rawClaims(JSON.stringify(forge(first))),
    },
  ],
)

const [head, body] = [encode(header(first)), encode(claims())]
const goodSignature = Buffer.from(es256(head, body, first), 'base64url')
const [r, s] = [goodSignature.subarray(0, 32), goodSignature.subarray(32)] as [Buffer, Buffer]
const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
const prime = Buffer.from('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex')
const one = Buffer.from(`${'00'.repeat(31)}01`, 'hex')
const zero = Buffer.alloc(32)
const der = Buffer.from(es256(head, body, first, 'der'), 'base64url')
const FORGED = 'RFC 7515 section 5.2'

const bySignature = [
  ...[
    { name: 'zeros', bytes: [zero, zero] },
    { name: 'r of zero', bytes: [zero, s] },
    { name: 's of zero', bytes: [r, zero] },
    { name: 'r and s of the order of the curve', bytes: [order, order] },
    { name: 'r of zero and s of the order', bytes: [zero, order] },
    { name: 'r of the order', bytes: [order, s] },
    { name: 's of the order', bytes: [r, order] },
    { name: 'r of the prime of the field', bytes: [prime, s] },
    { name: 'r and s of one', bytes: [one, one] },
    { name: 'all bits set', bytes: [Buffer.alloc(64, 0xff)] },
  ].map(({ name, bytes }) => ({ name, source: 'CVE-2022-21449', bytes })),
  { name: 'r and s changed round', bytes: [s, r] },
  { name: 'one byte short', bytes: [goodSignature.subarray(0, 63)] },
  { name: 'without the first byte', bytes: [goodSignature.subarray(1)] },
  { name: 'one byte long', bytes: [goodSignature, Buffer.alloc(1)] },
  { name: 'a zero before r', bytes: [Buffer.alloc(1), goodSignature] },
  { name: 'a zero before r and s', bytes: [Buffer.alloc(1), r, Buffer.alloc(1), s] },
  { name: 'half', bytes: [r] },
  { name: 'one byte', bytes: [Buffer.alloc(1)], source: 'CVE-2020-28042' },
  { name: '96 bytes, as of ES384', bytes: [randomBytes(96)] },
  { name: '132 bytes, as of ES512', bytes: [randomBytes(132)] },
  { name: 'the good one twice', bytes: [goodSignature, goodSignature] },
  { name: 'DER', bytes: [der] },
  { name: 'DER, cut to 64 bytes', bytes: [der.subarray(0, 64)] },
  { name: 'DER without a sequence', bytes: [der.subarray(2)] },
  ...[0, 31, 32, 63].map((at) => ({
    name: `one bit off in byte ${at}`,
    source: FORGED,
    bytes: [Buffer.from(goodSignature.map((byte, index) => (index === at ? byte ^ 1 : byte)))],
  })),
  { name: 'random', source: FORGED, bytes: [randomBytes(64)] },
  {
    name: 'that of another token',
    source: FORGED,
    bytes: [Buffer.from(forge(first).split('.')[2]!, 'base64url')],
  },
  {
    name: 'that of the payload alone',
    source: FORGED,
    bytes: [Buffer.from(es256('', body, first), 'base64url')],
  },
].map(
  ({ name, source = 'RFC 7518 section 3.4', bytes }: { name: string; source?: string; bytes: Buffer[] }) => {
    const signature = Buffer.concat(bytes)
    return {
      name,
      source,
      token: `${head}.${body}.${signature.toString('base64url')}`,
      reason: signature.length === 64 ? BAD_SIGNATURE : wrongSize(signature.length),
    }
  },
)

const signatures = group(
  'the signature',
  { good: `${head}.${body}.${goodSignature.toString('base64url')}` },
  [
    ...bySignature,
    ...[
      { name: 'beside other claims', parts: [head, encode(claims({ roles: ['admin'] }))] },
      { name: 'beside another header', parts: [encode(header(first, { x: 1 })), body] },
      { name: 'with header and claims changed round', parts: [body, head], reason: NOT_ES256 },
    ].map(({ name, parts, reason = BAD_SIGNATURE }) => ({
      name,
      source: FORGED,
      token: [...parts, goodSignature.toString('base64url')].join('.'),
      reason,
    })),
  ],
)

const h = spare(header(first))
const p = spare(claims())
const z = es256(h, p, first)
const standard = Buffer.from(JSON.stringify(claims({ x: '>>>>>>??????' })))
  .toString('base64')
  .replaceAll('=', '')
if (!/[+/]/.test(standard)) throw new Error('plain base64 and base64url are the same here')
const BASE64URL = 'RFC 7515 section 2; RFC 4648 section 3.5'
/** Base64 decoders leave these out; the signature is that of the parts as they are. */
const ignored = ['\n', '\r\n', '\t', '\v', '\0', '%20', '\u00a0', '\u200b', '\u2028', '\uFEFF', ' ']

const encodings = group(
  'the encoding, genuinely signed',
  { source: 'RFC 7515 section 7.1', reason: NOT_JWS, good: `${h}.${p}.${z}` },
  [
    { name: 'a second spelling of the header', source: BASE64URL, token: sealed(respelled(h), p, first) },
    { name: 'a second spelling of the payload', source: BASE64URL, token: sealed(h, respelled(p), first) },
    { name: 'a second spelling of the signature', source: BASE64URL, token: `${h}.${p}.${respelled(z)}` },
    { name: 'padding in the header', source: BASE64URL, token: sealed(padded(h), p, first) },
    { name: 'padding in the payload', source: BASE64URL, token: sealed(h, padded(p), first) },
    { name: 'padding in the signature', source: BASE64URL, token: `${h}.${p}.${padded(z)}` },
    { name: 'the alphabet of plain base64', source: BASE64URL, token: sealed(h, standard, first) },
    {
      name: 'one character too many in the payload',
      source: BASE64URL,
      token: sealed(h, `${whole(claims())}A`, first),
    },
    ...['!', '~', '"', 'é', '%3D', '\u{1d400}'].map((more) => ({
      name: `${show(more)} after the header`,
      source: BASE64URL,
      token: sealed(h + more, p, first),
    })),
    ...ignored
      .flatMap((space) =>
        [
          { name: `${show(space)} before it`, token: sealed(space + h, p, first) },
          {
            name: `${show(space)} in its header`,
            token: sealed(h.slice(0, 8) + space + h.slice(8), p, first),
          },
          {
            name: `${show(space)} in its payload`,
            token: sealed(h, p.slice(0, 8) + space + p.slice(8), first),
          },
          { name: `${show(space)} around a dot`, token: sealed(h + space, space + p, first) },
          { name: `${show(space)} after it`, token: `${h}.${p}.${z}${space}` },
        ].map(({ name, token }) => ({ name, source: 'RFC 7519 section 7.2', token })),
      )
      .filter(({ name }) => name !== '" " before it'),
    { name: 'one part', token: h },
    { name: 'four parts', token: `${h}.${p}.${z}.${z}` },
    { name: 'four parts, the last empty', token: `${h}.${p}.${z}.` },
    { name: 'a dot before', token: `.${h}.${p}.${z}` },
    { name: 'an empty header', token: sealed('', p, first) },
    { name: 'an empty payload', source: 'RFC 7515 appendix F', token: sealed(h, '', first) },
    { name: 'an empty payload between', source: 'RFC 7515 appendix F', token: `${h}..${z}` },
    { name: 'dots only', token: '..' },
    { name: 'two tokens', token: `${h}.${p}.${z},${h}.${p}.${z}` },
    { name: 'quotes', token: `"${h}.${p}.${z}"` },
    { name: 'encrypted', source: 'RFC 7516 section 7.1', token: `${h}.${p}.${z}.${p}.${z}` },
    ...[
      {
        name: 'encrypted with our public key',
        alg: 'ECDH-ES',
        source: 'RFC 8725 section 2.5; Tervoort, Black Hat USA 2023',
      },
      { name: 'compressed', alg: 'dir', zip: 'DEF', source: 'RFC 8725 section 3.6; CVE-2024-33664' },
    ].map(({ name, source, ...members }) => ({
      name,
      source,
      token: `${encode({ kid: first.kid, enc: 'A256GCM', ...members })}..${encode('x'.repeat(12))}.${p}.${encode('x'.repeat(16))}`,
    })),
    {
      name: 'the flattened JSON serialisation',
      source: 'RFC 7515 section 7.2.2',
      token: JSON.stringify({ protected: h, payload: p, signature: z }),
    },
    {
      name: 'the general JSON serialisation',
      source: 'RFC 7515 section 7.2.1',
      token: JSON.stringify({ payload: p, signatures: [{ protected: h, signature: z }] }),
    },
    {
      name: 'a compact token and JSON at once',
      source: 'Tervoort, Black Hat USA 2023; CVE-2022-39227',
      token: JSON.stringify({
        [`  ${h}.${encode(claims({ roles: ['admin'] }))}.`]: '',
        protected: h,
        payload: p,
        signature: z,
      }),
    },
  ],
)

const megabyte = 'x'.repeat(1_000_000)

const sizes = group('the size', { source: 'CWE-400', reason: 'too long', good: ofLength(first, 8192) }, [
  { name: '8,193 characters', token: ofLength(first, 8193) },
  { name: 'a megabyte of claims', token: forge(first, { body: { x: megabyte } }) },
  { name: 'a megabyte of header', token: forge(first, { head: { x: megabyte } }) },
  { name: 'a megabyte of kid', token: forge(first, { head: { kid: megabyte } }) },
  { name: 'a megabyte of signature', token: `${h}.${p}.${z}${megabyte}` },
  { name: 'a megabyte of brackets', token: rawHeader('['.repeat(1_000_000)) },
  { name: 'a megabyte without a dot', token: megabyte },
  { name: 'a megabyte of dots', token: '.'.repeat(1_000_000) },
  { name: 'a megabyte of tabs', token: '\t'.repeat(1_000_000) },
])

const refreshToken = (sid: string, generation: string) =>
  `${sid}.${generation}.${randomBytes(32).toString('base64url')}`
const sid = randomBytes(16).toString('base64url')

const confusions = group(
  'tokens that are something else',
  { source: 'RFC 8725 section 2.8', reason: NOT_JWS },
  [
    { name: 'a refresh token', token: refreshToken(sid, '0') },
    {
      name: 'a refresh token whose generation is good base64url',
      token: refreshToken(sid, '1000'),
      reason: NOT_OBJECT,
    },
    {
      name: 'a refresh token whose sid is a header of ours',
      token: refreshToken(h, '1000'),
      reason: wrongSize(32),
    },
    {
      name: 'an ID token of our key',
      source: 'RFC 9068 section 5; RFC 8725 section 2.8',
      token: sealed(
        encode({ alg: 'ES256', typ: 'JWT', kid: first.kid }),
        encode({ ...claims(), nonce: randomUUID(), auth_time: IAT }),
        first,
      ),
      reason: 'typ is not at+jwt',
    },
    {
      name: 'a token of our key for another service',
      source: 'RFC 8725 section 2.7',
      token: signer({ keys: [first] }, { ...PARTIES, audience: 'https://other.test' })(
        { id: 'u1', roles: ['user'], emailVerified: false, tokenVersion: 0 },
        's',
        NOW,
      ),
      reason: BAD_AUDIENCE,
    },
    {
      name: 'a token of our key from another issuer',
      source: 'RFC 8725 section 2.7',
      token: signer({ keys: [first] }, { ...PARTIES, issuer: 'https://other.test' })(
        { id: 'u1', roles: ['user'], emailVerified: false, tokenVersion: 0 },
        's',
        NOW,
      ),
      reason: BAD_ISSUER,
    },
  ],
)

export const attacks: Group[] = [
  algorithms,
  keys,
  headers,
  claimsAttacks,
  payloads,
  signatures,
  encodings,
  sizes,
  confusions,
]

/** What jsonwebtoken says of a signature of so many bytes. */
function wrongSize(bytes: number): string {
  return `"ES256" signatures must be "64" bytes, saw "${bytes}"`
}

function derOf(jwk: Jwk): Buffer {
  return createPublicKey({ key: publicOf(jwk), format: 'jwk' }).export({ format: 'der', type: 'spki' })
}

/** Base64url of JSON that fills its last character group. */
function whole(value: object): string {
  const text = JSON.stringify(value)
  return encode(text.padEnd(Math.ceil(text.length / 3) * 3))
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

/**
 * What each setting must look like, and that an error names the setting but never holds its value.
 */
import { publicKeys } from '../../auth/Tokens.ts'
import { newSecrets } from '../../dev/Secrets.ts'
import { type SettingName, parseSetting } from '../../lib/Settings.ts'
import { newKey } from '../support/forge.ts'
import { messageOf } from '../support/messageOf.ts'

const jwk = newKey()
const other = newKey()
const { d: _d, ...publicJwk } = jwk
const ring = (...keys: unknown[]) => JSON.stringify({ keys })
const KEY = newSecrets().PEPPER

test.each<{ name: string; setting: SettingName; text: string; want?: unknown }>([
  { name: 'a local database', setting: 'DB', text: 'mongodb://127.0.0.1:27017/auth' },
  { name: 'a cluster', setting: 'DB', text: 'mongodb+srv://user:p%40ss@cluster.test/auth?retryWrites=true' },
  { name: 'a replica set', setting: 'DB', text: 'mongodb://a.test:27017,b.test:27017/auth?replicaSet=rs' },
  { name: 'one private key', setting: 'SIGNING_KEYS', text: ring(jwk), want: { keys: [jwk] } },
  { name: 'two private keys', setting: 'SIGNING_KEYS', text: ring(jwk, other), want: { keys: [jwk, other] } },
  {
    name: 'public keys',
    setting: 'VERIFICATION_KEYS',
    text: ring(publicJwk),
    want: publicKeys({ keys: [jwk] }),
  },
  { name: '32 bytes', setting: 'PEPPER', text: KEY, want: Buffer.from(KEY, 'base64url') },
  { name: '64 bytes', setting: 'PEPPER', text: KEY + KEY, want: Buffer.from(KEY + KEY, 'base64url') },
  { name: '32 bytes', setting: 'REFRESH_TOKEN_KEY', text: KEY, want: Buffer.from(KEY, 'base64url') },
  { name: 'a domain', setting: 'ISSUER', text: 'https://auth.example.com' },
  { name: "AWS's own URL", setting: 'ISSUER', text: 'https://a1.execute-api.eu-central-1.amazonaws.com/dev' },
  { name: 'a laptop', setting: 'ISSUER', text: 'http://localhost:3000' },
  { name: 'a URL', setting: 'AUDIENCE', text: 'https://api.example.com' },
  { name: 'a word', setting: 'AUDIENCE', text: 'my-app' },
  { name: 'everybody', setting: 'CORS_ORIGIN', text: '*' },
  { name: 'an origin', setting: 'CORS_ORIGIN', text: 'https://app.example.com' },
  { name: 'a laptop', setting: 'CORS_ORIGIN', text: 'http://localhost:5173' },
  { name: 'the least', setting: 'BCRYPT_COST', text: '4', want: 4 },
  { name: 'the most', setting: 'BCRYPT_COST', text: '15', want: 15 },
  { name: 'the least', setting: 'PASSWORD_MIN_LENGTH', text: '8', want: 8 },
  { name: 'the most', setting: 'PASSWORD_MIN_LENGTH', text: '64', want: 64 },
])('$setting accepts $name', ({ setting, text, want = text }) => {
  expect(parseSetting(setting, text)).toEqual(want)
})

/** What must never be seen in an error: it stands for a part of a password or key. */
const SECRET = 'hunter2'
const MALFORMED = 'is missing or malformed'

/** Refuses all these texts for one reason. */
const refuses = (setting: SettingName, rows: { name: string; text: string; want: string }[]) =>
  test.each(rows)(`${setting} refuses $name`, ({ text, want }) => {
    const message = messageOf(() => parseSetting(setting, text))
    expect(message).toBe(`Setting ${setting}${want}.`)
    expect(message).not.toContain(SECRET)
  })

/** Rows for texts that are short enough to be their own names. */
const all = (texts: string[], want: string) =>
  texts.map((text) => ({ name: JSON.stringify(text), text, want: ` ${want}` }))

refuses(
  'DB',
  all(
    [
      '',
      'mongodb://',
      `postgres://user:${SECRET}@db.test/auth`,
      `mongodb://user:${SECRET} x@db.test/auth`,
      `"mongodb://user:${SECRET}@db.test/auth"`,
      ` mongodb://user:${SECRET}@db.test/auth`,
    ],
    'must be a connection string that begins with mongodb:// or mongodb+srv://, its password percent-encoded',
  ),
)

const COORDINATE = 'must be 32 bytes in base64url'
const KID = 'must be 1 to 64 letters, digits, - or _'

refuses('SIGNING_KEYS', [
  ...all(['', SECRET, `{"keys":[{"d":"${SECRET}`, `"${SECRET}"`, 'null', '[]'], MALFORMED),
  { name: 'an empty object', text: '{}', want: `.keys ${MALFORMED}` },
  { name: 'a JWK that is not in a set', text: JSON.stringify(jwk), want: `.keys ${MALFORMED}` },
  { name: 'no key', text: ring(), want: '.keys must hold at least one key' },
  {
    name: 'two keys of one kid',
    text: ring(jwk, { ...other, kid: jwk.kid }),
    want: '.keys must not hold two keys of one kid',
  },
  {
    name: 'a member beside keys',
    text: JSON.stringify({ keys: [jwk], note: SECRET }),
    want: ' has an unknown member note',
  },
  { name: 'a member of RSA', text: ring({ ...jwk, p: SECRET }), want: '.keys.0 has an unknown member p' },
  { name: 'a public key', text: ring(publicJwk), want: `.keys.0.d ${MALFORMED}` },
  { name: 'a public key behind a private one', text: ring(jwk, publicJwk), want: `.keys.1.d ${MALFORMED}` },
  { name: 'a short d', text: ring({ ...jwk, d: SECRET }), want: `.keys.0.d ${COORDINATE}` },
  { name: 'a padded x', text: ring({ ...jwk, x: `${jwk.x}=` }), want: `.keys.0.x ${COORDINATE}` },
  { name: 'a y that is a list', text: ring({ ...jwk, y: [SECRET] }), want: `.keys.0.y ${MALFORMED}` },
  { name: 'a symmetric key', text: ring({ ...jwk, kty: 'oct' }), want: `.keys.0.kty ${MALFORMED}` },
  { name: 'another curve', text: ring({ ...jwk, crv: 'P-384' }), want: `.keys.0.crv ${MALFORMED}` },
  { name: 'another algorithm', text: ring({ ...jwk, alg: 'HS256' }), want: `.keys.0.alg ${MALFORMED}` },
  { name: 'a key for encryption', text: ring({ ...jwk, use: 'enc' }), want: `.keys.0.use ${MALFORMED}` },
  { name: 'an empty kid', text: ring({ ...jwk, kid: '' }), want: `.keys.0.kid ${KID}` },
  { name: 'a kid that is a path', text: ring({ ...jwk, kid: `../${SECRET}` }), want: `.keys.0.kid ${KID}` },
  { name: 'a kid that is a number', text: ring({ ...jwk, kid: 7 }), want: `.keys.0.kid ${MALFORMED}` },
])

refuses('VERIFICATION_KEYS', [
  ...all(['', 'null'], MALFORMED),
  { name: 'a private key', text: ring(jwk), want: '.keys.0 has an unknown member d' },
])

const BYTES = ' must be at least 32 random bytes in base64url'
const badKeys = [
  { name: 'nothing', text: '', want: BYTES },
  { name: 'a password', text: SECRET, want: BYTES },
  { name: '31 bytes', text: KEY.slice(1), want: BYTES },
  { name: 'padding', text: `${KEY}=`, want: BYTES },
  { name: 'a line break at the end', text: `${KEY}\n`, want: BYTES },
  { name: 'a space before', text: ` ${KEY}`, want: BYTES },
  { name: 'plain base64', text: `${KEY.slice(2)}+/`, want: BYTES },
]
refuses('PEPPER', badKeys)
refuses('REFRESH_TOKEN_KEY', badKeys)

refuses(
  'ISSUER',
  all(
    [
      '',
      'auth.example.com',
      'ftp://auth.example.com',
      'https://',
      'https://auth.example.com/',
      `https://auth.example.com?token=${SECRET}`,
      `https://auth.example.com#${SECRET}`,
      'https://auth.example.com /x',
    ],
    'must be the URL of this API, without a query and without a slash at its end',
  ),
)

refuses('AUDIENCE', [
  ...all(['', ' ', `a ${SECRET}`], 'must be 1 to 200 characters without spaces'),
  { name: '201 characters', text: 'a'.repeat(201), want: ' must be 1 to 200 characters without spaces' },
])

refuses(
  'CORS_ORIGIN',
  all(
    [
      '',
      'null',
      '**',
      'app.example.com',
      'https://app.example.com/',
      'https://app.example.com/path',
      'https://a.example.com, https://b.example.com',
      'https://a.example.com\r\nX-Evil: 1',
    ],
    'must be an origin such as https://app.example.com, or *',
  ),
)

refuses(
  'BCRYPT_COST',
  all(
    ['', '3', '16', '31', '-4', '4.5', '1e1', ' 12', '12 ', 'twelve', '0x0c', '1234567'],
    'must be a whole number from 4 to 15',
  ),
)

refuses(
  'PASSWORD_MIN_LENGTH',
  all(['', '7', '65', '0', '-8', '8.5', 'eight', SECRET], 'must be a whole number from 8 to 64'),
)

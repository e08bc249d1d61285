/**
 * What each setting must look like, and that an error names the setting but never holds its value.
 */
import { publicKeys } from '../../auth/Tokens.ts'
import { newSecrets } from '../../plugin/Secrets.ts'
import { limits, type SettingName, parseSetting } from '../../api/Settings.ts'
import { newKey } from '../support/forge.ts'
import { messageOf } from '../support/messageOf.ts'

const jwk = newKey()
const other = newKey()
const { d: _d, ...publicJwk } = jwk
const ring = (...keys: unknown[]) => JSON.stringify({ keys })
const KEY = newSecrets().PEPPER
const defaults = Object.fromEntries(Object.entries(limits).map(([name, [usual]]) => [name, usual]))

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
  { name: 'TLS from the start', setting: 'SMTP_URL', text: 'smtps://user:p%40ss@smtp.example.com:465' },
  { name: 'STARTTLS', setting: 'SMTP_URL', text: 'smtp://user%40example.com:p@smtp.example.com:587' },
  { name: 'a server without a password', setting: 'SMTP_URL', text: 'smtp://smtp.example.com' },
  { name: 'a slash at its end', setting: 'SMTP_URL', text: 'smtp://127.0.0.1:2525/' },
  { name: 'IPv6', setting: 'SMTP_URL', text: 'smtp://[::1]:2525' },
  { name: 'options', setting: 'SMTP_URL', text: 'smtps://smtp.example.com/?name=auth.example.com' },
  { name: 'an address', setting: 'MAIL_FROM', text: 'no-reply@example.com' },
  { name: 'a name', setting: 'MAIL_FROM', text: 'Example <no-reply@example.com>' },
  { name: 'a name with a comma', setting: 'MAIL_FROM', text: 'Smith & Söhne, Inc. <no-reply@example.com>' },
  { name: 'a tag', setting: 'MAIL_FROM', text: 'Example <no-reply+auth@mail.example.com>' },
  { name: 'a domain in Unicode', setting: 'MAIL_FROM', text: 'no-reply@bücher.example' },
  { name: 'a word', setting: 'PRODUCT_NAME', text: 'Auth' },
  { name: 'words', setting: 'PRODUCT_NAME', text: 'Smith & Söhne, "the" shop' },
  { name: '50 characters', setting: 'PRODUCT_NAME', text: '名'.repeat(50) },
  { name: 'a domain', setting: 'APP_URL', text: 'https://app.example.com' },
  { name: 'a path', setting: 'APP_URL', text: 'https://example.com/account' },
  { name: 'a laptop', setting: 'APP_URL', text: 'http://localhost:5173' },
  { name: 'open', setting: 'REGISTRATION', text: 'open' },
  { name: 'private', setting: 'REGISTRATION', text: 'private' },
  { name: 'optional', setting: 'EMAIL_VERIFICATION', text: 'optional' },
  { name: 'required', setting: 'EMAIL_VERIFICATION', text: 'required' },
  { name: 'none, and fills all in', setting: 'LIMITS', text: '{}', want: defaults },
  {
    name: 'some, and fills the others in',
    setting: 'LIMITS',
    text: '{"loginFailures":1,"loginsPerAddress":1000000}',
    want: { ...defaults, loginFailures: 1, loginsPerAddress: 1_000_000 },
  },
  { name: 'on', setting: 'WAF', text: 'on' },
  { name: 'off', setting: 'ACCESS_LOGS', text: 'off' },
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
    'must be a connection string that starts with mongodb:// or mongodb+srv://, with a percent-encoded password',
  ),
)

const COORDINATE = 'must be 32 bytes in base64url'
const KID = 'must be 1 to 64 letters, digits, - or _'

refuses('SIGNING_KEYS', [
  ...all(['', SECRET, `{"keys":[{"d":"${SECRET}`, `"${SECRET}"`, 'null', '[]'], MALFORMED),
  { name: 'an empty object', text: '{}', want: `.keys ${MALFORMED}` },
  { name: 'a JWK that is not in a set', text: JSON.stringify(jwk), want: `.keys ${MALFORMED}` },
  { name: 'no key', text: ring(), want: '.keys must contain at least one key' },
  {
    name: 'two keys of one kid',
    text: ring(jwk, { ...other, kid: jwk.kid }),
    want: '.keys must not contain two keys with the same kid',
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
    'must be the URL of this API, without a query or a trailing slash',
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

const SMTP =
  'must be a URL such as smtps://USER:PASSWORD@smtp.example.com:465, with a percent-encoded user and password'

refuses(
  'SMTP_URL',
  all(
    [
      '',
      'smtp://',
      'smtp.example.com',
      `https://user:${SECRET}@smtp.example.com`,
      `smtp://user:${SECRET}@`,
      'smtp://:587',
      'smtp://smtp.example.com:99999',
      'smtp://smtp.example.com:port',
      `smtp://user:${SECRET}#@smtp.example.com`,
      `smtp://user:${SECRET}/@smtp.example.com`,
      `smtp://user:${SECRET} x@smtp.example.com`,
      'smtp://smtp.example.com/path',
      'smtp://smtp.example.com#fragment',
      ' smtp://smtp.example.com',
      'smtp://smtp.example.com\n',
      'smtp://smtp.example.com\r\nRSET',
      'smtp://smtp.example.com/?name=a\r\nRSET',
    ],
    SMTP,
  ),
)

refuses(
  'MAIL_FROM',
  all(
    [
      '',
      'no-reply',
      '@example.com',
      'no-reply@',
      'Example no-reply@example.com',
      '<no-reply@example.com>',
      'Example <no-reply@example.com',
      'Example <no-reply@example.com> ',
      'Example <no-reply>',
      'a@example.com, b@example.com',
      'a,b@example.com',
      'Example <a@example.com>, <b@example.com>',
      'Example: <a@example.com>;',
      'Group:a@example.com',
      'Example (comment) <a@example.com>',
      '"Example" <a@example.com>',
      'no-reply@example.com\n',
      'no-reply@example.com\r\nBcc: all@example.com',
      'Example\r\nBcc: all <no-reply@example.com>',
      'Example\nX <no-reply@example.com>',
      'Example <no-reply@example.com\r\nRCPT TO:<all@example.com>>',
      'Example\u0000 <no-reply@example.com>',
      'Example \u202E <no-reply@example.com>',
    ],
    'must be an address, or a plain name and an address such as Example <no-reply@example.com>',
  ),
)

const PRODUCT = 'must be 1 to 50 printable characters other than <, > and :, with no space at either end'
refuses('PRODUCT_NAME', [
  ...all(
    [
      '',
      ' ',
      'Example ',
      '<b>Example</b>',
      'Example: the shop',
      'Example\n',
      'Example\r\nBcc: all@example.com',
      'Example\u2028',
      'Example\u202E',
    ],
    PRODUCT,
  ),
  { name: '51 characters', text: 'a'.repeat(51), want: ` ${PRODUCT}` },
])

refuses(
  'APP_URL',
  all(
    [
      '',
      'app.example.com',
      'javascript:alert(1)',
      'ftp://app.example.com',
      'https://',
      'https://app.example.com/',
      `https://app.example.com?token=${SECRET}`,
      'https://app.example.com#/account',
      'https://app.example.com\r\nX: 1',
      'https://app.example.com" onclick="x',
    ],
    'must be the URL of your pages, without a query or a trailing slash',
  ),
)

refuses('WAF', all(['', 'On', 'true', 'on '], 'must be on or off'))
refuses('ACCESS_LOGS', all(['', 'On', 'true', 'on '], 'must be on or off'))
refuses('REGISTRATION', all(['', 'closed', 'Private', 'open ', 'true'], 'must be open or private'))
refuses('EMAIL_VERIFICATION', all(['', 'Required', 'none', 'false'], 'must be optional or required'))

const LIMITS_OBJECT = ' must be a JSON object such as {"loginFailures": 5}'
const NUMBER = '.loginFailures must be a whole number from 1 to 1000000'
refuses('LIMITS', [
  ...['', 'none', '{', '{loginFailures: 5}', 'null', '5', '[]', '"{}"'].map((text) => ({
    name: JSON.stringify(text),
    text,
    want: LIMITS_OBJECT,
  })),
  ...['0', '-1', '1.5', '1e9', '1000001', '1e999', '"5"', '"off"', 'null', 'false', '[5]', '{}'].map(
    (value) => ({ name: value, text: `{"loginFailures":${value}}`, want: NUMBER }),
  ),
  { name: 'a misspelt one', text: '{"loginFailure":5}', want: ' has an unknown member loginFailure' },
  { name: '__proto__', text: '{"__proto__":{"loginFailures":9}}', want: ' has an unknown member __proto__' },
  { name: 'a comment', text: '{"// off":5}', want: ' has an unknown member // off' },
])

test('no limit is more by default than a deployment takes', () => {
  for (const [usual, most] of Object.values(limits)) expect(usual).toBeLessThanOrEqual(most)
})

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

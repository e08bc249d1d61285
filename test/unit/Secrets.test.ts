/**
 * secrets.json: made once, readable by its owner, under the environment, and never quoted in an error.
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { publicKeys } from '../../auth/Tokens.ts'
import { Secrets, generateSecrets, newSecrets } from '../../plugin/Secrets.ts'
import { parseSetting } from '../../api/Settings.ts'
import { newKey } from '../support/forge.ts'
import { messageOf } from '../support/messageOf.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'secrets-test-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (content: unknown, file = 'secrets.json') =>
  writeFileSync(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content))
const read = (environment = {}, stage = 'dev') => new Secrets(folder, stage, environment)
const keys = newKey
const DB = 'mongodb://db.test/auth'

describe('generateSecrets', () => {
  test('makes a file that only its owner reads (OWASP ASVS 5.0, 13.3.1)', () => {
    expect(generateSecrets(folder)).toBe(true)
    expect(readdirSync(folder)).toEqual(['secrets.json'])
    // Windows knows no such bits: there a file is 0666 and the folder protects it.
    const onlyOwner = process.platform === 'win32' ? 0o666 : 0o600
    expect(statSync(join(folder, 'secrets.json')).mode & 0o777).toBe(onlyOwner)
  })

  test('makes secrets that are good for everything but the database and mail', () => {
    generateSecrets(folder)
    expect(read().missing()).toEqual(['DB', 'SMTP_URL', 'MAIL_FROM'])
    expect(parseSetting('PEPPER', read().get('PEPPER')!)).toHaveLength(32)
    expect(parseSetting('REFRESH_TOKEN_KEY', read().get('REFRESH_TOKEN_KEY')!)).toHaveLength(32)
  })

  test('makes one file of two calls, and leaves nothing else', () => {
    expect(generateSecrets(folder)).toBe(true)
    const before = readFileSync(join(folder, 'secrets.json'), 'utf8')
    expect(generateSecrets(folder)).toBe(false)
    expect(readFileSync(join(folder, 'secrets.json'), 'utf8')).toBe(before)
    expect(readdirSync(folder)).toEqual(['secrets.json'])
  })

  test('leaves a file alone that is there, even a broken one', () => {
    write('{')
    expect(generateSecrets(folder)).toBe(false)
    expect(readFileSync(join(folder, 'secrets.json'), 'utf8')).toBe('{')
  })

  test('makes other secrets each time', () => {
    const [a, b] = [newSecrets(), newSecrets()]
    expect(new Set([a.PEPPER, a.REFRESH_TOKEN_KEY, b.PEPPER, b.REFRESH_TOKEN_KEY]).size).toBe(4)
    expect(a.SIGNING_KEYS.keys[0]!.kid).not.toBe(b.SIGNING_KEYS.keys[0]!.kid)
  })
})

describe('a setting comes from', () => {
  test.each([
    { name: 'nowhere', file: undefined, environment: {}, want: undefined },
    { name: 'the file', file: { AUDIENCE: 'file' }, environment: {}, want: 'file' },
    { name: 'the environment', file: undefined, environment: { AUDIENCE: 'env' }, want: 'env' },
    {
      name: 'the environment before the file',
      file: { AUDIENCE: 'file' },
      environment: { AUDIENCE: 'env' },
      want: 'env',
    },
    {
      name: 'the file where the environment is empty',
      file: { AUDIENCE: 'file' },
      environment: { AUDIENCE: '' },
      want: 'file',
    },
    {
      name: 'nowhere where both are empty',
      file: { AUDIENCE: '' },
      environment: { AUDIENCE: '' },
      want: undefined,
    },
  ])('$name', ({ file, environment, want }) => {
    if (file) write(file)
    expect(read(environment).get('AUDIENCE')).toBe(want)
  })

  test('the file of the stage, and then from that file alone', () => {
    write({ AUDIENCE: 'all', DB })
    write({ AUDIENCE: 'prod' }, 'secrets.prod.json')
    expect([read({}, 'prod').get('AUDIENCE'), read({}, 'prod').get('DB')]).toEqual(['prod', undefined])
    expect([read({}, 'dev').get('AUDIENCE'), read({}, 'dev').get('DB')]).toEqual(['all', DB])
    expect([read({}, 'prod').file, read({}, 'dev').file]).toEqual(['secrets.prod.json', 'secrets.json'])
  })

  test('nowhere where the stage has no file: it would run on the keys of another', () => {
    write({ AUDIENCE: 'all' })
    expect(read({}, 'prod').get('AUDIENCE')).toBeUndefined()
    expect(read({}, 'prod').file).toBe('secrets.prod.json')
  })

  test('a file that a Windows editor began with a byte order mark', () => {
    write(`\ufeff${JSON.stringify({ AUDIENCE: 'file' })}`)
    expect(read().get('AUDIENCE')).toBe('file')
  })

  test('the environment also where the file of the stage has it', () => {
    write({ AUDIENCE: 'prod' }, 'secrets.prod.json')
    expect(read({ AUDIENCE: 'env' }, 'prod').get('AUDIENCE')).toBe('env')
  })

  test.each([
    { name: 'a number', file: { BCRYPT_COST: 11 }, want: '11' },
    { name: 'text', file: { BCRYPT_COST: '11' }, want: '11' },
  ])('the file as $name', ({ file, want }) => {
    write(file)
    expect(read().get('BCRYPT_COST')).toBe(want)
  })

  test.each([
    { name: 'an object', LIMITS: { loginFailures: 7 } },
    { name: 'text', LIMITS: '{"loginFailures":7}' },
  ])('the file, LIMITS as $name', ({ LIMITS }) => {
    write({ LIMITS })
    expect(read().get('LIMITS')).toBe('{"loginFailures":7}')
  })

  test('the environment, LIMITS as text', () => {
    write({ LIMITS: { loginFailures: 7 } })
    expect(read({ LIMITS: '{"loginFailures":8}' }).get('LIMITS')).toBe('{"loginFailures":8}')
  })
})

describe('VERIFICATION_KEYS', () => {
  test('are the public halves of SIGNING_KEYS, in their order and without d', () => {
    const ring = { keys: [keys(), keys()] }
    write({ SIGNING_KEYS: ring })
    const text = read().get('VERIFICATION_KEYS')!
    expect(JSON.parse(text)).toEqual({ keys: publicKeys(ring).keys })
    expect(parseSetting('VERIFICATION_KEYS', text).keys).toHaveLength(2)
  })

  test('are not set without SIGNING_KEYS', () => {
    expect(read().get('VERIFICATION_KEYS')).toBeUndefined()
  })

  test('cannot be set in the environment', () => {
    expect(read({ VERIFICATION_KEYS: '{"keys":[]}' }).get('VERIFICATION_KEYS')).toBeUndefined()
  })
})

const mail = { SMTP_URL: 'smtps://mail.test', MAIL_FROM: 'no-reply@auth.test' }

test.each([
  {
    name: 'nothing is set',
    file: {},
    want: ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY', 'SMTP_URL', 'MAIL_FROM'],
  },
  { name: 'one is empty', file: { ...newSecrets(), ...mail, DB: '' }, want: ['DB'] },
  { name: 'everything is set', file: { ...newSecrets(), ...mail, DB }, want: [] },
])('missing() names what is required and not set, when $name', ({ file, want }) => {
  write(file)
  expect(read().missing()).toEqual(want)
})

describe('an error is one sentence that names the place and does not quote the content:', () => {
  const SECRET = 'hunter2'
  const names =
    'DB, SIGNING_KEYS, PEPPER, REFRESH_TOKEN_KEY, ISSUER, AUDIENCE, CORS_ORIGIN, SMTP_URL, MAIL_FROM, PRODUCT_NAME, APP_URL, REGISTRATION, EMAIL_VERIFICATION, LIMITS, WAF, ACCESS_LOGS, BCRYPT_COST, PASSWORD_MIN_LENGTH'
  const broken = 'secrets.json is not a JSON object. Repair it: its keys and its pepper cannot be recreated.'
  const pair = keys()
  const stranger = keys()
  const notAPair = (kid: string) =>
    `Setting SIGNING_KEYS contains ${kid}, which is not a valid P-256 key pair. It is read from secrets.json.`

  test.each<{ name: string; file: unknown; environment?: object; want: string }>([
    { name: 'broken JSON', file: `{"PEPPER": "${SECRET}"`, want: broken },
    { name: 'an empty file', file: '', want: broken },
    { name: 'a JSON array', file: `["${SECRET}"]`, want: broken },
    { name: 'a JSON string', file: `"${SECRET}"`, want: broken },
    { name: 'null', file: 'null', want: broken },
    {
      name: 'a misspelt name',
      file: { PEPER: SECRET },
      want: `Setting PEPER in secrets.json does not exist. The settings are ${names}.`,
    },
    {
      name: 'a name of every object',
      file: { toString: SECRET },
      want: `Setting toString in secrets.json does not exist. The settings are ${names}.`,
    },
    {
      name: '__proto__',
      file: `{"__proto__": {"PEPPER": "${SECRET}"}}`,
      want: `Setting __proto__ in secrets.json does not exist. The settings are ${names}.`,
    },
    ...['VERIFICATION_KEYS', 'API_ID', 'MAIL_FUNCTION_URL'].map((name) => ({
      name: `${name}, which is never set by hand`,
      file: { [name]: SECRET },
      want: `Setting ${name} in secrets.json does not exist. The settings are ${names}.`,
    })),
    {
      name: 'a misspelt limit',
      file: { LIMITS: { loginFailure: 5 } },
      want: 'Setting LIMITS has an unknown member loginFailure. It is read from secrets.json.',
    },
    {
      name: 'a limit that is none',
      file: { LIMITS: { loginFailures: 0 } },
      want: 'Setting LIMITS.loginFailures must be a whole number from 1 to 1000000. It is read from secrets.json.',
    },
    {
      name: 'a malformed value in the file',
      file: { PEPPER: SECRET },
      want: 'Setting PEPPER must be at least 32 random bytes in base64url. It is read from secrets.json.',
    },
    {
      name: 'a malformed value in the environment',
      file: newSecrets(),
      environment: { PEPPER: SECRET },
      want: 'Setting PEPPER must be at least 32 random bytes in base64url. It is read from the environment.',
    },
    {
      name: 'x and y of another key',
      file: { SIGNING_KEYS: { keys: [{ ...pair, x: stranger.x, y: stranger.y }] } },
      want: notAPair(pair.kid),
    },
    {
      name: 'd of another key, the second of the ring',
      file: { SIGNING_KEYS: { keys: [pair, { ...stranger, d: pair.d }] } },
      want: notAPair(stranger.kid),
    },
    {
      name: 'a point that is not on the curve',
      file: { SIGNING_KEYS: { keys: [{ ...pair, x: 'A'.repeat(43), y: 'A'.repeat(43) }] } },
      want: notAPair(pair.kid),
    },
    {
      name: 'a private key of zero',
      file: { SIGNING_KEYS: { keys: [{ ...pair, d: 'A'.repeat(43) }] } },
      want: notAPair(pair.kid),
    },
  ])('$name', ({ file, environment, want }) => {
    write(file)
    const message = messageOf(() => read(environment))
    expect(message).toBe(want)
    for (const secret of [SECRET, pair.d, stranger.d]) expect(message).not.toContain(secret)
  })

  test.each([
    { name: 'null', file: { AUDIENCE: null } },
    { name: 'a list', file: { AUDIENCE: [SECRET] } },
    { name: 'an object', file: { AUDIENCE: { a: SECRET } } },
    { name: 'true', file: { AUDIENCE: true } },
  ])('$name for text', ({ file }) => {
    write(file)
    const message = messageOf(() => read())
    expect(message).toMatch(/^Setting AUDIENCE .* It is read from secrets\.json\.$/)
    expect(message).not.toContain(SECRET)
  })

  test('a file of the stage is named', () => {
    write('{', 'secrets.prod.json')
    expect(messageOf(() => read({}, 'prod'))).toMatch(/^secrets\.prod\.json is not a JSON object\./)
  })
})

/**
 * What is no refresh token of ours, sent to POST /refresh, and a refresh token sent as access token: nothing is
 * taken and nothing changes (RFC 9700 section 4.14, RFC 8725 section 2.8).
 */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import mongoose from 'mongoose'
import { register } from '../../auth/AuthHandler.ts'
import { refresh } from '../../auth/SessionHandler.ts'
import { handler as verifyToken } from '../../auth/VerifyToken.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'
import { authorizerEvent, METHOD_ARN, request } from '../../support/events.ts'
import { allows } from '../support/gateway.ts'

const DB = process.env['DB']!
const KEY = Buffer.from(process.env['REFRESH_TOKEN_KEY']!, 'base64url')
const COOKIE = '__Host-refresh-token'
const IN_COOKIE = { 'Refresh-Token-In': 'cookie' }
const hmac = (text: string, key = KEY) => createHmac('sha256', key).update(text).digest('base64url')
const newSid = () => randomBytes(16).toString('base64url')

/** A session, its latest tokens with the parts of the refresh token, and the refresh token of another session. */
interface Session {
  sid: string
  generation: number
  mac: string
  token: string
  access: string
  other: string
}
let session: Session

type Headers = Record<string, string>
const send = (json: unknown, headers: Headers = {}) =>
  refresh(request({ json, headers: { 'Content-Type': 'application/json', ...headers } }))
const sendCookie = (cookie: string, headers: Headers = IN_COOKIE) =>
  refresh(request({ headers: { Cookie: cookie, ...headers } }))
type Result = Awaited<ReturnType<typeof send>>

/** Status and code of an answer, of which no other than these is an error that a client may see. */
const outcome = ({ statusCode, body }: Result) => [statusCode, JSON.parse(body).code]
const stored = () =>
  onDatabase(DB, (database) =>
    database.collection<{ _id: string; [name: string]: unknown }>('sessions').findOne({ _id: session.sid }),
  )

function remember({ token: access, refreshToken }: { token: string; refreshToken: string }) {
  const [sid, generation, mac] = refreshToken.split('.') as [string, string, string]
  session = { ...session, sid, generation: Number(generation), mac, token: refreshToken, access }
}

/** Uses up the session's refresh token. */
async function useUp(headers: Headers = {}): Promise<number> {
  const { statusCode, body } = await send({ refreshToken: session.token }, headers)
  if (statusCode === 200) remember(JSON.parse(body))
  return statusCode
}

beforeAll(async () => {
  const ann = { name: 'Ann', email: 'ann@example.com', password: 'a horse on the moon' }
  const bea = { ...ann, email: 'bea@example.com' }
  const [own, foreign] = await Promise.all([ann, bea].map((json) => register(request({ json }))))
  session = { other: JSON.parse(foreign!.body).refreshToken } as Session
  remember(JSON.parse(own!.body))
})

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** The generation in another spelling, under the HMAC of the right one. */
const generations = [
  '',
  '0',
  '2',
  '01',
  '1e0',
  '0x1',
  '0b1',
  '+1',
  ' 1',
  '1 ',
  '1\n',
  '1n',
  '1_0',
  '１',
  '١',
  '-1',
  '-0',
  'NaN',
  'Infinity',
  'null',
  '9007199254740992',
  '1e309',
  '9'.repeat(400),
]

const forged: { name: string; token: (of: Session) => string }[] = [
  { name: 'an access token', token: ({ access }: Session) => access },
  {
    name: 'an access token’s header and claims with the HMAC',
    token: ({ access, mac }: Session) => `${access.slice(0, access.lastIndexOf('.'))}.${mac}`,
  },
  {
    name: 'the HMAC of another session',
    token: ({ sid, other }: Session) => `${sid}.1.${other.split('.')[2]}`,
  },
  {
    name: 'the sid of another session',
    token: ({ other, mac }: Session) => `${other.split('.')[0]}.1.${mac}`,
  },
  { name: 'a sid of nobody', token: ({ mac }: Session) => `${newSid()}.1.${mac}` },
  {
    name: 'a session that is not there any more, its HMAC right',
    token: () => ((text) => `${text}.${hmac(text)}`)(`${newSid()}.0`),
  },
  { name: 'the sid in small letters', token: ({ sid, mac }: Session) => `${sid.toLowerCase()}x.1.${mac}` },
  ...generations.map((generation) => ({
    name: `the generation ${JSON.stringify(generation.slice(0, 20))}`,
    token: ({ sid, mac }: Session) => `${sid}.${generation}.${mac}`,
  })),
  // Not even if an HMAC were made of what somebody else has written.
  ...generations
    .filter((generation) => Number(generation) === 1 && generation !== '1')
    .map((generation) => ({
      name: `the generation ${JSON.stringify(generation)}, its HMAC right`,
      token: ({ sid }: Session) => `${sid}.${generation}.${hmac(`${sid}.${generation}`)}`,
    })),
  {
    name: 'the key of another deployment',
    token: ({ sid }: Session) => `${sid}.1.${hmac(`${sid}.1`, randomBytes(32))}`,
  },
  { name: 'an empty key', token: ({ sid }: Session) => `${sid}.1.${hmac(`${sid}.1`, Buffer.alloc(0))}` },
  {
    name: 'a hash without a key',
    token: ({ sid }: Session) => `${sid}.1.${createHash('sha256').update(`${sid}.1`).digest('base64url')}`,
  },
  { name: 'the HMAC of the sid alone', token: ({ sid }: Session) => `${sid}.1.${hmac(sid)}` },
  {
    name: 'the HMAC in hex',
    token: ({ sid, mac }: Session) => `${sid}.1.${Buffer.from(mac, 'base64url').toString('hex')}`,
  },
  { name: 'the HMAC with padding', token: ({ token }: Session) => `${token}=` },
  ...[1, 2, 3].map((bits) => ({
    name: `spelling ${bits + 1} of the HMAC's last character (RFC 4648 section 3.5)`,
    token: ({ token }: Session) =>
      token.slice(0, -1) + ALPHABET.charAt(ALPHABET.indexOf(token.at(-1)!) ^ bits),
  })),
  {
    name: 'another first character of the HMAC',
    token: ({ sid, mac }: Session) => `${sid}.1.${mac.startsWith('A') ? 'B' : 'A'}${mac.slice(1)}`,
  },
  { name: 'the HMAC without its last character', token: ({ token }: Session) => token.slice(0, -1) },
  { name: 'an empty HMAC', token: ({ sid }: Session) => `${sid}.1.` },
  { name: 'no HMAC', token: ({ sid }: Session) => `${sid}.1` },
  { name: 'the sid alone', token: ({ sid }: Session) => sid },
  { name: 'the HMAC alone', token: ({ mac }: Session) => mac },
  { name: 'a dot before', token: ({ token }: Session) => `.${token}` },
  { name: 'a dot after', token: ({ token }: Session) => `${token}.` },
  { name: 'two dots', token: ({ token }: Session) => token.replace('.', '..') },
  { name: 'four parts', token: ({ token, mac }: Session) => `${token}.${mac}` },
  { name: 'dots alone', token: () => '..' },
  { name: '5,000 dots', token: () => '.'.repeat(5000) },
  { name: '8,000 characters', token: ({ token }: Session) => token.padEnd(8000, 'A') },
  ...['\0', ' ', '\n', '\u200b', '\u00e9', '\u{1f600}', '\ud800', '"'].flatMap((text) => [
    { name: `${JSON.stringify(text)} before`, token: ({ token }: Session) => text + token },
    {
      name: `${JSON.stringify(text)} after the sid`,
      token: ({ token, sid }: Session) => token.replace(sid, sid + text),
    },
    { name: `${JSON.stringify(text)} after`, token: ({ token }: Session) => token + text },
  ]),
  ...['{"$ne":null}', '$where', '[object Object].1.', '__proto__.1.', 'undefined', 'null', '*'].map(
    (text) => ({
      name: text,
      token: () => text,
    }),
  ),
  { name: 'Bearer in front', token: ({ token }: Session) => `Bearer ${token}` },
]

describe('refuses as refresh token, in the body and in the cookie,', () => {
  // Its HMACs are those of generation 1.
  test('but takes a good one', async () => {
    expect(await useUp()).toBe(200)
  })

  test.each(forged)('$name: 401, and nothing changes', async ({ token }) => {
    const text = token(session)
    expect(text).not.toBe(session.token)
    const before = await stored()
    expect(outcome(await send({ refreshToken: text }))).toEqual([401, 'invalid_refresh_token'])
    const inCookie = await sendCookie(`${COOKIE}=${text}`)
    expect(outcome(inCookie)).toEqual([401, 'invalid_refresh_token'])
    expect(String(inCookie.multiValueHeaders!['Set-Cookie'])).toMatch(/^__Host-refresh-token=; .*Max-Age=0;/)
    expect(await stored()).toEqual(before)
  })

  test.each([
    ...[{ $ne: null }, {}, [], 7, true, null, { token: 'x' }].map((refreshToken) => ({
      json: { refreshToken },
    })),
    { json: { refreshToken: '' } },
    { json: {} },
    { json: [] },
    { json: 'x' },
    { json: null },
    { json: { refreshToken: 'x', sid: 'x' } },
    { json: { token: 'x' } },
    { json: { 'refreshToken[$ne]': 'x' } },
  ])('$json: 400', async ({ json }) => {
    expect(outcome(await send(json))).toEqual([400, 'invalid_request'])
  })

  test('an array that holds a good one: 400', async () => {
    expect(outcome(await send({ refreshToken: [session.token] }))).toEqual([400, 'invalid_request'])
  })

  test('more than 8 KiB: 413', async () => {
    expect(outcome(await send({ refreshToken: 'A'.repeat(8192) }))).toEqual([413, 'body_too_large'])
  })

  test('while the good one stays good', async () => {
    expect((await stored())!['generation']).toBe(1)
    expect(await useUp()).toBe(200)
  })
})

describe('the cookie', () => {
  const cookie = (token = session.token) => `${COOKIE}=${token}`

  test.each([
    { name: 'alone', header: () => cookie() },
    {
      name: 'among many',
      header: () => [...Array(100).keys()].map((n) => `c${n}=${n}`).join('; ') + `; ${cookie()}; z=1`,
    },
    { name: 'after a cookie whose value looks like it', header: () => `x=${cookie('y')}; ${cookie()}` },
    { name: 'after one that ends in its name', header: () => `x${cookie('y')}; ${cookie()}` },
    { name: 'after its name in small letters', header: () => `${cookie('y').toLowerCase()}; ${cookie()}` },
  ])('is taken $name, and its successor is in no body', async ({ header }) => {
    const result = await sendCookie(header())
    expect(result.statusCode).toBe(200)
    const body = JSON.parse(result.body)
    expect(Object.keys(body)).toEqual(['auth', 'token', 'tokenType', 'expiresIn'])
    remember({
      ...body,
      refreshToken: /^__Host-refresh-token=([^;]+);/.exec(String(result.headers!['Set-Cookie']))![1],
    })
  })

  test.each([
    {
      name: 'without the header that asks for it (cross-site request forgery)',
      header: () => cookie(),
      headers: {},
    },
    ...['', ' ', 'body', 'true', 'cookie;', 'cookie, cookie', 'cookie '].map((value) => ({
      name: `with ${JSON.stringify(value)} in the header that asks for it`,
      header: () => cookie(),
      headers: { 'Refresh-Token-In': value },
    })),
    {
      name: 'beside a second one, which a neighbouring subdomain may have set (cookie tossing)',
      header: () => `${cookie(session.other)}; ${cookie()}`,
    },
    { name: 'beside a second one that is worse', header: () => `${cookie()}; ${cookie('x')}` },
    { name: 'twice', header: () => `${cookie()};${cookie()}` },
  ])('is refused $name: 400', async ({ header, headers }: { header: () => string; headers?: Headers }) => {
    const before = await stored()
    expect(outcome(await sendCookie(header(), headers))).toEqual([400, 'invalid_request'])
    expect(await stored()).toEqual(before)
  })

  test.each([
    { name: 'that is empty', header: () => cookie('') },
    { name: 'of another name', header: () => `refresh-token=${session.token}` },
    { name: 'of its name in small letters', header: () => `__secure-refresh-token=${session.token}` },
    { name: 'of a name that ends in its name', header: () => `x${cookie()}` },
    { name: 'with a space before the equals sign', header: () => `${COOKIE} =${session.token}` },
    { name: 'that is no cookie at all', header: () => '' },
  ])('is missed where there is one $name: 401', async ({ header }) => {
    const before = await stored()
    expect(outcome(await sendCookie(header()))).toEqual([401, 'invalid_refresh_token'])
    expect(await stored()).toEqual(before)
  })

  test('is refused beside a token in the body: 400', async () => {
    const result = await send({ refreshToken: session.token }, { ...IN_COOKIE, Cookie: cookie() })
    expect(outcome(result)).toEqual([400, 'invalid_request'])
  })

  test.each([
    { name: 'in quotes', value: () => `"${session.token}"` },
    { name: 'percent-encoded', value: () => session.token.replaceAll('.', '%2E') },
    { name: 'of two tokens', value: () => `${session.token},${session.token}` },
    { name: 'of an access token', value: () => session.access },
  ])('is refused $name: 401', async ({ value }) => {
    expect(outcome(await sendCookie(cookie(value())))).toEqual([401, 'invalid_refresh_token'])
  })

  test('is of no use anywhere else: not as access token, not in another header', async () => {
    await expect(verifyToken(authorizerEvent(cookie()))).rejects.toBe('Unauthorized')
    const result = await send(undefined, { ...IN_COOKIE, Authorization: `Bearer ${session.token}` })
    expect(outcome(result)).toEqual([401, 'invalid_refresh_token'])
  })
})

describe('a refresh token as access token', () => {
  test.each([
    { name: 'the first one', token: ({ other }: Session) => other },
    { name: 'a later one', token: ({ token }: Session) => token },
    {
      name: 'one whose generation is good base64url',
      token: ({ sid }: Session) => `${sid}.1000.${hmac(`${sid}.1000`)}`,
    },
    {
      name: 'its HMAC beside a header and claims of ours',
      token: ({ access, mac }: Session) => `${access.slice(0, access.lastIndexOf('.'))}.${mac}`,
    },
  ])('is refused by the authorizer: $name', async ({ token }) => {
    expect(allows(await verifyToken(authorizerEvent(`Bearer ${session.access}`)), METHOD_ARN)).toBe(true)
    for (const header of [token(session), `Bearer ${token(session)}`]) {
      await expect(verifyToken(authorizerEvent(header))).rejects.toBe('Unauthorized')
    }
  })
})

describe('the user agent of a refresh is stored as text, 256 characters at most,', () => {
  test.each(
    [
      '$generation',
      '$$ROOT',
      '$$NOW',
      '$',
      '{"$literal":1}',
      '[{"$set":{"revokedAt":null}}]',
      'a.b.$[]',
      'x'.repeat(10_000),
      `$${'x'.repeat(10_000)}`,
    ].map((userAgent) => ({ name: userAgent.slice(0, 40), userAgent })),
  )('$name', async ({ userAgent }) => {
    const { generation } = session
    expect(await useUp({ 'User-Agent': userAgent })).toBe(200)
    expect(await stored()).toMatchObject({ userAgent: userAgent.slice(0, 256), generation: generation + 1 })
    expect((await stored())!).not.toHaveProperty('revokedAt')
  })
})

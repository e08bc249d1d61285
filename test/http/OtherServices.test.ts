/**
 * Services that verify access tokens on their own, against the API as it runs: examples/express-service, and two
 * libraries that this project does not use itself.
 */
import { createHmac, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join, resolve } from 'node:path'
import { JwtVerifier } from 'aws-jwt-verify'
import { SimpleJwksCache } from 'aws-jwt-verify/jwk'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { publicKeys } from '../../auth/Tokens.ts'
import { run } from '../../support/project.ts'
import { until } from '../../support/until.ts'
import { claims, encode, forge, header, IAT, newKey } from '../support/forge.ts'
import { jsonOf, send } from '../../support/http.ts'
import { AUDIENCE, sharedApi, type SharedApi } from '../support/shared.ts'

const EXAMPLE = resolve('examples/express-service')
const foreign = newKey()

let api: SharedApi
let service: string
let jwksUri: string
let session: { token: string; refreshToken: string }
let userId: string

/** The first signs; the second is published and signs nothing yet, as in a rotation. */
let [first, second]: ReturnType<typeof newKey>[] = []

beforeAll(async () => {
  api = await sharedApi('api')
  ;[first, second] = JSON.parse(api.environment['SIGNING_KEYS']!).keys
  const json = { name: 'Ann', email: 'ann-elsewhere@example.com', password: 'a horse on the moon' }
  session = await jsonOf<typeof session>(send(`${api.url}/register`, { json }))
  userId = (await jsonOf(send(`${api.url}/me`, { token: session.token })))['id']!
  jwksUri = (await jsonOf(send(`${api.url}/.well-known/openid-configuration`)))['jwks_uri']!
  service = await startService(api.url)
})

/** Runs the example as its `npm start` does, with its packages from here. */
async function startService(ISSUER: string): Promise<string> {
  const command = [process.execPath, join(EXAMPLE, 'Service.js')]
  const started = run(api.folder, command, { ISSUER, AUDIENCE, PORT: '0' })
  const url = () => /The service is at (http\S+)/.exec(started.output())?.[1]
  await until(() => {
    if (started.process.exitCode !== null) throw new Error(`The service ended:\n${started.output()}`)
    return url() !== undefined
  }, 'a service that serves')
  return url()!
}

/** The API under a name of its own, to be counted at and taken away, while the API itself serves other files. */
async function startFront() {
  const paths: string[] = []
  const server = createHttpServer((incoming, outgoing) => {
    paths.push(incoming.url!)
    void fetch(api.url + incoming.url)
      .then((answer) => answer.text())
      .then((text) => outgoing.end(text.replaceAll(api.url, url)))
  })
  await new Promise<void>((done) => server.listen(0, 'localhost', done))
  const url = `http://localhost:${(server.address() as AddressInfo).port}`
  return {
    url,
    asked: (path: string) => paths.filter((each) => each === path).length,
    stop: () =>
      new Promise((done) => {
        server.close(done)
        server.closeAllConnections()
      }),
  }
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
const get = (path: string, headers: Record<string, string> = {}) => fetch(service + path, { headers })

/** A token of this API, with members of claims and header replaced. */
const token = (body = {}, head = {}, key = first!) => forge(key, { head, body: { ...parties(), ...body } })
const parties = () => ({ iss: api.url, aud: AUDIENCE })

/** The token of the session, with another role written into it. */
function tampered(): string {
  const [head, body, signature] = session.token.split('.') as [string, string, string]
  const forged = { ...JSON.parse(Buffer.from(body, 'base64url').toString()), roles: ['admin'] }
  return `${head}.${encode(forged)}.${signature}`
}

/** HS256 with the public key for a secret (CVE-2015-9235). */
function confused(): string {
  const secret = createPublicKey({ key: publicKeys({ keys: [first!] }).keys[0]!, format: 'jwk' })
  const input = `${encode(header(first!, { alg: 'HS256' }))}.${encode(claims(parties()))}`
  const pem = secret.export({ format: 'pem', type: 'spki' })
  return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`
}

/** What must be refused, and with which error of jose and of aws-jwt-verify. */
const bad = [
  {
    name: 'a tampered token',
    of: tampered,
    jose: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    aws: 'JwtInvalidSignatureError',
  },
  {
    name: 'a foreign key under our kid',
    of: () => token({}, { kid: first!.kid }, foreign),
    jose: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    aws: 'JwtInvalidSignatureError',
  },
  {
    name: 'an unknown kid',
    of: () => token({}, {}, foreign),
    jose: 'ERR_JWKS_NO_MATCHING_KEY',
    aws: 'KidNotFoundInJwksError',
  },
  {
    name: 'no kid',
    of: () => token({}, { kid: undefined }),
    jose: 'ERR_JWKS_MULTIPLE_MATCHING_KEYS',
    aws: 'JwtWithoutValidKidError',
  },
  {
    name: 'an expired token',
    of: () => token({ iat: IAT - 1000, exp: IAT - 100 }),
    jose: 'ERR_JWT_EXPIRED',
    aws: 'JwtExpiredError',
  },
  {
    name: 'another audience',
    of: () => token({ aud: 'https://other.test' }),
    jose: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    aws: 'JwtInvalidAudienceError',
  },
  {
    name: 'another issuer',
    of: () => token({ iss: 'https://other.test' }),
    jose: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    aws: 'JwtInvalidIssuerError',
  },
  {
    name: 'HS256 with the public key',
    of: confused,
    jose: 'ERR_JOSE_ALG_NOT_ALLOWED',
    aws: 'JwtInvalidSignatureAlgorithmError',
  },
  {
    name: 'no signature',
    of: () => `${encode(header(first!, { alg: 'none' }))}.${encode(claims(parties()))}.`,
    jose: 'ERR_JOSE_ALG_NOT_ALLOWED',
    aws: 'JwtParseError',
  },
  {
    name: 'the typ of an ID token',
    of: () => token({}, { typ: 'JWT' }),
    jose: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    aws: 'NotAnAccessToken',
  },
  {
    name: 'no typ',
    of: () => token({}, { typ: undefined }),
    jose: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    aws: 'NotAnAccessToken',
  },
  {
    name: 'a refresh token',
    of: () => session.refreshToken,
    jose: 'ERR_JWS_INVALID',
    aws: 'JwtParseError',
  },
]

const good = [
  { name: 'the token of a session', of: () => session.token },
  { name: 'a token of the second key', of: () => token({ sub: userId }, {}, second) },
]

describe('jose', () => {
  const keys = () => createRemoteJWKSet(new URL(jwksUri))
  const verify = (text: string) =>
    jwtVerify(text, keys(), {
      issuer: api.url,
      audience: AUDIENCE,
      algorithms: ['ES256'],
      typ: 'at+jwt',
      requiredClaims: ['sub', 'sid', 'roles', 'iat', 'exp', 'jti'],
    })

  test.each(good)('takes $name', async ({ of }) => {
    expect((await verify(of())).payload.sub).toBe(userId)
  })

  test.each(bad)('refuses $name', async ({ of, jose: code }) => {
    await expect(verify(of())).rejects.toMatchObject({ code })
  })
})

describe('aws-jwt-verify', () => {
  class NotAnAccessToken extends Error {}
  // Its own fetcher speaks https only, which a local API does not.
  const fetcher = { fetch: async (uri: string) => (await fetch(uri)).arrayBuffer() }
  const verify = (text: string) =>
    JwtVerifier.create(
      {
        issuer: api.url,
        audience: AUDIENCE,
        jwksUri,
        // It does not look at typ by itself.
        customJwtCheck: ({ header: { typ } }) => {
          if (typ !== 'at+jwt') throw new NotAnAccessToken()
        },
      },
      { jwksCache: new SimpleJwksCache({ fetcher }) },
    ).verify(text)

  test.each(good)('takes $name', async ({ of }) => {
    expect((await verify(of())).sub).toBe(userId)
  })

  test.each(bad)('refuses $name', async ({ of, aws }) => {
    const error: unknown = await verify(of()).catch((reason: unknown) => reason)
    expect((error as Error).constructor.name).toBe(aws)
  })
})

describe('the Express service', () => {
  const ways = [
    { way: 'Authorization', headers: bearer },
    { way: 'x-access-token', headers: (text: string) => ({ 'x-access-token': text }) },
  ]

  describe.each(ways)('in $way', ({ headers }) => {
    test.each(good)('takes $name', async ({ of }) => {
      const answer = await get('/whoami', headers(of()))
      expect(answer.status).toBe(200)
      expect(await answer.json()).toEqual({ id: userId, sessionId: expect.any(String), roles: ['user'] })
    })

    test.each(bad)('refuses $name', async ({ of }) => {
      const answer = await get('/whoami', headers(of()))
      expect(answer.status).toBe(401)
      expect(answer.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
      expect(await answer.json()).toMatchObject({ status: 401, code: 'invalid_token' })
    })
  })

  test.each([
    { name: 'no header', headers: {} },
    { name: 'another scheme', headers: { Authorization: 'Basic YW5uOng=' } },
  ])('tells who sends no token how to ($name)', async ({ headers }) => {
    const answer = await get('/whoami', headers)
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
  })

  test.each([
    { roles: ['user'], status: 403 },
    { roles: ['user', 'admin'], status: 200 },
    // Text has `includes` as well.
    { roles: 'administrator', status: 403 },
  ])('answers the roles $roles with $status where admin is asked for', async ({ roles, status }) => {
    expect((await get('/report', bearer(token({ roles })))).status).toBe(status)
  })

  test('does not ask the API for each of a hundred made-up kids, and takes good tokens meanwhile', async () => {
    const front = await startFront()
    const fresh = await startService(front.url)
    const ofFront = { iss: front.url }
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        fetch(`${fresh}/whoami`, { headers: bearer(token(ofFront, { kid: `made-up-${i}` })) }),
      ),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]))
    expect((await fetch(`${fresh}/whoami`, { headers: bearer(token(ofFront)) })).status).toBe(200)
    expect(front.asked('/.well-known/jwks.json')).toBeGreaterThan(0)
    expect(front.asked('/.well-known/jwks.json')).toBeLessThan(5)
    await front.stop()
  })

  test('answers 503 while keys cannot be had, and not 401', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => sockets.push(socket))
    await new Promise<void>((done) => silent.listen(0, 'localhost', done))
    const { port } = silent.address() as { port: number }
    try {
      const answer = await fetch(`${await startService(`http://localhost:${port}`)}/whoami`, {
        headers: bearer(session.token),
      })
      expect(answer.status).toBe(503)
      expect(answer.headers.get('retry-after')).toBe('10')
      expect(await answer.json()).toMatchObject({ status: 503, code: 'unavailable' })
    } finally {
      for (const socket of sockets) socket.destroy()
      silent.close()
    }
  })

  test('goes on with the keys that it has when the API is away, and a new one cannot begin', async () => {
    const front = await startFront()
    const warm = await startService(front.url)
    const whoami = async (at: string, text: string) =>
      (await fetch(`${at}/whoami`, { headers: bearer(text) })).status
    const good = token({ iss: front.url })
    expect(await whoami(warm, good)).toBe(200)
    await front.stop()
    expect(await whoami(warm, good)).toBe(200)
    expect(await whoami(warm, token({ iss: front.url }, { kid: first!.kid }, foreign))).toBe(401)
    expect(await whoami(await startService(front.url), good)).toBe(503)
  })

  test('does not start without ISSUER', async () => {
    const started = run(api.folder, [process.execPath, join(EXAMPLE, 'Service.js')])
    expect(await started.exit).toBe(1)
    expect(started.output()).toContain('Set ISSUER to the URL of the authentication API')
  })

  test('asks for the versions that are tested here', () => {
    const versions = (file: string) =>
      JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, string>>
    expect(versions('package.json')['devDependencies']).toMatchObject(
      versions(join(EXAMPLE, 'package.json'))['dependencies']!,
    )
  })
})

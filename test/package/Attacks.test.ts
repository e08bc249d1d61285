/**
 * The packaged authorizer under attack, in a process that stays as a Lambda container does: every bad token is the
 * thrown string that API Gateway makes a 401 of, and leaves nothing of itself in the log (OWASP ASVS 5.0, 16.2.5).
 */
import type { APIGatewayAuthorizerResult, APIGatewayProxyResult } from 'aws-lambda'
import mongoose from 'mongoose'
import { revokeSession, startSession } from '../../auth/Sessions.ts'
import { publicKeys } from '../../auth/Tokens.ts'
import { withDatabase } from '../support/withDatabase.ts'
import { changeUser, createUser, newUserId } from '../../user/User.ts'
import { attacks, first, second } from '../support/attacks.ts'
import { type Container, startContainer } from '../support/container.ts'
import { dropDatabase } from '../support/database.ts'
import { authorizerEvent, METHOD_ARN, request } from '../../support/events.ts'
import { forge, type Jwk, newKey, PARTIES } from '../support/forge.ts'
import { allows } from '../support/gateway.ts'
import type { Packages } from '../../support/packages.ts'
import { sharedPackages } from '../support/shared.ts'
import { vectors } from '../support/vectors.ts'

const DB = process.env['DB']!
const UNAUTHORIZED = 'thrown: Unauthorized'
let built: Packages
let container: Container
const settings = {
  DB,
  VERIFICATION_KEYS: JSON.stringify(publicKeys({ keys: [first, second] })),
  ISSUER: PARTIES.issuer,
  AUDIENCE: PARTIES.audience,
}
/** The tokens that it was sent, of which its log must hold nothing. */
let sent: string[]

beforeAll(async () => {
  built = await sharedPackages()
})

afterAll(async () => {
  built?.remove()
  await mongoose.disconnect()
  await dropDatabase(DB)
})

/** Starts the authorizer for the tests of a block, and stops it after them. */
function withAuthorizer(environment?: () => Record<string, string>) {
  beforeAll(() => {
    sent = []
    container = startContainer(built, 'verifyToken', { ...settings, ...environment?.() })
  })
  afterAll(() => container.stop())
}

/** What API Gateway would make of a token for GET /me. */
async function verdict(authorization: string): Promise<string> {
  sent.push(authorization)
  const outcome = await container.invoke(authorizerEvent(authorization))
  if ('thrown' in outcome) {
    return typeof outcome.thrown === 'string'
      ? `thrown: ${outcome.thrown}`
      : `an error: ${String(outcome.thrown)}`
  }
  return allows(outcome.returned as APIGatewayAuthorizerResult, METHOD_ARN)
    ? 'allowed'
    : 'denied by its policy'
}

/**
 * @returns the reasons in the log, in their order; the log must hold them and nothing of the tokens, but whose they are
 *   where that was verified
 */
async function reasonsInLog(): Promise<string[]> {
  const lines = (await container.stop())
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { level: string; event?: string; reason?: string; timestamp?: string })
  expect(lines.filter(({ level }) => level !== 'INFO')).toEqual([])
  const isVerified = ({ reason }: { reason?: string }) => !reason || reason === 'revoked or outdated'
  expect(lines.filter((line) => ('userId' in line || 'sessionId' in line) && !isVerified(line))).toEqual([])
  const known = { timestamp: '', userId: '', sessionId: '' }
  const text = lines.map((line) => stringsIn({ ...line, ...known }).join(' ')).join('\n')
  const ours = [PARTIES.issuer, PARTIES.audience]
  const found = [...new Set(sent.flatMap(pieces))]
    .filter((piece) => !ours.some((name) => name.includes(piece)))
    .filter((piece) => text.includes(piece))
  expect(found).toEqual([])
  return lines.filter(({ event }) => event === 'authz_token_refused').map(({ reason }) => reason!)
}

/** By what a token would be known: its parts as they are, and the texts in them. */
function pieces(token: string): string[] {
  const parts = token.split('.').filter((part) => part.length >= 12)
  return [...parts, ...parts.flatMap((part) => stringsIn(parsed(part)))]
    .flatMap((text) => [text.slice(0, 16), text.slice(-16), text.slice(text.length / 2).slice(0, 16)])
    .filter((text) => text.length >= 12)
}

function parsed(part: string): unknown {
  const text = Buffer.from(part, 'base64url').toString()
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : []
}

describe('of the list of attacks, each sent as Bearer and bare, it refuses', () => {
  withAuthorizer()

  describe.each(attacks)('$group:', ({ good, attacks: list }) => {
    test('but it allows a good token', async () => {
      expect(await verdict(`Bearer ${good}`)).toBe('allowed')
      expect(await verdict(good)).toBe('allowed')
    })

    test.each(list)('$name ($source)', async ({ token }) => {
      expect(await verdict(`Bearer ${token}`)).toBe(UNAUTHORIZED)
      expect(await verdict(token)).toBe(UNAUTHORIZED)
    })
  })

  test('and its log gives the reason of each refusal, and no piece of a token', async () => {
    const reasons = attacks.flatMap((group) => group.attacks.flatMap(({ reason }) => [reason, reason]))
    expect(reasons.length).toBeGreaterThan(500)
    expect(await reasonsInLog()).toEqual(reasons)
  })
})

describe('of genuine tokens', () => {
  const now = new Date()
  const nobody = { userAgent: null, address: null }
  const key = Buffer.alloc(32)
  const newUser = (name: string) =>
    createUser(
      { id: newUserId(), name, email: `${name}@example.com`, passwordHash: 'none', roles: ['user'] },
      now,
    )
  let ann: { id: string; live: string; revoked: string }
  let bea: { id: string; version: number }

  beforeAll(() =>
    withDatabase(async () => {
      const user = await newUser('ann')
      const [live, revoked] = [
        await startSession(user, nobody, key, now),
        await startSession(user, nobody, key, now),
      ]
      await revokeSession(revoked.sessionId, user.id, now)
      ann = { id: user.id, live: live.sessionId, revoked: revoked.sessionId }
      const { id } = await newUser('bea')
      bea = { id, version: (await changeUser(id, { roles: [] }, now)).tokenVersion }
    }),
  )
  withAuthorizer()

  test('it refuses that of a revoked session, and allows that of another session of the same user', async () => {
    const tokenOf = (sid: string) => forge(first, { body: { sub: ann.id, sid } })
    expect(await verdict(tokenOf(ann.live))).toBe('allowed')
    expect(await verdict(tokenOf(ann.revoked))).toBe(UNAUTHORIZED)
  })

  test('it refuses an outdated one, and allows one of today’s version', async () => {
    const tokenOf = (ver: number) => forge(first, { body: { sub: bea.id, ver } })
    expect(await verdict(tokenOf(bea.version))).toBe('allowed')
    for (const ver of [bea.version - 1, -1, Number.MIN_SAFE_INTEGER]) {
      expect(await verdict(tokenOf(ver))).toBe(UNAUTHORIZED)
    }
  })

  test('it refuses that of another deployment which shares the database and the kid, but not the key', async () => {
    expect(
      await verdict(forge({ ...newKey(), kid: first.kid }, { body: { sub: ann.id, sid: ann.live } })),
    ).toBe(UNAUTHORIZED)
  })

  test('by design it allows one whose user and session are not in the database, for which /me is a 401', async () => {
    const event = authorizerEvent(forge(first, { body: { sub: 'f'.repeat(24), sid: 'nowhere' } }))
    const outcome = (await container.invoke(event)) as { returned: APIGatewayAuthorizerResult }
    expect(allows(outcome.returned, METHOD_ARN)).toBe(true)
    const me = startContainer(built, 'me', { DB })
    const authorizer = outcome.returned.context as Record<string, string>
    const answer = (await me.invoke(request({ authorizer }))) as { returned: APIGatewayProxyResult }
    await me.stop()
    expect([answer.returned.statusCode, JSON.parse(answer.returned.body).code]).toEqual([
      401,
      'invalid_token',
    ])
  })

  test('and its log gives the reason of each refusal, and no piece of a token', async () => {
    expect(await reasonsInLog()).toEqual([...Array(4).fill('revoked or outdated'), 'invalid signature'])
  })
})

interface Vectors {
  numberOfTests: number
  testGroups: {
    comment: string
    public?: Partial<Jwk>
    private: Partial<Jwk>
    tests: { tcId: number; jws: unknown }[]
  }[]
}

interface Examples {
  tokens: { id: string; where: string; key?: Partial<Jwk>; compact: string }[]
}

const wycheproof = vectors('wycheproof/json_web_signature_test.json')
const examples = vectors('rfc-examples.json')

;(wycheproof && examples ? describe : describe.skip)(
  'of published tokens, given their keys where it can take them,',
  () => {
    const { numberOfTests, testGroups } = JSON.parse(wycheproof ?? '{"testGroups":[]}') as Vectors
    const { tokens } = JSON.parse(examples ?? '{"tokens":[]}') as Examples
    const ring = new Map<string, Jwk>()
    /** Its own key where that is one for ES256; otherwise one of ours under its kid, where settings take such a kid. */
    const keyFor = (published: Partial<Jwk> = {}, kid = published.kid ?? ''): Jwk => {
      const ours = newKey()
      const name = /^[\w-]{1,64}$/.test(kid) ? kid : ours.kid
      const { x, y, d } = published.kty === 'EC' && published.crv === 'P-256' ? published : ours
      const key = ring.get(name) ?? ({ ...ours, x, y, d, kid: name } as Jwk)
      if (published.crv === 'P-256' && key.x !== x) throw new Error(`two keys of the kid ${kid}`)
      ring.set(name, key)
      return key
    }
    const groups = [
      ...testGroups.map(({ comment, private: jwk, tests }) => ({
        name: `Wycheproof, ${comment} ${tests[0]!.tcId} to ${tests.at(-1)!.tcId}`,
        key: keyFor(jwk),
        list: tests.map(({ tcId, jws }) => ({
          id: String(tcId),
          token: typeof jws === 'string' ? jws : JSON.stringify(jws),
        })),
      })),
      ...tokens.map(({ id, where, key, compact }) => ({
        name: where,
        key: keyFor(key, key?.kid ?? id),
        list: [{ id, token: compact }],
      })),
    ]

    withAuthorizer(() => ({ VERIFICATION_KEYS: JSON.stringify(publicKeys({ keys: [...ring.values()] })) }))

    test.each(groups.length > 0 ? groups : [{ name: '', key: first, list: [] }])(
      'it allows a good one of the key and refuses all of: $name',
      async ({ key, list }) => {
        // The payloads are not claims, so even the valid ones are refused: this shows that the key is not why.
        expect(await verdict(`Bearer ${forge(key)}`)).toBe('allowed')
        const allowed = []
        for (const { id, token } of list) {
          const verdicts = [await verdict(`Bearer ${token}`), await verdict(token)]
          if (verdicts.some((each) => each !== UNAUTHORIZED)) allowed.push({ id, verdicts })
        }
        expect(allowed).toEqual([])
      },
    )

    test('which are all that there are; and its log gives a reason for each, and no piece of a token', async () => {
      const count = groups.reduce((sum, { list }) => sum + list.length, 0)
      expect(count).toBe(numberOfTests + tokens.length)
      expect(await reasonsInLog()).toHaveLength(2 * count)
    })
  },
)

/**
 * The authorizer, with its policies evaluated as API Gateway does, and what serverless.yml says of it.
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import mongoose from 'mongoose'
import { policyFor, routesFor } from '../../auth/Permissions.ts'
import { DEFAULT_ROLES } from '../../user/Roles.ts'
import { signer } from '../../auth/Tokens.ts'
import { handler } from '../../auth/VerifyToken.ts'
import { settingsOf } from '../../api/Environment.ts'
import { dropDatabase } from '../support/database.ts'
import { METHOD_ARN, authorizerEvent } from '../../support/events.ts'
import { allows } from '../support/gateway.ts'
import { optionalPackages } from '../../support/optionalPackages.ts'

const ROOT = resolve(__dirname, '../..')
const STAGE = METHOD_ARN.split('/', 2).join('/')
const settings = settingsOf(['SIGNING_KEYS', 'ISSUER', 'AUDIENCE', 'API_ID', 'DB'])
const parties = { issuer: settings.ISSUER, audience: settings.AUDIENCE }
const issue = signer(settings.SIGNING_KEYS, parties)
const tokenOf = (roles: string[], issuedAt = new Date(), emailVerified = false) =>
  issue({ id: '65f000000000000000000001', roles, emailVerified, tokenVersion: 0 }, 'session-1', issuedAt)
const TOKEN = tokenOf(['user'])
/** `GET /users/{id}` as the ARN of one call. */
const arnOf = (route: string) =>
  `${STAGE}/${route.replace(' ', '').replaceAll(/\{[^}]+\}/g, '65f00000000000000000000a')}`

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(settings.DB)
})

describe('the policy of a user', () => {
  test.each(routesFor(['user']))(
    'lets through to %s, also when it was made for GET /me and cached',
    async (route) => {
      expect(allows(await handler(authorizerEvent(TOKEN)), arnOf(route))).toBe(true)
      expect(allows(await handler(authorizerEvent(TOKEN, arnOf(route))), METHOD_ARN)).toBe(true)
    },
  )

  test.each([
    { name: 'another method of the same path', arn: `${STAGE}/POST/me` },
    { name: 'OPTIONS', arn: `${STAGE}/OPTIONS/me` },
    { name: "a route that is nobody's", arn: `${STAGE}/GET/unknown` },
    { name: 'a path below', arn: `${STAGE}/GET/me/more` },
    { name: 'a path that begins alike', arn: `${STAGE}/GET/menu` },
    { name: 'the path in capitals', arn: `${STAGE}/GET/ME` },
    { name: 'the root', arn: `${STAGE}/GET/` },
    { name: 'another stage', arn: METHOD_ARN.replace('/dev/', '/prod/') },
    { name: 'a stage that begins alike', arn: METHOD_ARN.replace('/dev/', '/dev2/') },
    { name: 'another API', arn: METHOD_ARN.replace('abcdef1234', 'zzzzzz9999') },
    { name: 'another account', arn: METHOD_ARN.replace('123456789012', '999999999999') },
    { name: 'another region', arn: METHOD_ARN.replace('eu-central-1', 'us-east-1') },
  ])('does not let through to $name', async ({ arn }) => {
    const policy = await handler(authorizerEvent(TOKEN))
    expect({ me: allows(policy, METHOD_ARN), other: allows(policy, arn) }).toEqual({ me: true, other: false })
  })

  test('does not follow the route asked for: asking does not grant', async () => {
    const arn = `${STAGE}/DELETE/admin/users/65f00000000000000000000a`
    expect(allows(await handler(authorizerEvent(TOKEN, arn)), arn)).toBe(false)
  })

  test('holds whole routes: a path parameter is the only wildcard', () => {
    const [statement] = policyFor(['user', 'admin'], METHOD_ARN, settings.API_ID).Statement as {
      Resource: string[]
    }[]
    const wildcards = statement!.Resource.filter((resource) => /[*?]/.test(resource))
    expect(wildcards).toHaveLength(routesFor(['user', 'admin']).filter((route) => route.includes('{')).length)
    expect(statement!.Resource.join()).not.toMatch(/[{}]/)
  })

  test.each([
    { name: 'no role', roles: [] },
    { name: 'a role that is not in the table', roles: ['superuser'] },
    {
      name: 'roles that every object has',
      roles: ['constructor', '__proto__', 'toString', 'hasOwnProperty'],
    },
    { name: 'roles spelt otherwise', roles: ['User', 'user ', '', '*'] },
  ])('is an explicit Deny of the whole stage for a caller of $name', async ({ roles }) => {
    const policy = await handler(authorizerEvent(tokenOf(roles)))
    expect(policy.policyDocument.Statement).toEqual([
      { Effect: 'Deny', Action: 'execute-api:Invoke', Resource: `${STAGE}/*` },
    ])
    expect(allows(policy, METHOD_ARN)).toBe(false)
  })

  test('an unknown role takes nothing from a known one', async () => {
    expect(allows(await handler(authorizerEvent(tokenOf(['superuser', 'user']))), METHOD_ARN)).toBe(true)
  })
})

test.each([true, false])(
  'the answer names the user and gives handlers scalars only, since API Gateway refuses others; the email is verified: %s',
  async (emailVerified) => {
    const token = tokenOf(['user', 'admin'], new Date(), emailVerified)
    const { principalId, context } = await handler(authorizerEvent(token))
    expect(principalId).toBe('65f000000000000000000001')
    expect(context).toEqual({
      id: '65f000000000000000000001',
      sessionId: 'session-1',
      roles: 'user admin',
      emailVerified,
    })
  },
)

/** Authorization headers that are good. */
const accepted = [
  { name: 'Bearer <token> (RFC 6750 section 2.1)', value: `Bearer ${TOKEN}` },
  { name: 'bearer in small letters (RFC 9110 section 11.1)', value: `bearer ${TOKEN}` },
  { name: 'BEARER and two spaces', value: `BEARER  ${TOKEN}` },
  { name: 'the bare token, as the tutorial sends it', value: TOKEN },
]

const [h, p, s] = TOKEN.split('.') as [string, string, string]

/** What API Gateway itself turns away. */
const dropped = [
  { name: 'nothing', value: '' },
  { name: 'Bearer alone', value: 'Bearer' },
  { name: 'Bearer and a space', value: 'Bearer ' },
  { name: 'another scheme', value: `Basic ${TOKEN}` },
  { name: 'a password (RFC 7617)', value: 'Basic dXNlcjpwYXNzd29yZA==' },
  { name: 'Bearer twice', value: `Bearer Bearer ${TOKEN}` },
  { name: 'Bearer and a tab', value: `Bearer\t${TOKEN}` },
  { name: 'Bearer and a colon', value: `Bearer: ${TOKEN}` },
  { name: 'a space before', value: ` ${TOKEN}` },
  { name: 'a space after', value: `${TOKEN} ` },
  { name: 'a second header, joined', value: `Bearer ${TOKEN}, Bearer ${TOKEN}` },
  { name: 'quotes', value: `Bearer "${TOKEN}"` },
  { name: 'two parts', value: `Bearer ${h}.${p}` },
  { name: 'an empty signature', value: `Bearer ${h}.${p}.` },
  { name: 'four parts', value: `Bearer ${TOKEN}.${s}` },
  { name: 'a word', value: 'undefined' },
  { name: 'a wildcard', value: '*' },
]

/** What only the Lambda can tell. */
const refused = [
  { name: 'Bearer without a space', value: `Bearer${TOKEN}` },
  { name: 'three words', value: 'Bearer a.b.c' },
  { name: 'a signature that is not ours', value: `Bearer ${h}.${p}.${'A'.repeat(86)}` },
  {
    name: 'a token that has expired',
    value: `Bearer ${tokenOf(['user'], new Date(Date.now() - 3_600_000))}`,
  },
  { name: 'a token of tomorrow', value: `Bearer ${tokenOf(['user'], new Date(Date.now() + 86_400_000))}` },
  {
    name: 'a token for another audience',
    value: signer(settings.SIGNING_KEYS, { ...parties, audience: 'https://other.test' })(
      { id: 'u1', roles: ['user'], emailVerified: false, tokenVersion: 0 },
      's1',
      new Date(),
    ),
  },
]

const notText = [undefined, null, 7, {}, [TOKEN]].map((value) => ({
  name: `${value === undefined ? 'undefined' : JSON.stringify(value).slice(0, 10)} for a header`,
  value: value as string,
}))

describe('the Authorization header', () => {
  test.each(accepted)('is accepted: $name', async ({ value }) => {
    expect(allows(await handler(authorizerEvent(value)), METHOD_ARN)).toBe(true)
  })

  test.each([...dropped, ...refused, ...notText])(
    'throws the string that API Gateway makes a 401 of, for $name',
    async ({ value }) => {
      await expect(handler(authorizerEvent(value))).rejects.toBe('Unauthorized')
    },
  )
})

describe('serverless.yml', () => {
  const yaml = readFileSync(join(ROOT, 'serverless.yml'), 'utf8')
  /** The text of each function. */
  const functions = new Map(
    [...section('functions').matchAll(/^ {2}(\w+):\n((?: {4}.*\n|\n)*)/gm)].map(([, name, text]) => [
      name!,
      text!,
    ]),
  )
  const routes = [...yaml.matchAll(/^ +- http: \{(.*)\}$/gm)].map(([, text]) => ({
    route: `${/method: (\w+)/.exec(text!)![1]!.toUpperCase()} /${/path: '?([^,']*)'?/.exec(text!)![1]}`,
    isProtected: text!.includes('authorizer: *authorizer'),
  }))
  const expression = new RegExp(/identityValidationExpression: (.+)/.exec(yaml)![1]!)

  test('is read whole by these tests', () => {
    expect(routes.length).toBe(yaml.match(/\bhttp:/g)!.length)
    expect(routes.length).toBeGreaterThan(5)
    expect(functions.get('verifyToken')).toContain('handler: auth/VerifyToken.handler')
  })

  test('protects the routes of the permissions table, and no other', () => {
    const isProtected = routes.filter((route) => route.isProtected).map(({ route }) => route)
    expect(isProtected.toSorted()).toEqual(routesFor(['user', 'admin']).toSorted())
  })

  test('has each route once', () => {
    expect(new Set(routes.map(({ route }) => route)).size).toBe(routes.length)
  })

  test('gives new users a role of the table', () => {
    expect(routesFor(DEFAULT_ROLES)).not.toEqual([])
  })

  test.each([...accepted, ...refused])('hands to the authorizer: $name', ({ value }) => {
    expect(value).toMatch(expression)
  })

  test.each(dropped)('lets API Gateway drop for free: $name', ({ value }) => {
    expect(value).not.toMatch(expression)
  })

  test('gives the authorizer public keys and nothing secret', () => {
    expect(functions.get('verifyToken')).not.toMatch(/environment/)
    expect(handler.declaration.settings.toSorted()).toEqual(
      ['DB', 'ISSUER', 'AUDIENCE', 'VERIFICATION_KEYS', 'API_ID'].toSorted(),
    )
  })

  test('caches no policy, which would outlive a revocation', () => {
    expect(yaml).toMatch(/^ +resultTtlInSeconds: 0$/m)
  })

  function section(name: string): string {
    return new RegExp(`^${name}:\\n((?: .*\\n|#.*\\n|\\n)*)`, 'm').exec(yaml)![1]!
  }
})

describe('the bundle', () => {
  test.each([
    { entry: 'auth/VerifyToken.ts', holds: false },
    // Shows that the measurement works.
    { entry: 'auth/AuthHandler.ts', holds: true },
  ])('$entry starts with a database client: $holds', async ({ entry, holds }) => {
    const inputs = await startUpInputs(entry)
    expect(inputs).toContain(entry)
    expect(inputs.some((input) => /node_modules\/(mongoose|mongodb|bson)\//.test(input))).toBe(holds)
  })
})

/** The source files that are loaded before the first call: those of the entry and of what it imports statically. */
async function startUpInputs(entry: string): Promise<string[]> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    outdir: 'nowhere',
    write: false,
    metafile: true,
    logLevel: 'silent',
    external: optionalPackages,
  })
  const main = Object.keys(metafile.outputs).find((path) => metafile.outputs[path]!.entryPoint === entry)!
  const loaded = new Set([main])
  for (const path of loaded) {
    for (const { path: imported, kind, external } of metafile.outputs[path]!.imports) {
      if (kind !== 'dynamic-import' && !external) loaded.add(imported)
    }
  }
  return [...loaded].flatMap((path) => Object.keys(metafile.outputs[path]!.inputs))
}

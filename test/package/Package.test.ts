/**
 * What `sls package` makes: each zip is unpacked far from node_modules and run in a bare Node, with the
 * environment that the template gives it.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { APIGatewayAuthorizerResult, APIGatewayProxyResult } from 'aws-lambda'
import { databaseUri, dropDatabase } from '../support/database.ts'
import { authorizerEvent, METHOD_ARN, request } from '../support/events.ts'
import { allows } from '../support/gateway.ts'
import { newSettings } from '../support/newSettings.ts'
import { type Packages, packageFunctions, startUpFiles } from '../support/packages.ts'
import { copyProject, sls } from '../support/project.ts'

const DB = databaseUri()
const settings = { ...newSettings(), DB, BCRYPT_COST: '4' }
let built: Packages

beforeAll(async () => {
  // Without ISSUER and AUDIENCE, as most people deploy it: the API's own URL stands for them.
  const { ISSUER: _, AUDIENCE: __, ...usual } = settings
  built = await packageFunctions(usual)
}, 60_000)

afterAll(async () => {
  built.remove()
  await dropDatabase(DB)
})

const ofType = (type: string) =>
  Object.entries(built.template.Resources).filter(([, resource]) => resource.Type === type)

const propertiesOf = (name: string) => built.propertiesOf(name)

const OWN_URL = { 'Fn::Sub': 'https://${ApiGatewayRestApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/dev' }

/** The files of a function's zip. */
const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => statSync(join(folder, file)).isFile() && !file.endsWith('runner.mjs'),
  )

/** Runs the handler of a zip once, in a process of its own. */
function invoke(name: string, event: unknown, prepare?: () => void): unknown {
  const folder = built.folderOf(name)
  prepare?.()
  const [file, member] = propertiesOf(name).Handler.split('.') as [string, string]
  const runner = join(folder, 'runner.mjs')
  writeFileSync(
    runner,
    `const { ${member} } = await import('./${file}.mjs')
const result = await ${member}(${JSON.stringify(event)}).catch((error) => ({ error: String(error) }))
process.stdout.write(JSON.stringify(result), () => process.exit())
`,
  )
  const run = spawnSync(process.execPath, [runner], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...built.environmentOf(name), POWERTOOLS_LOG_LEVEL: 'SILENT' },
  })
  // A broken bundle prints itself: its last lines are enough.
  if (run.status !== 0) throw new Error(run.stderr.slice(-1000))
  return JSON.parse(run.stdout)
}

const SIGNING = ['AUDIENCE', 'CORS_ORIGIN', 'DB', 'ISSUER', 'REFRESH_TOKEN_KEY', 'SIGNING_KEYS']
const PASSWORDS = [...SIGNING, 'BCRYPT_COST', 'PASSWORD_MIN_LENGTH', 'PEPPER'].toSorted()
const DATABASE = ['CORS_ORIGIN', 'DB']
const DATABASE_AND_ISSUER = [...DATABASE, 'ISSUER']
const KB = 1000
const MB = 1000 * KB

describe.each([
  { name: 'register', environment: PASSWORDS },
  { name: 'login', environment: PASSWORDS },
  { name: 'refresh', environment: SIGNING },
  { name: 'logout', environment: DATABASE_AND_ISSUER },
  { name: 'logoutAll', environment: DATABASE_AND_ISSUER },
  { name: 'me', environment: DATABASE },
  { name: 'sessions', environment: DATABASE },
  { name: 'endSession', environment: DATABASE },
  { name: 'users', environment: DATABASE_AND_ISSUER },
  { name: 'adminUsers', environment: DATABASE_AND_ISSUER },
  { name: 'adminUser', environment: DATABASE },
  { name: 'updateUser', environment: DATABASE },
  { name: 'endUserSessions', environment: DATABASE },
  { name: 'jwks', environment: ['CORS_ORIGIN', 'VERIFICATION_KEYS'] },
  { name: 'configuration', environment: ['CORS_ORIGIN', 'ISSUER'] },
  {
    name: 'verifyToken',
    startUp: 100 * KB,
    environment: ['API_ID', 'AUDIENCE', 'CORS_ORIGIN', 'DB', 'ISSUER', 'VERIFICATION_KEYS'],
  },
])('$name', ({ name, startUp = 2 * MB, environment }) => {
  test(`has its own files and no others, minified, of which at most ${startUp / KB} KB are loaded at the start`, () => {
    const folder = built.folderOf(name)
    const handler = propertiesOf(name).Handler.split('.')[0]!
    const files = filesOf(folder)
    expect(files.filter((file) => !file.startsWith(`${handler}.`))).toEqual([])
    const sizes = new Map<string, number>()
    for (const file of files) {
      const code = readFileSync(join(folder, file), 'utf8')
      expect(code).not.toMatch(/^ {2,}(const|return) /m)
      sizes.set(file, code.length)
    }
    const sum = (paths: Iterable<string>) => [...paths].reduce((total, path) => total + sizes.get(path)!, 0)
    expect(sum(files)).toBeLessThanOrEqual(2 * MB)
    expect(sum(startUpFiles(folder, `${handler}.mjs`))).toBeLessThanOrEqual(startUp)
  })

  test('runs on nodejs24.x and arm64, and is given the settings that it needs and no others', () => {
    const { Runtime, Architectures, Environment } = propertiesOf(name)
    expect([Runtime, Architectures]).toEqual(['nodejs24.x', ['arm64']])
    expect(Object.keys(Environment.Variables).toSorted()).toEqual(environment)
    // No function but those that issue tokens holds a private key.
    expect(JSON.stringify(Environment).includes(JSON.parse(settings.SIGNING_KEYS).keys[0].d)).toBe(
      environment.includes('SIGNING_KEYS'),
    )
  })
})

test('the zips work together: register, log in, authorize, /me, /users, discovery', () => {
  const ann = { name: 'Ann', email: 'ann@example.com', password: 'a horse on the moon' }
  expect(invoke('register', request({ json: ann }))).toMatchObject({ statusCode: 201 })

  const login = invoke(
    'login',
    request({ json: { email: ann.email, password: ann.password } }),
  ) as APIGatewayProxyResult
  expect(login.statusCode).toBe(200)
  const { token } = JSON.parse(login.body) as { token: string }

  const policy = invoke('verifyToken', authorizerEvent(`Bearer ${token}`)) as APIGatewayAuthorizerResult
  expect(allows(policy, METHOD_ARN)).toBe(true)
  expect(invoke('verifyToken', authorizerEvent(`Bearer ${token}x`))).toEqual({ error: 'Unauthorized' })

  const me = invoke(
    'me',
    request({ authorizer: policy.context as Record<string, string> }),
  ) as APIGatewayProxyResult
  expect(JSON.parse(me.body)).toMatchObject({ id: policy.principalId, email: ann.email })

  const users = invoke('users', request()) as APIGatewayProxyResult
  expect(JSON.parse(users.body)).toEqual([expect.objectContaining({ id: policy.principalId, name: 'Ann' })])

  const jwks = invoke('jwks', request()) as APIGatewayProxyResult
  expect(jwks.body).toBe(settings.VERIFICATION_KEYS)
  const configuration = invoke('configuration', request()) as APIGatewayProxyResult
  expect(JSON.parse(configuration.body).issuer).toBe(
    'https://abcdef1234.execute-api.eu-central-1.amazonaws.com/dev',
  )
})

test('the authorizer loads its database client with the first valid token, and not before', () => {
  const ann = { name: 'Ann', email: 'first-token@example.com', password: 'a horse on the moon' }
  const { body } = invoke('register', request({ json: ann })) as APIGatewayProxyResult
  const { token } = JSON.parse(body) as { token: string }
  const folder = built.folderOf('verifyToken')
  const [chunk, ...others] = filesOf(folder).filter((file) => file.includes('.Revocations-'))
  expect(others).toEqual([])
  // folderOf unpacks anew for each call, so the broken chunk has to be put in its place after that.
  const broken = (authorization: string) =>
    invoke('verifyToken', authorizerEvent(authorization), () => {
      writeFileSync(join(folder, chunk!), 'this is no JavaScript')
    })
  expect(broken(`Bearer ${token}x`)).toEqual({ error: 'Unauthorized' })
  expect(broken(`Bearer ${token}`)).toEqual({
    error: 'Error: no word of revocations for 60 seconds',
  })
})

test('a malformed setting stops the cold start with a sentence that names it', () => {
  const folder = built.folderOf('verifyToken')
  const run = spawnSync(process.execPath, [join(folder, 'auth', 'VerifyToken.mjs')], {
    encoding: 'utf8',
    env: { VERIFICATION_KEYS: '{"keys":[]}' },
  })
  expect(run.status).toBe(1)
  expect(run.stderr).toContain('Setting VERIFICATION_KEYS.keys must hold at least one key.')
})

describe('the template', () => {
  test('gives the API’s own URL for the issuer where none is set', () => {
    expect(propertiesOf('verifyToken').Environment.Variables).toMatchObject({
      ISSUER: OWN_URL,
      AUDIENCE: OWN_URL,
    })
  })

  test('tells the authorizer which API is its own', () => {
    expect(propertiesOf('verifyToken').Environment.Variables['API_ID']).toEqual({ Ref: 'ApiGatewayRestApi' })
  })

  test('drops garbage before the authorizer and caches nothing of it', () => {
    const [authorizer] = ofType('AWS::ApiGateway::Authorizer')
    expect(authorizer![1].Properties).toMatchObject({
      Type: 'TOKEN',
      IdentitySource: 'method.request.header.Authorization',
      IdentityValidationExpression: expect.stringContaining('[A-Za-z0-9_-]+'),
      AuthorizerResultTtlInSeconds: 0,
    })
  })

  test('answers the gateway’s own errors as problems with CORS, from the first deployment on', () => {
    const responses = ofType('AWS::ApiGateway::GatewayResponse')
    expect(responses.map(([, { Properties }]) => String(Properties['ResponseType'])).toSorted()).toEqual([
      'ACCESS_DENIED',
      'AUTHORIZER_CONFIGURATION_ERROR',
      'AUTHORIZER_FAILURE',
      'DEFAULT_4XX',
      'DEFAULT_5XX',
      'MISSING_AUTHENTICATION_TOKEN',
      'REQUEST_TOO_LARGE',
      'THROTTLED',
      'UNAUTHORIZED',
      'WAF_FILTERED',
    ])
    for (const [, { Properties }] of responses) {
      expect(Properties['ResponseParameters']).toMatchObject({
        'gatewayresponse.header.Content-Type': "'application/problem+json'",
        'gatewayresponse.header.Access-Control-Allow-Origin': "'*'",
      })
      const body = (Properties['ResponseTemplates'] as Record<string, string>)['application/json']!
      expect(JSON.parse(body.replace('$context.error.messageString', '""'))).toMatchObject({
        type: 'about:blank',
        status: Properties['StatusCode'],
      })
    }
    const [deployment] = ofType('AWS::ApiGateway::Deployment')
    expect(deployment![1].DependsOn).toEqual(expect.arrayContaining(responses.map(([id]) => id)))
  })

  test('answers the preflight of every route', () => {
    const methods = ofType('AWS::ApiGateway::Method').map(([, { Properties }]) => Properties)
    const resourcesWith = (...verbs: string[]) =>
      methods
        .filter(({ HttpMethod }) => verbs.includes(HttpMethod as string))
        .map(({ ResourceId }) => JSON.stringify(ResourceId))
        .toSorted()
    expect(resourcesWith('OPTIONS')).toEqual([...new Set(resourcesWith('GET', 'POST', 'PATCH', 'DELETE'))])
  })
})

describe('without the settings of a deployment', () => {
  const project = copyProject()
  afterAll(() => project.remove())

  test('sls package works and warns', async () => {
    const run = sls(project.folder, ['package'])
    expect(await run.exit).toBe(0)
    expect(run.output()).toContain(
      'Warning: this package cannot be deployed. Missing settings: DB, SIGNING_KEYS',
    )
  })

  test.each([
    {
      name: 'nothing set',
      environment: {},
      want: 'Missing settings: DB, SIGNING_KEYS, PEPPER, REFRESH_TOKEN_KEY. Set them in secrets.json (see secrets.example.json) or as environment variables.',
    },
    { name: 'a stage without a DB', environment: { ...settings, DB: '' }, want: 'Missing settings: DB.' },
    {
      name: 'a hash cost for tests',
      environment: settings,
      want: 'Setting BCRYPT_COST must be at least 10 in a deployment.',
    },
  ])('sls deploy stops with $name, before it asks AWS for anything', async ({ environment, want }) => {
    const run = sls(project.folder, ['deploy'], environment)
    expect(await run.exit).toBe(1)
    expect(run.output()).toContain(want)
    expect(run.output()).not.toMatch(/^\s+at /m)
  })
})

/**
 * What `sls package` makes: each zip is unpacked far from node_modules and run in a bare Node, with the
 * environment that the template gives it.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { APIGatewayAuthorizerResult, APIGatewayProxyResult } from 'aws-lambda'
import { type TOTP, URI } from 'otpauth'
import { type Container, type Outcome, startContainer } from '../support/container.ts'
import { databaseUri, dropDatabase, onDatabase } from '../support/database.ts'
import { authorizerEvent, METHOD_ARN, request } from '../../support/events.ts'
import { allows } from '../support/gateway.ts'
import { startMailFunction, startSmtp } from '../../support/mail.ts'
import { codeOf, send } from '../../support/http.ts'
import { newSettings } from '../../support/newSettings.ts'
import { startUpFiles } from '../../support/packages.ts'
import { copyProject, sls } from '../../support/project.ts'
import type { Declaration } from '../../api/Route.ts'
import { checkSettings } from '../support/plugin.ts'
import { sharedApi, sharedPackages } from '../support/shared.ts'

const DB = databaseUri()
let built: Awaited<ReturnType<typeof sharedPackages>>

beforeAll(async () => {
  built = await sharedPackages()
})

afterAll(async () => {
  await Promise.all([...containers.values()].map((container) => container.stop()))
  built?.remove()
  await dropDatabase(DB)
})

const ofType = (type: string) =>
  Object.entries(built.template.Resources).filter(([, resource]) => resource.Type === type)

const propertiesOf = (name: string) => built.propertiesOf(name)

const OWN_URL = { 'Fn::Sub': 'https://${ApiGatewayRestApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/dev' }

/** Refuses connections at once; mail that cannot be handed over is a line in the log and nothing else. */
const NOWHERE = 'http://127.0.0.1:1/2015-03-31/functions/auth-dev-mail/invocations'

/** The files of a function's zip. */
const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => statSync(join(folder, file)).isFile() && !file.endsWith('runner.mjs'),
  )

const containers = new Map<string, Container>()

/** Runs the handler of a zip, in a container that stays for the next event; what it throws is the member `error`. */
async function invoke<Answer = APIGatewayProxyResult>(name: string, event: unknown): Promise<Answer> {
  const environment = { DB, MAIL_FUNCTION_URL: NOWHERE, POWERTOOLS_LOG_LEVEL: 'SILENT' }
  if (!containers.has(name)) containers.set(name, startContainer(built, name, environment))
  return answerOf(await containers.get(name)!.invoke(event)) as Answer
}

const authorize = (token: string) =>
  invoke<APIGatewayAuthorizerResult>('verifyToken', authorizerEvent(`Bearer ${token}`))

const answerOf = (outcome: Outcome) =>
  'thrown' in outcome ? { error: String(outcome.thrown) } : outcome.returned

const SECRETS = ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY', 'SMTP_URL'] as const
const KB = 1000
const MB = 1000 * KB

/** Every function, and which secrets leak with it. */
const functions: { name: string; secrets: string[]; startUp?: number }[] = [
  { name: 'register', secrets: ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY'] },
  { name: 'login', secrets: ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY'] },
  { name: 'loginMfa', secrets: ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY'] },
  { name: 'refresh', secrets: ['DB', 'SIGNING_KEYS', 'REFRESH_TOKEN_KEY'] },
  { name: 'session', secrets: ['DB'] },
  { name: 'me', secrets: ['DB'] },
  { name: 'account', secrets: ['DB', 'PEPPER'] },
  { name: 'changePassword', secrets: ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY'] },
  { name: 'mfa', secrets: ['DB', 'PEPPER'] },
  { name: 'email', secrets: ['DB'] },
  { name: 'resetPassword', secrets: ['DB', 'PEPPER'] },
  { name: 'mail', secrets: ['DB', 'SMTP_URL'] },
  { name: 'users', secrets: ['DB'] },
  { name: 'admin', secrets: ['DB'] },
  { name: 'discovery', secrets: [] },
  { name: 'verifyToken', startUp: 100 * KB, secrets: ['DB'] },
]

interface Declared {
  declaration?: Declaration
  routes?: Record<string, { declaration: Declaration }>
}

describe.each(functions)('$name', ({ name, startUp = 2 * MB, secrets }) => {
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

  test('runs on nodejs24.x and arm64, and is given the settings that its handlers declare and no others', async () => {
    const { Runtime, Architectures, Handler, Environment } = propertiesOf(name)
    expect([Runtime, Architectures]).toEqual(['nodejs24.x', ['arm64']])
    const [file, member] = Handler.split('.') as [string, string]
    const { declaration, routes = {} } = ((await import(`../../${file}.ts`)) as Record<string, Declared>)[
      member
    ]!
    const declared = declaration ? [declaration] : Object.values(routes).map((route) => route.declaration)
    const settings = new Set(declared.flatMap((each) => each.settings))
    expect(Object.keys(Environment.Variables).toSorted()).toEqual([...settings].toSorted())
  })

  test(`holds of all secrets ${secrets.join(', ') || 'none'}`, () => {
    const { Variables } = propertiesOf(name).Environment
    const held = SECRETS.filter((secret) => secret in Variables)
    expect(held).toEqual(secrets)
    // Nor are they in a setting of another name.
    const text = JSON.stringify(Variables)
    const { settings } = built
    const values: Record<string, string> = {
      ...settings,
      SIGNING_KEYS: JSON.parse(settings['SIGNING_KEYS']!).keys[0].d as string,
    }
    expect(SECRETS.filter((secret) => text.includes(values[secret]!))).toEqual(secrets)
  })
})

test('there is no other function', () => {
  const packaged = ofType('AWS::Lambda::Function').map(([, { Properties }]) =>
    String(Properties['FunctionName']),
  )
  expect(packaged.toSorted()).toEqual(functions.map(({ name }) => `auth-dev-${name}`).toSorted())
})

test('the zips work together: register, log in, authorize, /me, /users, discovery', async () => {
  const ann = { name: 'Ann', email: 'ann@example.com', password: 'a horse on the moon' }
  expect(await invoke('register', request({ json: ann }))).toMatchObject({ statusCode: 201 })

  const login = await invoke('login', request({ json: { email: ann.email, password: ann.password } }))
  expect(login.statusCode).toBe(200)
  const { token } = JSON.parse(login.body) as { token: string }

  const policy = await authorize(token)
  expect(allows(policy, METHOD_ARN)).toBe(true)
  expect(await authorize(`${token}x`)).toEqual({ error: 'Unauthorized' })

  const me = await invoke('me', request({ authorizer: policy.context as Record<string, string> }))
  expect(JSON.parse(me.body)).toMatchObject({ id: policy.principalId, email: ann.email })

  const users = await invoke('users', request())
  expect(JSON.parse(users.body)).toEqual([expect.objectContaining({ id: policy.principalId, name: 'Ann' })])

  const discover = (file: string) =>
    invoke('discovery', request({ httpMethod: 'GET', resource: `/.well-known/${file}` }))
  expect((await discover('jwks.json')).body).toBe(built.settings['VERIFICATION_KEYS'])
  const configuration = await discover('openid-configuration')
  expect(JSON.parse(configuration.body).issuer).toBe(
    'https://abcdef1234.execute-api.eu-central-1.amazonaws.com/dev',
  )
})

test('the zips work together: a mail is handed over, sent, and its link verifies the email', async () => {
  const bea = { name: 'Bea', email: 'bea@example.com', password: 'a horse on the moon' }
  const smtp = await startSmtp()
  const mail = startContainer(built, 'mail', { DB, SMTP_URL: smtp.url })
  const mailFunction = await startMailFunction((event) => mail.invoke(event))
  const register = startContainer(built, 'register', { DB, MAIL_FUNCTION_URL: mailFunction.url })
  try {
    expect(await register.invoke(request({ json: bea }))).toMatchObject({ returned: { statusCode: 201 } })
    const { from, subject, token } = await smtp.next(bea.email)
    expect({ from, subject }).toEqual({
      from: built.settings['MAIL_FROM'],
      subject: `Confirm your email address for ${built.settings['PRODUCT_NAME']}`,
    })
    const verification = request({ httpMethod: 'POST', resource: '/email/verify', json: { token } })
    expect(await invoke('email', verification)).toMatchObject({ statusCode: 204 })
    const { body } = await invoke('login', request({ json: { email: bea.email, password: bea.password } }))
    const session = JSON.parse(body) as { token: string }
    expect((await authorize(session.token)).context).toMatchObject({ emailVerified: true })
  } finally {
    const printed = await Promise.all([register.stop(), mail.stop()])
    await Promise.all([mailFunction.stop(), smtp.stop()])
    expect(printed.join()).not.toContain(bea.email)
  }
})

test('the zips work together: an app is set up, and a login asks for its code', async () => {
  const cyd = { name: 'Cyd', email: 'cyd@example.com', password: 'a horse on the moon' }
  const post = async (name: string, json: object, authorizer?: Record<string, string>, resource = '') => {
    const event = request({ json, httpMethod: 'POST', resource, ...(authorizer && { authorizer }) })
    const { statusCode, body } = await invoke(name, event)
    return { statusCode, ...JSON.parse(body) } as Record<'token' | 'uri' | 'challenge', string>
  }
  const { token } = await post('register', cyd)
  await onDatabase(DB, (database) =>
    database.collection('users').updateOne({ email: cyd.email }, { $set: { emailVerified: true } }),
  )
  const caller = (await authorize(token)).context as Record<string, string>
  const { uri } = await post('mfa', { currentPassword: cyd.password }, caller, '/me/mfa/totp')
  const totp = URI.parse(uri) as TOTP
  const code = (later: number) => totp.generate({ timestamp: Date.now() + later * 30_000 })
  const confirmed = await post('mfa', { code: code(0) }, caller, '/me/mfa/totp/confirm')
  expect(confirmed).toMatchObject({ statusCode: 200 })

  const login = await post('login', { email: cyd.email, password: cyd.password })
  expect(login).toMatchObject({ statusCode: 401, code: 'mfa_required' })
  expect(await post('loginMfa', { challenge: login.challenge, code: code(1) })).toMatchObject({
    statusCode: 200,
    auth: true,
  })
})

test('the authorizer loads its database client with the first valid token, and not before', async () => {
  const ann = { name: 'Ann', email: 'first-token@example.com', password: 'a horse on the moon' }
  const { body } = await invoke('register', request({ json: ann }))
  const { token } = JSON.parse(body) as { token: string }
  const folder = join(built.folderOf('verifyToken'), '..', 'broken')
  cpSync(built.folderOf('verifyToken'), folder, { recursive: true })
  const [chunk, ...others] = filesOf(folder).filter((file) => file.includes('.Revocations-'))
  expect(others).toEqual([])
  writeFileSync(join(folder, chunk!), 'this is no JavaScript')
  const broken = startContainer({ ...built, folderOf: () => folder }, 'verifyToken', { DB })
  const invalid = await broken.invoke(authorizerEvent(`Bearer ${token}x`))
  const valid = await broken.invoke(authorizerEvent(`Bearer ${token}`))
  await broken.stop()
  expect(answerOf(invalid)).toEqual({ error: 'Unauthorized' })
  expect(answerOf(valid)).toEqual({ error: 'Error: no answer about revocations for 60 seconds' })
})

test('a malformed setting fails every call with a sentence that names it', () => {
  const call = `const { handler } = await import('./auth/VerifyToken.mjs')
await handler({ authorizationToken: 'Bearer a.b.c', methodArn: '${METHOD_ARN}' })`
  const run = spawnSync(process.execPath, ['--input-type=module', '--eval', call], {
    cwd: built.folderOf('verifyToken'),
    encoding: 'utf8',
    env: { ...built.environmentOf('verifyToken'), VERIFICATION_KEYS: '{"keys":[]}' },
  })
  expect(run.status).toBe(1)
  expect(run.stderr).toContain('Setting VERIFICATION_KEYS.keys must contain at least one key.')
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
      expect(JSON.parse(body)).toMatchObject({
        type: 'about:blank',
        status: Properties['StatusCode'],
        requestId: '$context.requestId',
      })
    }
    const [deployment] = ofType('AWS::ApiGateway::Deployment')
    expect(deployment![1].DependsOn).toEqual(expect.arrayContaining(responses.map(([id]) => id)))
  })

  test('lets the functions invoke the one that sends mail, and otherwise write logs', () => {
    const [role, ...others] = ofType('AWS::IAM::Role')
    expect(others).toEqual([])
    const { Policies, ManagedPolicyArns } = role![1].Properties as unknown as {
      Policies: { PolicyDocument: { Statement: { Action: string[] }[] } }[]
      ManagedPolicyArns?: string[]
    }
    expect(ManagedPolicyArns).toBeUndefined()
    const statements = Policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
    expect(statements.filter(({ Action }) => !Action.every((name) => name.startsWith('logs:')))).toEqual([
      {
        Effect: 'Allow',
        Action: ['lambda:InvokeFunction'],
        Resource: {
          'Fn::Sub': 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:auth-dev-mail',
        },
      },
    ])
  })

  test('tells every function that hands mail over, and no other, where the one is that sends it', () => {
    const MAIL_FUNCTION_URL = {
      'Fn::Sub':
        'https://lambda.${AWS::Region}.${AWS::URLSuffix}/2015-03-31/functions/auth-dev-mail/invocations',
    }
    const told = functions.flatMap(({ name }) => {
      const { MAIL_FUNCTION_URL: url } = propertiesOf(name).Environment.Variables
      return url === undefined ? [] : [{ name, url }]
    })
    expect(told).toEqual(
      [
        'register',
        'loginMfa',
        'refresh',
        'account',
        'changePassword',
        'mfa',
        'email',
        'resetPassword',
        'admin',
      ].map((name) => ({
        name,
        url: MAIL_FUNCTION_URL,
      })),
    )
  })

  test('invokes the function that sends mail on no route, and twice more when it fails, for half an hour', () => {
    const ofMail = ofType('AWS::Lambda::EventInvokeConfig').map(([, { Properties }]) => Properties)
    expect(ofMail).toEqual([
      {
        FunctionName: { Ref: 'MailLambdaFunction' },
        Qualifier: '$LATEST',
        MaximumRetryAttempts: 2,
        MaximumEventAgeInSeconds: 1800,
        DestinationConfig: {},
      },
    ])
    const callable = JSON.stringify([
      ...ofType('AWS::ApiGateway::Method'),
      ...ofType('AWS::Lambda::Permission'),
    ])
    expect(callable).toContain('RegisterLambdaFunction')
    expect(callable).not.toContain('MailLambdaFunction')
  })

  test('owns the stage, with its throttle: a deployment that described it would be refused the second time', () => {
    const [id, deployment] = ofType('AWS::ApiGateway::Deployment')[0]!
    expect(deployment.Properties).toEqual({ RestApiId: { Ref: 'ApiGatewayRestApi' } })
    expect(ofType('AWS::ApiGateway::Stage').map(([, { Properties }]) => Properties)).toEqual([
      {
        RestApiId: { Ref: 'ApiGatewayRestApi' },
        DeploymentId: { Ref: id },
        StageName: 'dev',
        MethodSettings: [
          { HttpMethod: '*', ResourcePath: '/*', ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 },
        ],
      },
    ])
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

test('an API that runs in the folder meanwhile keeps its own bundles', async () => {
  // Packaging empties its folder of bundles at its end.
  const { folder, url } = await sharedApi('bareApi')
  expect(built.folder).toBe(folder)
  const json = { name: 'Ann', email: 'after-packaging@example.com', password: 'a horse on the moon' }
  expect((await send(`${url}/register`, { json })).status).toBe(201)
  // No other file calls this one, so its bundle is loaded now.
  const reset = await send(`${url}/password/reset`, { json: { token: 'none', password: json.password } })
  expect(await codeOf(reset)).toBe('invalid_one_time_token')
})

const TOO_MUCH = `Setting LIMITS.loginFailures must be at most 20 in a deployment.
Setting LIMITS.loginsPerEmail must be at most 1000 in a deployment.`

describe('without the settings of a deployment', () => {
  const project = copyProject()
  afterAll(() => project.remove())
  const settings = { ...newSettings(), BCRYPT_COST: '10' }

  test('sls package works and warns', async () => {
    const { said, refusal } = await checkSettings(project.folder, 'package')
    expect(refusal).toBeUndefined()
    expect(said).toContain('Warning: this package cannot be deployed. Missing settings: DB, SIGNING_KEYS')
  })

  test('sls package works and warns of limits that a deployment does not take', async () => {
    const LIMITS = '{"loginFailures":21,"loginsPerEmail":1001,"loginsPerAddress":1000000}'
    const { said, refusal } = await checkSettings(project.folder, 'package', { ...settings, LIMITS })
    expect(refusal).toBeUndefined()
    expect(said).toContain(`Warning: this package cannot be deployed. ${TOO_MUCH}`)
    expect(said).not.toContain('loginsPerAddress must')
    // As the packages here, whose hash cost is one for tests.
    expect(built.output).toContain(
      'Warning: this package cannot be deployed. Setting BCRYPT_COST must be at least 10 in a deployment.',
    )
  })

  const NOTHING =
    'Missing settings: DB, SIGNING_KEYS, PEPPER, REFRESH_TOKEN_KEY, SMTP_URL, MAIL_FROM. Set them in secrets.json (see secrets.example.json) or as environment variables.'

  test('sls deploy says so once, though every function asks for them, and without a stack', async () => {
    const run = sls(project.folder, ['deploy'])
    expect(await run.exit).toBe(1)
    expect(run.output().split(NOTHING)).toHaveLength(2)
    expect(run.output()).not.toMatch(/^\s+at /m)
  })

  test.each([
    { name: 'nothing set', environment: {}, want: NOTHING },
    { name: 'a stage without a DB', environment: { ...settings, DB: '' }, want: 'Missing settings: DB.' },
    {
      name: 'a stage without mail',
      environment: { ...settings, SMTP_URL: '' },
      want: 'Missing settings: SMTP_URL.',
    },
    {
      name: 'limits that guard nothing any more',
      environment: { ...settings, LIMITS: '{"loginFailures":21,"loginsPerEmail":1001}' },
      want: TOO_MUCH,
    },
    {
      name: 'a limit of none',
      environment: { ...settings, LIMITS: '{"loginsPerEmail":0}' },
      want: 'Setting LIMITS.loginsPerEmail must be a whole number from 1 to 1000000. It is read from the environment.',
    },
    {
      name: 'a hash cost for tests',
      environment: { ...settings, BCRYPT_COST: '4' },
      want: 'Setting BCRYPT_COST must be at least 10 in a deployment.',
    },
  ])('sls deploy stops with $name, before it asks AWS for anything', async ({ environment, want }) => {
    const { refusal } = await checkSettings(project.folder, 'deploy', environment)
    expect(refusal?.split(want)).toHaveLength(2)
    expect(refusal).not.toMatch(/^\s+at /m)
  })
})

/**
 * What `sls package` makes of examples/lambda-service: how its routes are authorized, and its handlers in a bare
 * Node with the events of both authorizers.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { APIGatewayProxyResult } from 'aws-lambda'
import { request } from '../../support/events.ts'
import { type Template, unpack } from '../../support/packages.ts'
import { sls } from '../../support/project.ts'
import { claims } from '../support/forge.ts'

const outputs = {
  authorizerArn: 'arn:aws:lambda:eu-central-1:123456789012:function:auth-dev-verifyToken',
  issuer: 'https://auth.test',
  audience: 'https://api.test',
}
const folder = mkdtempSync(join(tmpdir(), 'auth-example-'))
const unpacked = join(folder, 'unpacked')
let template: Template

beforeAll(async () => {
  // On its own, as somebody who copies it out has it.
  cpSync('examples/lambda-service', folder, { recursive: true })
  const run = sls(folder, [
    'package',
    ...Object.entries(outputs).map(([name, value]) => `--param=${name}=${value}`),
  ])
  if ((await run.exit) !== 0) throw new Error(run.output())
  const built = join(folder, '.serverless')
  template = JSON.parse(readFileSync(join(built, 'cloudformation-template-update-stack.json'), 'utf8'))
  unpack(join(built, 'report.zip'), unpacked)
})

afterAll(() => rmSync(folder, { recursive: true }))

const propertiesOf = (id: string) => template.Resources[id]!.Properties

test.each([
  { path: '/whoami', method: 'WhoamiGet', type: 'CUSTOM', authorizer: 'VerifyTokenApiGatewayAuthorizer' },
  { path: '/report', method: 'ReportGet', type: 'CUSTOM', authorizer: 'VerifyTokenApiGatewayAuthorizer' },
  { path: '/jwt/whoami', method: 'JwtWhoamiGet', type: 'JWT', authorizer: 'JwtAuthorizer' },
  { path: '/jwt/report', method: 'JwtReportGet', type: 'JWT', authorizer: 'JwtAuthorizer' },
])('GET $path asks $authorizer', ({ method, type, authorizer }) => {
  expect(propertiesOf(`ApiGatewayMethod${method}`)).toMatchObject({
    AuthorizationType: type,
    AuthorizerId: { Ref: authorizer },
  })
})

test('has no other routes', () => {
  const methods = Object.values(template.Resources).filter(({ Type }) => Type === 'AWS::ApiGateway::Method')
  expect(methods).toHaveLength(4)
})

describe('the authorizer of the API', () => {
  test('is asked for every request', () => {
    const { AuthorizerUri, ...rest } = propertiesOf('VerifyTokenApiGatewayAuthorizer')
    expect(JSON.stringify(AuthorizerUri)).toContain(`"${outputs.authorizerArn}","/invocations"`)
    expect(rest).toMatchObject({
      Type: 'TOKEN',
      IdentitySource: 'method.request.header.Authorization',
      AuthorizerResultTtlInSeconds: 0,
    })
  })

  test('drops what the API itself drops before it', () => {
    const own = /identityValidationExpression: (.+)/.exec(readFileSync('serverless.yml', 'utf8'))![1]
    expect(propertiesOf('VerifyTokenApiGatewayAuthorizer')['IdentityValidationExpression']).toBe(own)
  })

  test('may be invoked by this API and no other', () => {
    const { SourceArn, ...rest } = propertiesOf('VerifyTokenLambdaPermissionApiGateway')
    expect(rest).toEqual({
      FunctionName: outputs.authorizerArn,
      Action: 'lambda:InvokeFunction',
      Principal: 'apigateway.amazonaws.com',
    })
    const {
      'Fn::Join': [, parts],
    } = SourceArn as { 'Fn::Join': [string, object[]] }
    expect(parts.slice(-2)).toEqual([{ Ref: 'ApiGatewayRestApi' }, '/*/*'])
  })
})

test('the JWT authorizer takes ES256 of our issuer alone', () => {
  expect(propertiesOf('JwtAuthorizer')).toEqual({
    RestApiId: { Ref: 'ApiGatewayRestApi' },
    Name: 'jwt',
    Type: 'JWT',
    IdentitySource: 'method.request.header.Authorization',
    JwtConfiguration: {
      DefaultAlgorithms: ['ES256'],
      Issuers: [{ Issuer: outputs.issuer, Audiences: [outputs.audience] }],
    },
  })
})

test('the package is the one file', () => {
  expect(readdirSync(unpacked)).toEqual(['Handler.mjs'])
})

/** Runs a handler once, in a process of its own. */
function invoke(member: string, authorizer?: object): APIGatewayProxyResult | { error: string } {
  const event = request({ authorizer: authorizer as Record<string, string> })
  const runner = join(folder, 'runner.mjs')
  writeFileSync(
    runner,
    `const { ${member} } = await import('./unpacked/Handler.mjs')
const result = await ${member}(${JSON.stringify(event)}).catch((error) => ({ error: String(error) }))
process.stdout.write(JSON.stringify(result))
`,
  )
  const run = spawnSync(process.execPath, [runner], { encoding: 'utf8' })
  if (run.status !== 0) throw new Error(run.stderr)
  return JSON.parse(run.stdout)
}

describe.each([
  {
    name: 'the context of VerifyToken',
    callerWith: (...roles: string[]) => ({ id: 'u1', sessionId: 's1', roles: roles.join(' ') }),
  },
  {
    name: 'the claims of the JWT authorizer',
    callerWith: (...roles: string[]) => ({ claims: claims({ sub: 'u1', sid: 's1', roles }) }),
  },
])('with $name', ({ callerWith }) => {
  test.each([{ roles: ['user'] }, { roles: ['user', 'admin'] }, { roles: [] }])(
    'whoami says who calls with the roles $roles',
    ({ roles }) => {
      const answer = invoke('whoami', callerWith(...roles)) as APIGatewayProxyResult
      expect(answer.statusCode).toBe(200)
      expect(JSON.parse(answer.body)).toEqual({ id: 'u1', sessionId: 's1', roles })
    },
  )

  test.each([
    { roles: ['user'], status: 403 },
    { roles: ['administrator'], status: 403 },
    { roles: [], status: 403 },
    { roles: ['user', 'admin'], status: 200 },
  ])('report answers the roles $roles with $status', ({ roles, status }) => {
    const answer = invoke('report', callerWith(...roles)) as APIGatewayProxyResult
    expect(answer.statusCode).toBe(status)
    expect(answer.headers!['Content-Type']).toBe(
      status === 200 ? 'application/json' : 'application/problem+json',
    )
  })
})

test('claims whose roles are text give no role', () => {
  const answer = invoke('report', { claims: claims({ roles: 'administrator' }) })
  expect(answer).toMatchObject({ statusCode: 403 })
})

test.each(['whoami', 'report'])('%s does not answer without an authorizer', (member) => {
  expect(invoke(member)).toEqual({ error: 'Error: This route has no authorizer.' })
})

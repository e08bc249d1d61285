/**
 * What the plugin adds to the template: roles, throttles, the web ACL, access logs and the gateway's own answers. The
 * plugin runs in this process over serverless.yml and the real handlers.
 */
import { readRoutes, readThrottles } from '../../commands/Routes.ts'
import { gatewayResponses } from '../../plugin/GatewayResponses.ts'
import { SECONDS, throttleClass } from '../../plugin/Throttles.ts'
import { completeTemplate } from '../support/plugin.ts'

const ORIGIN = 'https://app.example.com'
type Resources = Awaited<ReturnType<typeof completeTemplate>>['resources']

const ofType = (resources: Resources, type: string) =>
  Object.entries(resources).filter(([, { Type }]) => Type === type)

/** The statements of a function's role, with actions and resources as text. */
function rightsOf(resources: Resources, role: unknown): string[] {
  const [id] = (role as { 'Fn::GetAtt': [string] })['Fn::GetAtt']
  const { Policies, ManagedPolicyArns } = resources[id]!.Properties as {
    Policies: { PolicyDocument: { Statement: { Effect: string; Action: string[]; Resource: unknown }[] } }[]
    ManagedPolicyArns?: unknown
  }
  expect(ManagedPolicyArns).toBeUndefined()
  return Policies.flatMap(({ PolicyDocument }) =>
    PolicyDocument.Statement.map(
      ({ Effect, Action, Resource }) => `${Effect} ${Action.join(' ')} on ${JSON.stringify(Resource)}`,
    ),
  )
}

const idOf = (name: string) => `${name[0]!.toUpperCase()}${name.slice(1)}`
const logsOf = (name: string) =>
  `Allow logs:CreateLogStream logs:PutLogEvents on {"Fn::GetAtt":["${idOf(name)}LogGroup","Arn"]}`
const MAY_SEND = 'Allow lambda:InvokeFunction on {"Fn::GetAtt":["MailLambdaFunction","Arn"]}'
const MAY_GIVE_UP = 'Allow sqs:SendMessage on {"Fn::GetAtt":["MailDeadLetterQueue","Arn"]}'

describe('roles', () => {
  test('a function that is taken over has its own log group and what its handlers declare, and nothing of the others', async () => {
    const { functions, resources } = await completeTemplate()
    const rights = Object.entries(functions).map(([name, { role }]) => [name, rightsOf(resources, role)])
    expect(Object.fromEntries(rights)).toEqual(
      Object.fromEntries(
        Object.entries(functions).map(([name, { environment = {} }]) => [
          name,
          [
            logsOf(name),
            // test/package/Package.test.ts has the list of those that are told where `mail` is.
            ...('MAIL_FUNCTION_URL' in environment ? [MAY_SEND] : []),
            ...(name === 'mail' ? [MAY_GIVE_UP] : []),
          ],
        ]),
      ),
    )
    for (const name of ['me', 'users', 'discovery', 'verifyToken', 'mail']) {
      expect(rightsOf(resources, functions[name]!.role)).not.toContain(MAY_SEND)
    }
    const roles = Object.values(functions).map(({ role }) => JSON.stringify(role))
    expect(new Set(roles).size).toBe(roles.length)
  })

  test('only Lambda can take a role', async () => {
    const { resources } = await completeTemplate()
    const roles = ofType(resources, 'AWS::IAM::Role')
    expect(roles.length).toBeGreaterThan(10)
    for (const [, { Properties }] of roles) {
      expect(Properties['AssumeRolePolicyDocument']).toMatchObject({
        Statement: [
          { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'lambda.amazonaws.com' } },
        ],
      })
    }
  })

  test('a mail that cannot be sent is kept for two weeks, encrypted', async () => {
    const { functions, resources } = await completeTemplate()
    expect(functions['mail']!.destinations).toEqual({
      onFailure: { type: 'sqs', arn: { 'Fn::GetAtt': ['MailDeadLetterQueue', 'Arn'] } },
    })
    expect(ofType(resources, 'AWS::SQS::Queue')).toEqual([
      [
        'MailDeadLetterQueue',
        {
          Type: 'AWS::SQS::Queue',
          Properties: { MessageRetentionPeriod: 1_209_600, SqsManagedSseEnabled: true },
        },
      ],
    ])
  })

  test.each([
    { name: 'all functions', provider: { vpc: { subnetIds: [] } }, vpc: undefined, inside: ['me', 'login'] },
    { name: 'one function', provider: {}, vpc: { subnetIds: [] }, inside: ['me'] },
  ])('$name in a VPC may create network interfaces', async ({ provider, vpc, inside }) => {
    const { functions, resources } = await completeTemplate({
      provider,
      change: (all) => vpc && (all['me']!.vpc = vpc),
    })
    for (const name of ['me', 'login']) {
      const network = rightsOf(resources, functions[name]!.role).filter((right) => right.includes('ec2:'))
      expect(network).toHaveLength(inside.includes(name) ? 1 : 0)
    }
  })

  test('a role of one’s own in serverless.yml stays, and so does that of a function without declarations', async () => {
    const role = 'arn:aws:iam::123456789012:role/own'
    const { functions, resources } = await completeTemplate({
      change: (all) => {
        all['me']!.role = role
        all['own'] = { handler: 'jobs/report.main' }
      },
    })
    expect(functions['me']!.role).toBe(role)
    expect(functions['own']).toEqual({ handler: 'jobs/report.main' })
    expect(Object.keys(resources)).not.toContain('MeRole')
    expect(Object.keys(resources)).not.toContain('OwnRole')
  })

  test('`sls deploy function` changes no role', async () => {
    const { functions } = await completeTemplate({ subcommand: 'function' })
    expect(functions['me']).toHaveProperty('environment')
    for (const config of Object.values(functions)) expect(config).not.toHaveProperty('role')
  })
})

/** Concurrent executions of an AWS account, unless it asks for more. */
const CONCURRENCY = 1000

describe('throttles', () => {
  const throttles = readThrottles()
  const settings = async () => {
    const { resources } = await completeTemplate()
    return resources['ApiGatewayStage']!.Properties['MethodSettings'] as Record<string, unknown>[]
  }

  test('one client that fills the throttle of a route turns off no other: each has its own, and its class', async () => {
    const throttled = (method: string, path: string, { rateLimit, burstLimit }: typeof throttles.public) => ({
      HttpMethod: method,
      ResourcePath: path,
      ThrottlingRateLimit: rateLimit,
      ThrottlingBurstLimit: burstLimit,
    })
    const all = await settings()
    expect(all).toHaveLength(readRoutes().length + 1)
    expect(all).toEqual(
      expect.arrayContaining([
        throttled('*', '/*', throttles.public),
        throttled('POST', '/~1login', throttles.hashing),
        throttled('POST', '/~1register', throttles.hashing),
        throttled('POST', '/~1password~1reset', throttles.hashing),
        throttled('DELETE', '/~1me', throttles.hashing),
        throttled('POST', '/~1refresh', throttles.public),
        throttled('GET', '/~1.well-known~1jwks.json', throttles.public),
        throttled('GET', '/~1me', throttles.protected),
        throttled('DELETE', '/~1me~1sessions~1{id}', throttles.protected),
      ]),
    )
  })

  test('an address that the web ACL lets through uses at most a fifth of any route', () => {
    const rates = [throttles.hashing, throttles.public, throttles.protected].map((each) => each.rateLimit)
    expect(throttles.perAddress / 60).toBeLessThanOrEqual(Math.min(...rates) / 5)
  })

  test('all routes at their throttles together leave Lambda something', () => {
    const busy = readRoutes().reduce((sum, { declaration }) => {
      const name = throttleClass(declaration)
      return sum + throttles[name].rateLimit * SECONDS[name]
    }, 0)
    expect(busy).toBeGreaterThan(0)
    expect(busy).toBeLessThan(CONCURRENCY)
  })
})

describe('the web ACL', () => {
  test.each([
    { stage: 'dev', WAF: undefined, want: 0 },
    { stage: 'dev', WAF: 'on', want: 1 },
    { stage: 'prod', WAF: undefined, want: 1 },
    { stage: 'prod', WAF: 'on', want: 1 },
    { stage: 'prod', WAF: 'off', want: 0 },
  ])('WAF=$WAF on the stage $stage: $want', async ({ stage, WAF, want }) => {
    const { resources } = await completeTemplate({ stage, environment: WAF ? { WAF } : {} })
    expect(ofType(resources, 'AWS::WAFv2::WebACL')).toHaveLength(want)
    expect(ofType(resources, 'AWS::WAFv2::WebACLAssociation')).toHaveLength(want)
  })

  test('an address that floods the stage gets a 429 of ours, and nobody sees its tokens', async () => {
    const { resources } = await completeTemplate({ environment: { WAF: 'on' } })
    const { Properties } = resources['WebAcl']!
    const { Rules, CustomResponseBodies, ...acl } = Properties as {
      Rules: {
        Statement: object
        Action: { Block: { CustomResponse: Record<string, unknown> } }
        VisibilityConfig: object
      }[]
      CustomResponseBodies: Record<string, { ContentType: string; Content: string }>
    } & Record<string, unknown>
    expect(acl).toMatchObject({
      Scope: 'REGIONAL',
      DefaultAction: { Allow: {} },
      VisibilityConfig: { SampledRequestsEnabled: false },
    })
    const [rule, ...others] = Rules
    expect(others).toEqual([])
    expect(rule!.Statement).toEqual({
      RateBasedStatement: { AggregateKeyType: 'IP', Limit: 600, EvaluationWindowSec: 60 },
    })
    expect(rule!.VisibilityConfig).toMatchObject({ SampledRequestsEnabled: false })
    const { ResponseHeaders, ...response } = rule!.Action.Block.CustomResponse
    expect(response).toEqual({ ResponseCode: 429, CustomResponseBodyKey: 'too_many_requests' })
    // AWS WAF refuses a Content-Type of one's own.
    expect(ResponseHeaders).toEqual([
      { Name: 'Cache-Control', Value: 'no-store' },
      { Name: 'Access-Control-Allow-Origin', Value: ORIGIN },
      { Name: 'Access-Control-Allow-Credentials', Value: 'true' },
      { Name: 'Access-Control-Expose-Headers', Value: 'Link, Retry-After, WWW-Authenticate' },
      { Name: 'Retry-After', Value: '60' },
    ])
    expect(Object.keys(CustomResponseBodies)).toEqual(['too_many_requests'])
    const { ContentType, Content } = CustomResponseBodies['too_many_requests']!
    expect([ContentType, JSON.parse(Content)]).toEqual([
      'APPLICATION_JSON',
      {
        type: 'about:blank',
        title: 'Too Many Requests',
        status: 429,
        detail: 'Too many requests. Try again in a moment.',
        code: 'too_many_requests',
      },
    ])
  })
})

describe('access logs', () => {
  test.each([
    { environment: {}, name: 'nothing set' },
    { environment: { ACCESS_LOGS: 'off' }, name: 'ACCESS_LOGS=off' },
  ])('with $name, there are none, and the account stays as it is', async ({ environment }) => {
    const { resources } = await completeTemplate({ stage: 'prod', environment })
    expect(resources['ApiGatewayStage']!.Properties).not.toHaveProperty('AccessLogSetting')
    expect(ofType(resources, 'AWS::Logs::LogGroup')).toEqual([])
    expect(ofType(resources, 'AWS::ApiGateway::Account')).toEqual([])
  })

  test('with ACCESS_LOGS=on, a line names the route and no id, token or text of the client', async () => {
    const { resources } = await completeTemplate({ environment: { ACCESS_LOGS: 'on' } })
    const { AccessLogSetting } = resources['ApiGatewayStage']!.Properties as {
      AccessLogSetting: { DestinationArn: object; Format: string }
    }
    expect(AccessLogSetting.DestinationArn).toEqual({ 'Fn::GetAtt': ['AccessLogs', 'Arn'] })
    expect(JSON.parse(AccessLogSetting.Format)).toEqual({
      requestId: '$context.requestId',
      time: '$context.requestTimeEpoch',
      address: '$context.identity.sourceIp',
      method: '$context.httpMethod',
      route: '$context.resourcePath',
      status: '$context.status',
      gatewayResponse: '$context.error.responseType',
      latency: '$context.responseLatency',
      functionLatency: '$context.integrationLatency',
    })
    expect(AccessLogSetting.Format).not.toContain('\n')
  })

  test('the log and the role of the account outlive the stack, and a new stack can have its own beside them', async () => {
    const { resources } = await completeTemplate({ environment: { ACCESS_LOGS: 'on' } })
    for (const id of ['AccessLogs', 'ApiGatewayLogsRole', 'ApiGatewayAccount']) {
      expect(resources[id]).toMatchObject({ DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' })
    }
    expect(resources['AccessLogs']!.Properties).toEqual({ RetentionInDays: 30 })
    expect(resources['ApiGatewayLogsRole']!.Properties).not.toHaveProperty('RoleName')
    expect(resources['ApiGatewayAccount']!.Properties).toEqual({
      CloudWatchRoleArn: { 'Fn::GetAtt': ['ApiGatewayLogsRole', 'Arn'] },
    })
    expect(resources['ApiGatewayStage']!.DependsOn).toEqual(['ApiGatewayAccount'])
  })
})

describe('the gateway’s own answers', () => {
  const all = Object.values(gatewayResponses('*')).map(({ Properties }) => Properties)
  const find = (type: string) => all.find(({ ResponseType }) => ResponseType === type)!

  test.each([
    { type: 'INTEGRATION_FAILURE', status: 504, code: 'gateway_timeout' },
    { type: 'INTEGRATION_TIMEOUT', status: 504, code: 'gateway_timeout' },
    { type: 'API_CONFIGURATION_ERROR', status: 500, code: 'internal' },
    // Of a function that crashed or answered in another format: 502 is the one 5xx that has no type of its own.
    { type: 'DEFAULT_5XX', status: 502, code: 'bad_gateway' },
  ])('$type keeps its status $status, and says it in the body', ({ type, status, code }) => {
    const { StatusCode, ResponseTemplates } = find(type)
    expect(StatusCode).toBe(status)
    expect(JSON.parse(ResponseTemplates['application/json'])).toMatchObject({ status, code })
  })

  test('no answer quotes the request or API Gateway’s own sentence, which can hold a digest of the Authorization header', () => {
    for (const { ResponseTemplates, ResponseParameters } of all) {
      const text = JSON.stringify([ResponseTemplates, ResponseParameters])
      expect(text.match(/\$?(context|method|stageVariables)\.[\w.]+/g)).toEqual(['$context.requestId'])
    }
  })
})

/**
 * What the plugin adds to the template: roles and the gateway's own answers. The
 * plugin runs in this process over serverless.yml and the real handlers.
 */
import { gatewayResponses } from '../../plugin/GatewayResponses.ts'
import { completeTemplate } from '../support/plugin.ts'

/** Those that hand mail over. */
const SENDERS = ['register', 'loginMfa', 'account', 'changePassword', 'mfa', 'email', 'resetPassword']

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
        Object.keys(functions).map((name) => [
          name,
          [
            logsOf(name),
            ...(SENDERS.includes(name) ? [MAY_SEND] : []),
            ...(name === 'mail' ? [MAY_GIVE_UP] : []),
          ],
        ]),
      ),
    )
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

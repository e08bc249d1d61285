/**
 * What a deployment refuses although it is well-formed: what would give up the encryption that the documents promise.
 */
import type { SettingName } from '../../api/Settings.ts'
import { deploymentErrors } from '../../plugin/DeployedSettings.ts'

const errorsOf = (given: Partial<Record<SettingName, string>>) => deploymentErrors((name) => given[name])

const TLS = 'Setting DB must use TLS in a deployment: add tls=true, or use mongodb+srv://.'
const CERTIFICATE =
  'Setting DB must check the certificate of the database in a deployment: remove tlsInsecure and tlsAllowInvalid...'

test.each([
  { name: 'without TLS', DB: 'mongodb://user:hunter2@db.test/auth', want: TLS },
  { name: 'with TLS turned off', DB: 'mongodb://db.test/auth?ssl=false', want: TLS },
  { name: 'of a cluster with TLS turned off', DB: 'mongodb+srv://cluster.db.test/auth?tls=false', want: TLS },
  { name: 'of which one host is elsewhere', DB: 'mongodb://127.0.0.1,db.test/auth?replicaSet=rs', want: TLS },
  { name: 'at a name that begins like this machine', DB: 'mongodb://localhost.db.test/auth', want: TLS },
  { name: 'in a private network', DB: 'mongodb://10.0.0.7/auth', want: TLS },
  { name: 'tlsInsecure', DB: 'mongodb://db.test/auth?tls=true&tlsInsecure=true', want: CERTIFICATE },
  { name: 'TLSINSECURE', DB: 'mongodb+srv://cluster.db.test/auth?TLSINSECURE=true', want: CERTIFICATE },
  {
    name: 'tlsAllowInvalidCertificates',
    DB: 'mongodb://db.test/auth?tls=true&tlsAllowInvalidCertificates=true',
    want: CERTIFICATE,
  },
  {
    name: 'tlsAllowInvalidHostnames',
    DB: 'mongodb+srv://cluster.db.test/auth?tlsAllowInvalidHostnames=true',
    want: CERTIFICATE,
  },
])('a deployment refuses a database $name', async ({ DB, want }) => {
  expect(await errorsOf({ DB })).toEqual([want])
})

test.each([
  'mongodb+srv://user:hunter2@cluster.db.test/auth?retryWrites=true',
  'mongodb://db.test/auth?tls=true',
  'mongodb://db.test/auth?ssl=true&tlsInsecure=false',
  'mongodb://127.0.0.1:27017/auth',
  'mongodb://localhost,[::1]:27018/auth?replicaSet=rs',
  'mongodb://127.0.0.1/auth?tls=true&tlsInsecure=true',
  'mongodb://%2Ftmp%2Fmongodb-27017.sock/auth',
])('a deployment accepts the database %s', async (DB) => {
  expect(await errorsOf({ DB })).toEqual([])
})

describe.each(['ISSUER', 'APP_URL', 'CORS_ORIGIN'] as const)('%s', (name) => {
  test.each(['http://app.example.com', 'http://127.0.0.1.example.com'])(
    'a deployment refuses %s, which anybody on the way can change',
    async (url) => {
      expect(await errorsOf({ [name]: url })).toEqual([
        `Setting ${name} must start with https:// in a deployment.`,
      ])
    },
  )

  test.each([
    'https://app.example.com',
    'http://localhost:5173',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
  ])('a deployment accepts %s', async (url) => {
    expect(await errorsOf({ [name]: url })).toEqual([])
  })
})

test('a deployment accepts pages of any origin', async () => {
  expect(await errorsOf({ CORS_ORIGIN: '*' })).toEqual([])
})

test.each([
  { parameter: 'requireTLS=false', name: 'requireTLS' },
  { parameter: 'pool=true&ignoreTLS=true', name: 'ignoreTLS' },
  { parameter: 'opportunisticTLS=true', name: 'opportunisticTLS' },
  { parameter: 'tls.rejectUnauthorized=false', name: 'tls.rejectUnauthorized' },
  { parameter: 'tls.%72ejectUnauthorized=false', name: 'tls.rejectUnauthorized' },
])(
  'a deployment refuses $parameter, with which mail would go out in clear text or to a stranger',
  async ({ parameter, name }) => {
    expect(await errorsOf({ SMTP_URL: `smtp://user:hunter2@smtp.test?${parameter}` })).toEqual([
      `Setting SMTP_URL must not set ${name} in a deployment: mail is always encrypted.`,
    ])
  },
)

test.each(['smtp://smtp.test', 'smtps://smtp.test/?name=auth.test', 'smtp://127.0.0.1:2525?ignoreTLS=true'])(
  'a deployment accepts the mail server %s',
  async (SMTP_URL) => {
    expect(await errorsOf({ SMTP_URL })).toEqual([])
  },
)

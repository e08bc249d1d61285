/**
 * The project's own Serverless plugin: gives serverless.yml its `${setting:NAME}` variables, checks them before
 * anything starts or deploys, records in the secrets file which keys a deployment has, and gives `sls offline` what
 * it needs on a laptop: secrets, a database, free ports.
 */
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { KeyRing } from '../auth/Tokens.ts'
import { limits, parseSetting, schema, type SettingName } from '../api/Settings.ts'
import {
  imitateGatewayResponses,
  type Lambda,
  type Server,
  failLikeLambda,
} from '../local/GatewayResponses.ts'
import { completeFunctions, type FunctionConfig } from './Functions.ts'
import { type GatewayResponse, gatewayResponses } from './GatewayResponses.ts'
import { recordDeployment } from './Keys.ts'
import { DATABASE_NAME, LOCAL_FOLDER, startDatabase } from '../local/Database.ts'
import { freePort, isFree } from '../local/Ports.ts'
import { DEPLOYED_ONLY, generateSecrets, LOCAL_STAGE, Secrets, updateKeyRing } from './Secrets.ts'

/** What is used of the Serverless Framework; it has no types of its own. */
interface Serverless {
  serviceDir: string
  processedInput: { commands: string[] }
  classes: { Error: new (message: string, code: string) => Error }
  service: {
    provider: {
      stage: string
      compiledCloudFormationTemplate?: { Resources: Record<string, Resource> }
    }
    package: { path?: string }
    custom: {
      'serverless-offline': Record<string, unknown>
      esbuild: Record<string, unknown>
      mailFunction: string
      settings: Record<string, unknown>
      cors: { origin: string }
      throttle: { rateLimit: number; burstLimit: number }
    }
    functions: Record<string, FunctionConfig>
    resources: { Resources?: Record<string, GatewayResponse> }
  }
}

interface Resource {
  Type: string
  DependsOn?: string[]
  Properties: Record<string, unknown>
}

interface Resolver {
  address: string
  resolveVariable: (name: string) => Promise<string>
}

/** The id that serverless-offline gives to the API in the ARNs of its events. */
const OFFLINE_API_ID = 'random-api-id'

/** bcrypt below this is for tests (OWASP Password Storage Cheat Sheet). */
const LEAST_DEPLOYED_COST = 10

export class LocalPlugin {
  readonly #serverless: Serverless
  readonly #options: Record<string, unknown>
  readonly #write: (text: string) => void
  #secrets: Secrets | undefined
  /** Loads a TypeScript module; plugin.mjs replaces it where Node cannot. */
  load: (file: string) => Record<string, unknown> = createRequire(import.meta.url)

  readonly configurationVariablesSources = {
    setting: {
      resolve: async ({ address, resolveVariable }: Resolver) => {
        if (!(address in schema))
          throw this.#error(`serverless.yml asks for the setting ${address}, which is unknown.`)
        const stage = await resolveVariable('sls:stage')
        try {
          return { value: this.#read(stage).get(address as SettingName) ?? null }
        } catch {
          // Asked for forty times, it would be said forty times; the commands that need the settings say it once.
          return { value: null }
        }
      },
    },
  }

  readonly hooks = {
    initialize: () => {
      this.#completeService()
      this.#keepBundlesApart()
    },
    'before:package:initialize': () => this.#checkSettings(),
    'before:deploy:function:initialize': () => this.#checkSettings(),
    'after:aws:package:finalize:mergeCustomProviderResources': () => this.#completeStage(),
    'after:deploy:deploy': () => this.#recordKeys(),
    // `sls offline` and `sls offline start`.
    'before:offline:start': () => this.#prepareOffline(),
    'before:offline:start:init': () => this.#prepareOffline(),
  }

  constructor(
    serverless: Serverless,
    options: Record<string, unknown>,
    { writeText }: { writeText: (text: string) => void },
  ) {
    this.#serverless = serverless
    this.#options = options
    this.#write = writeText
  }

  get #command(): string {
    return this.#serverless.processedInput.commands[0] ?? ''
  }

  #read(stage: string): Secrets {
    const folder = this.#serverless.serviceDir
    if (this.#secrets) return this.#secrets
    const secrets = new Secrets(folder, stage, process.env)
    // Only a laptop makes its own: a deployment with new keys would sign everybody out, and with a new pepper no
    // password would match any more.
    const local = this.#command === 'offline' && stage === LOCAL_STAGE
    const incomplete = secrets.missing().some((name) => !DEPLOYED_ONLY.includes(name))
    if (local && incomplete && generateSecrets(folder)) {
      this.#write('Made new local secrets in secrets.json (git-ignored; keep it: passwords depend on it).')
      this.#secrets = new Secrets(folder, stage, process.env)
    }
    return (this.#secrets ??= secrets)
  }

  /** Everything that follows from the code and so stands nowhere in serverless.yml. */
  #completeService(): void {
    const { service, serviceDir } = this.#serverless
    const { settings, cors } = service.custom
    try {
      completeFunctions(service.functions, settings, cors, (file) =>
        this.load(join(serviceDir, `${file}.ts`)),
      )
    } catch (error) {
      throw this.#error((error as Error).message)
    }
    Object.assign((service.resources.Resources ??= {}), gatewayResponses(settings['CORS_ORIGIN'] as string))
  }

  /** Packaging empties its folder of bundles at its end; an API that runs here meanwhile must not lose its own. */
  #keepBundlesApart(): void {
    if (this.#command !== 'offline') return
    this.#serverless.service.custom.esbuild['outputWorkFolder'] = join('.dev', 'bundles')
  }

  /** Stops before anything is deployed with settings that cannot work; `sls package` only warns of them. */
  async #checkSettings(): Promise<void> {
    const secrets = await this.#orError(() => this.#read(this.#serverless.service.provider.stage))
    const missing = secrets.missing()
    const wrong = [
      missing.length > 0 && missingSettings(missing, secrets.file, ' or as environment variables'),
      Number(secrets.get('BCRYPT_COST') ?? LEAST_DEPLOYED_COST) < LEAST_DEPLOYED_COST &&
        `Setting BCRYPT_COST must be at least ${LEAST_DEPLOYED_COST} in a deployment.`,
      ...limitErrors(secrets.get('LIMITS')),
      await connectionStringError(secrets.get('DB')),
    ].filter((sentence) => typeof sentence === 'string')
    if (wrong.length === 0) return
    if (this.#command === 'deploy') throw this.#error(wrong.join('\n'))
    this.#write(`Warning: this package cannot be deployed. ${wrong.join('\n')}`)
  }

  /**
   * Makes the stage a resource of its own, with its throttle: a Deployment can describe a stage only while there is none,
   * and the framework makes a new Deployment each time. And has it deployed after the gateway responses: it takes those
   * that are there.
   */
  #completeStage(): void {
    const { provider, custom } = this.#serverless.service
    const resources = provider.compiledCloudFormationTemplate?.Resources ?? {}
    const ofType = (type: string) => Object.keys(resources).filter((id) => resources[id]!.Type === type)
    for (const id of ofType('AWS::ApiGateway::Deployment')) {
      const { DependsOn = [], Properties } = resources[id]!
      resources[id]!.DependsOn = [...DependsOn, ...ofType('AWS::ApiGateway::GatewayResponse')]
      const { StageName, ...deployment } = Properties
      resources[id]!.Properties = deployment
      resources['ApiGatewayStage'] = {
        Type: 'AWS::ApiGateway::Stage',
        Properties: {
          RestApiId: deployment['RestApiId'],
          DeploymentId: { Ref: id },
          StageName,
          MethodSettings: [
            {
              HttpMethod: '*',
              ResourcePath: '/*',
              ThrottlingRateLimit: custom.throttle.rateLimit,
              ThrottlingBurstLimit: custom.throttle.burstLimit,
            },
          ],
        },
      }
    }
  }

  /** Keeps in the secrets file since when a key is published and signs; `npm run keys` goes by that. */
  #recordKeys(): void {
    const { service, serviceDir } = this.#serverless
    // Keys of the environment are not in the file, and a package that was made before may hold others than it has now.
    if (process.env['SIGNING_KEYS'] || this.#options['package'] || service.package.path) return
    const secrets = this.#read(service.provider.stage)
    // Read before the deployment: a key that was added to the file meanwhile is not in it.
    const deployed = JSON.parse(secrets.get('VERIFICATION_KEYS')!) as KeyRing
    try {
      updateKeyRing(serviceDir, secrets.file, (keyRing) => recordDeployment(keyRing, deployed, new Date()))
    } catch (error) {
      this.#write(
        `Warning: which keys are deployed is not recorded in ${secrets.file}. ${(error as Error).message}`,
      )
    }
  }

  async #prepareOffline(): Promise<void> {
    const { service, serviceDir } = this.#serverless
    const secrets = await this.#orError(() => this.#read(service.provider.stage))
    const sends = secrets.get('SMTP_URL') !== undefined
    const missing = secrets
      .missing()
      .filter((name) => !DEPLOYED_ONLY.includes(name) || (sends && name === 'MAIL_FROM'))
    if (missing.length > 0) {
      const way =
        secrets.file === 'secrets.json'
          ? ', or move it away, and the next start makes one with new keys'
          : `, or make it with new keys: npm run secrets -- ${service.provider.stage}`
      throw this.#error(missingSettings(missing, secrets.file, way))
    }
    const wrong = await connectionStringError(secrets.get('DB'))
    if (wrong) throw this.#error(wrong)
    if (process.env['npm_lifecycle_event'] === 'start') endWithParent()

    const offline = service.custom['serverless-offline']
    const host = (this.#options['host'] ?? offline['host'] ?? 'localhost') as string
    const port = Number(this.#options['httpPort'] ?? offline['httpPort'])
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw this.#error(`--httpPort must be a whole number from 1 to 65535.`)
    }
    if (!(await isFree(host, port))) {
      throw this.#error(
        `Port ${port} is taken. Stop what uses it, or choose another: npm start -- --httpPort 4000`,
      )
    }
    // Nobody calls this one by hand, so any free port does and a second copy finds one as well.
    const lambdaPort = Number(this.#options['lambdaPort'] ?? (offline['lambdaPort'] = await freePort(host)))
    const mailFunction = service.custom.mailFunction
    const url = `http://${host}:${port}`

    await this.#answerLikeApiGateway(url, secrets.get('CORS_ORIGIN') ?? '*')

    const local: Partial<Record<SettingName, string>> = {
      API_ID: OFFLINE_API_ID,
      MAIL_FUNCTION_URL: `http://${host}:${lambdaPort}/2015-03-31/functions/${mailFunction}/invocations`,
      ...(!secrets.get('APP_URL') && !secrets.get('ISSUER') && { APP_URL: url }),
      ...(!secrets.get('ISSUER') && { ISSUER: url }),
      ...(!secrets.get('ISSUER') && !secrets.get('AUDIENCE') && { AUDIENCE: url }),
      ...(!secrets.get('DB') && { DB: await this.#startDatabase(join(serviceDir, LOCAL_FOLDER)) }),
    }
    for (const { environment = {} } of Object.values(service.functions)) {
      for (const [name, value] of Object.entries(local)) if (name in environment) environment[name] = value
    }
    if (!sends) this.#keepMails(join(serviceDir, '.dev', 'mail'))
  }

  /** Without a mail server, mails are files, and their links are printed. */
  #keepMails(folder: string): void {
    const { environment = {} } = this.#serverless.service.functions['mail'] ?? {}
    // Nothing is sent, so these need not be set.
    delete environment['SMTP_URL']
    delete environment['MAIL_FROM']
    environment['MAIL_FOLDER'] = folder
  }

  async #startDatabase(folder: string): Promise<string> {
    const { uri } = await this.#orError(() => startDatabase(this.#write, folder))
    this.#write(`MongoDB is at ${uri}, its data in ${relative(process.cwd(), folder)}.`)
    return `${uri}/${DATABASE_NAME}`
  }

  /** serverless-offline offers no way to its server, so its one public method is wrapped. */
  async #answerLikeApiGateway(url: string, corsOrigin: string): Promise<void> {
    const main = pathToFileURL(createRequire(import.meta.url).resolve('serverless-offline'))
    const load = async (file: string): Promise<unknown> => import(new URL(file, main).href)
    const { default: HttpServer } = (await load('./events/http/HttpServer.js')) as {
      default: { prototype: { createServer: () => Promise<void>; getServer: () => Server } }
    }
    const { default: LambdaFunction } = (await load('./lambda/LambdaFunction.js')) as {
      default: { prototype: Lambda }
    }
    failLikeLambda(LambdaFunction.prototype)
    const responses = Object.values(this.#serverless.service.resources.Resources ?? {}).filter(
      ({ Type }) => Type === 'AWS::ApiGateway::GatewayResponse',
    )
    const serving = () => {
      // Another stage is deployed elsewhere; here it is only tried.
      if (this.#serverless.service.provider.stage === LOCAL_STAGE) this.#recordKeys()
      this.#write(tour(url))
    }
    const { createServer: createOriginal } = HttpServer.prototype
    HttpServer.prototype.createServer = async function (this: { getServer: () => Server }) {
      await createOriginal.call(this as never)
      imitateGatewayResponses(this.getServer(), responses, corsOrigin)
      this.getServer().events.on('start', () => setImmediate(serving))
    }
  }

  #error = (message: string) => new this.#serverless.classes.Error(message, 'LOCAL_PLUGIN')

  /** Our sentences are for the user: without this the framework would print them with a stack. */
  async #orError<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      throw this.#error((error as Error).message)
    }
  }
}

const missingSettings = (names: string[], file: string, otherWay: string) =>
  `Missing settings: ${names.join(', ')}. Set them in ${file} (see secrets.example.json)${otherWay}.`

/** Limits that would be none any more. */
const limitErrors = (text = '{}'): string[] =>
  Object.entries(parseSetting('LIMITS', text)).flatMap(([name, value]) => {
    const most = limits[name as keyof typeof limits][1]
    return value > most ? [`Setting LIMITS.${name} must be at most ${most} in a deployment.`] : []
  })

/** What the driver has against a connection string; it knows more than the schema of the setting. */
async function connectionStringError(uri: string | undefined): Promise<string | undefined> {
  if (!uri) return undefined
  const { mongo } = (await import('mongoose')).default
  try {
    // Parses, and connects to nothing.
    void new mongo.MongoClient(uri)
    return undefined
  } catch (error) {
    const { message } = error as Error
    // Some of its sentences quote the string, which holds a password.
    return `Setting DB is not a valid connection string${message.includes('://') ? '' : `: ${message}`}.`
  }
}

/** npm does not pass a SIGTERM on: it ends its shell, and we would stay behind with the port and the data. */
function endWithParent(): void {
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) process.kill(process.pid, 'SIGTERM')
  }, 500).unref()
}

/** Three lines to paste; the e-mail is a new one each time, since the data survive a restart. */
function tour(url: string): string {
  const account = `"email":"ann-${randomBytes(3).toString('hex')}@example.com","password":"a horse on the moon"`
  const json = `-H 'Content-Type: application/json'`
  const login = `curl -s ${url}/login ${json} -d '{${account}}'`
  return `
The API is at ${url}. Three lines to paste in another terminal (register, me, users):

  curl ${url}/register ${json} -d '{"name":"Ann",${account}}'
  curl ${url}/me -H "Authorization: Bearer $(${login} | sed 's/.*"token":"\\([^"]*\\).*/\\1/')"
  curl ${url}/users
`
}

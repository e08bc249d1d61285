/**
 * The project's own Serverless plugin: gives serverless.yml its `${setting:NAME}` variables, checks them before
 * anything starts or deploys, completes the template, records in the secrets file which keys a deployment has, and
 * prepares `sls offline`.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { KeyRing } from '../auth/Tokens.ts'
import { limits, parseSetting, schema, type SettingName } from '../api/Settings.ts'
import {
  bundleForOffline,
  type Log,
  type OfflineService,
  prepareOffline,
  restUntilNextBuild,
} from '../local/Offline.ts'
import { completeFunctions, type FunctionConfig } from './Functions.ts'
import { gatewayResponses } from './GatewayResponses.ts'
import { recordDeployment } from './Keys.ts'
import { DEPLOYED_ONLY, generateSecrets, LOCAL_STAGE, Secrets, updateKeyRing } from './Secrets.ts'
import { completeStage, type Resource } from './Template.ts'

/** What is used of the Serverless Framework; it has no types of its own. */
interface Serverless {
  serviceDir: string
  processedInput: { commands: string[] }
  classes: { Error: new (message: string, code: string) => Error }
  service: OfflineService & {
    provider: {
      stage: string
      compiledCloudFormationTemplate?: { Resources: Record<string, Resource> }
    }
    package: { path?: string }
    custom: {
      throttle: { rateLimit: number; burstLimit: number }
      settings: Record<string, unknown>
      cors: { origin: string }
    }
    functions: Record<string, FunctionConfig>
  }
}

interface Resolver {
  address: string
  resolveVariable: (name: string) => Promise<string>
}

/** bcrypt below this is for tests (OWASP Password Storage Cheat Sheet). */
const LEAST_DEPLOYED_COST = 10

export class AuthPlugin {
  readonly #serverless: Serverless
  readonly #options: Record<string, unknown>
  readonly #write: (text: string) => void
  readonly #log: Log
  #secrets: Secrets | undefined
  #readyOffline = async (): Promise<void> => undefined
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
    initialize: () => this.#initialize(),
    'before:package:initialize': () => this.#checkSettings(),
    'before:deploy:function:initialize': () => this.#checkSettings(),
    'after:aws:package:finalize:mergeCustomProviderResources': () => this.#completeStage(),
    'after:deploy:deploy': () => this.#recordKeys(),
    // `sls offline` and `sls offline start`.
    'before:offline:start': () => this.#prepareOffline(),
    'before:offline:start:init': () => this.#prepareOffline(),
    // Before serverless-offline's own, and after the bundles are made.
    'offline:start': () => this.#orError(this.#readyOffline),
    'offline:start:init': () => this.#orError(this.#readyOffline),
    'offline:functionsUpdated:cleanup': () => restUntilNextBuild(),
  }

  constructor(
    serverless: Serverless,
    options: Record<string, unknown>,
    { writeText, log }: { writeText: (text: string) => void; log: Log },
  ) {
    this.#serverless = serverless
    this.#options = options
    this.#write = writeText
    this.#log = log
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

  /** Everything that changes the service before the framework and its other plugins read it. */
  async #initialize(): Promise<void> {
    const { service, serviceDir } = this.#serverless
    const { settings, cors } = service.custom
    await this.#orError(() =>
      completeFunctions(service.functions, settings, cors, (file) =>
        this.load(join(serviceDir, `${file}.ts`)),
      ),
    )
    service.resources = {
      ...service.resources,
      Resources: { ...service.resources?.Resources, ...gatewayResponses(cors.origin) },
    }
    if (this.#command === 'offline') bundleForOffline(this.#serverless.service.custom.esbuild)
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

  #completeStage(): void {
    const { provider, custom } = this.#serverless.service
    completeStage(provider.compiledCloudFormationTemplate?.Resources ?? {}, custom.throttle)
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
    this.#readyOffline = await this.#orError(() =>
      prepareOffline({
        service,
        folder: serviceDir,
        options: this.#options,
        setting: (name) => secrets.get(name),
        print: this.#write,
        log: this.#log,
        serving: () => {
          // Another stage is deployed elsewhere; here it is only tried.
          if (service.provider.stage === LOCAL_STAGE) this.#recordKeys()
        },
      }),
    )
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

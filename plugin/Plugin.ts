/**
 * The project's own Serverless plugin. It provides the `${setting:NAME}` variables of serverless.yml, checks
 * the settings before anything starts or deploys, completes the template, records in the secrets file which
 * keys were deployed, and prepares `sls offline`.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { KeyRing } from '../auth/Tokens.ts'
import { schema, type SettingName } from '../api/Settings.ts'
import {
  bundleForOffline,
  type Log,
  type OfflineService,
  prepareOffline,
  restUntilNextBuild,
  startLocalDatabase,
} from '../local/Offline.ts'
import { accessLogs, logAccess } from './AccessLogs.ts'
import { connectionStringError, deploymentErrors } from './DeployedSettings.ts'
import { firewall } from './Firewall.ts'
import { completeFunctions, type DeclaredRoute, type FunctionConfig, moduleOf } from './Functions.ts'
import { commonHeaders, gatewayResponses } from './GatewayResponses.ts'
import { recordDeployment } from './Keys.ts'
import { giveRoles } from './Roles.ts'
import { DEPLOYED_ONLY, generateSecrets, LOCAL_STAGE, Secrets, updateKeyRing } from './Secrets.ts'
import { completeStage, type Resource } from './Template.ts'
import { methodSettings, type Throttles } from './Throttles.ts'

/** The part of the Serverless Framework that is used here. It has no types of its own. */
interface Serverless {
  serviceDir: string
  processedInput: { commands: string[] }
  classes: { Error: new (message: string, code: string) => Error }
  service: OfflineService & {
    provider: {
      stage: string
      vpc?: unknown
      compiledCloudFormationTemplate?: { Resources: Record<string, Resource> }
    }
    package: { path?: string }
    custom: {
      throttle: Throttles & { perAddress: number }
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

/** The commands that need the whole service. The others, such as `sls remove`, work even if a handler is broken. */
const COMPLETED = ['offline', 'package', 'deploy', 'print', 'invoke']

export class AuthPlugin {
  readonly #serverless: Serverless
  readonly #options: Record<string, unknown>
  readonly #write: (text: string) => void
  readonly #log: Log
  #secrets: Secrets | undefined
  #database: ReturnType<typeof startLocalDatabase> | undefined
  #routes: DeclaredRoute[] = []
  #readyOffline = async (): Promise<void> => undefined
  /** Loads TypeScript modules, named without the extension. plugin.mjs provides it: not every Node can do it. */
  load!: (files: string[]) => Record<string, unknown>[]

  readonly configurationVariablesSources = {
    setting: {
      resolve: async ({ address, resolveVariable }: Resolver) => {
        if (!(address in schema))
          throw this.#error(`serverless.yml uses the setting ${address}, which does not exist.`)
        const stage = await resolveVariable('sls:stage')
        try {
          return { value: this.#read(stage).get(address as SettingName) ?? null }
        } catch {
          // serverless.yml reads settings some forty times, so the error would be shown forty times. The
          // commands that need the settings show it once.
          return { value: null }
        }
      },
    },
  }

  readonly hooks = {
    initialize: () => this.#initialize(),
    'before:package:initialize': () => this.#checkSettings(),
    'before:deploy:function:initialize': () => this.#checkSettings(),
    'after:aws:package:finalize:mergeCustomProviderResources': () => this.#completeTemplate(),
    'after:deploy:deploy': () => this.#recordKeys(),
    // For `sls offline` and `sls offline start`.
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
    // Generated only on a laptop. For a deployment, new keys would sign everyone out, and with a new pepper
    // no password would match anymore.
    const local = this.#command === 'offline' && stage === LOCAL_STAGE
    const incomplete = secrets.missing().some((name) => !DEPLOYED_ONLY.includes(name))
    if (local && incomplete && generateSecrets(folder)) {
      this.#write(
        'Created secrets.json with new local secrets (git-ignored). Keep it: passwords depend on it.',
      )
      this.#secrets = new Secrets(folder, stage, process.env)
    }
    return (this.#secrets ??= secrets)
  }

  /** Completes the service before the framework and the other plugins read it. */
  async #initialize(): Promise<void> {
    const { service, serviceDir } = this.#serverless
    if (!COMPLETED.includes(this.#command)) return
    if (this.#command === 'offline') {
      bundleForOffline(service.custom.esbuild)
      const secrets = await this.#orError(() => this.#read(service.provider.stage))
      if (!secrets.get('DB')) this.#database = startLocalDatabase(serviceDir, this.#write)
    }
    try {
      // Lets the database start meanwhile.
      await setImmediate()
      await this.#orError(() => this.#completeFunctions())
    } catch (error) {
      // Otherwise, the database would keep the process alive.
      await this.#database?.then(
        ({ stop }) => stop(),
        () => undefined,
      )
      throw error
    }
    this.#addResources(gatewayResponses(service.custom.cors.origin))
  }

  #completeFunctions(): void {
    const { service, serviceDir } = this.#serverless
    const files = [...new Set(Object.values(service.functions).map(({ handler = '' }) => moduleOf(handler)))]
    const ours = files.filter((file) => existsSync(join(serviceDir, `${file}.ts`)))
    const modules = new Map(this.load(ours).map((module, index) => [ours[index], module]))
    const { completed, routes } = completeFunctions(service, (file) => modules.get(file))
    this.#routes = routes
    // `sls deploy function` leaves the role of a function as it is, unless the function names one.
    if (this.#serverless.processedInput.commands[1] === 'function') return
    this.#addResources(giveRoles(completed, service.provider.vpc !== undefined))
  }

  #addResources(added: Record<string, { Type: string }>): void {
    const { service } = this.#serverless
    service.resources = {
      ...service.resources,
      Resources: { ...service.resources?.Resources, ...added },
    }
  }

  /** Stops a deployment if its settings cannot work. `sls package` only warns. */
  async #checkSettings(): Promise<void> {
    const secrets = await this.#orError(() => this.#read(this.#serverless.service.provider.stage))
    const missing = secrets.missing()
    const wrong = [
      ...(missing.length > 0 ? [missingSettings(missing, secrets.file, ' or as environment variables')] : []),
      ...(await deploymentErrors((name) => secrets.get(name))),
    ]
    if (wrong.length === 0) return
    if (this.#command === 'deploy') throw this.#error(wrong.join('\n'))
    this.#write(`Warning: this package cannot be deployed. ${wrong.join('\n')}`)
  }

  #completeTemplate(): void {
    const { provider, custom } = this.#serverless.service
    const resources = provider.compiledCloudFormationTemplate?.Resources ?? {}
    const stage = completeStage(resources, methodSettings(this.#routes, custom.throttle))
    if (!stage) return
    const secrets = this.#read(provider.stage)
    const isOn = (name: 'WAF' | 'ACCESS_LOGS', usual: string) => (secrets.get(name) ?? usual) === 'on'
    if (isOn('WAF', provider.stage === LOCAL_STAGE ? 'off' : 'on')) {
      Object.assign(resources, firewall(custom.throttle.perAddress, commonHeaders(custom.cors.origin)))
    }
    if (isOn('ACCESS_LOGS', 'off')) {
      Object.assign(resources, accessLogs())
      logAccess(stage)
    }
  }

  /**
   * Records in the secrets file when a key was published and began to sign. `npm run keys` relies on that.
   */
  #recordKeys(): void {
    const { service, serviceDir } = this.#serverless
    // Keys from the environment are not in the file, and an existing package may have other keys than the
    // file.
    if (process.env['SIGNING_KEYS'] || this.#options['package'] || service.package.path) return
    const secrets = this.#read(service.provider.stage)
    // These were read before the deployment, so a key added to the file in the meantime is not among them.
    const deployed = JSON.parse(secrets.get('VERIFICATION_KEYS')!) as KeyRing
    try {
      updateKeyRing(serviceDir, secrets.file, (keyRing) => recordDeployment(keyRing, deployed, new Date()))
    } catch (error) {
      this.#write(
        `Warning: could not record the deployed keys in ${secrets.file}. ${(error as Error).message}`,
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
          ? ', or move that file away so that the next start creates one with new keys'
          : `, or create that file with new keys: npm run secrets -- ${service.provider.stage}`
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
        database: this.#database,
        serving: () => {
          // Any other stage is deployed elsewhere and only being tried out here.
          if (service.provider.stage === LOCAL_STAGE) this.#recordKeys()
        },
      }),
    )
  }

  #error = (message: string) => new this.#serverless.classes.Error(message, 'LOCAL_PLUGIN')

  /** Wraps errors in the framework's own class, so that it prints our message without a stack. */
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

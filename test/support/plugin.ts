/**
 * The plugin in this process, called as the framework calls it for a command: without a second of start for each case.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { schema } from '../../api/Settings.ts'
import { readFunctions, readThrottles } from '../../commands/Routes.ts'
import type { FunctionConfig } from '../../plugin/Functions.ts'
import { AuthPlugin } from '../../plugin/Plugin.ts'
import type { Resource } from '../../plugin/Template.ts'
import { cleanEnvironment } from '../../support/project.ts'

type Serverless = ConstructorParameters<typeof AuthPlugin>[0]

/** What runs the hooks of a command in the framework. It has no types of its own. */
interface PluginManager {
  addPlugin: (plugin: new () => object) => unknown
  loadHooks: (plugin: object) => void
  invoke: (commands: string[]) => Promise<void>
}

/** The framework's own class of errors: of these it prints the message and no stack, and ends with 1. */
class Refusal extends Error {}

/** The hook by which the plugin checks the settings of a command. */
const HOOKS = {
  package: 'before:package:initialize',
  deploy: 'before:package:initialize',
  offline: 'before:offline:start',
} as const

/** A plugin of a project in a folder, for a command. */
function loadPlugin(
  folder: string,
  command: keyof typeof HOOKS,
  {
    stage = 'dev',
    options = {},
    subcommand,
    service = {},
  }: {
    stage?: string
    options?: Record<string, unknown>
    subcommand?: string | undefined
    service?: object
  } = {},
) {
  let said = ''
  const serverless = {
    serviceDir: folder,
    processedInput: { commands: subcommand ? [command, subcommand] : [command] },
    classes: { Error: Refusal },
    service: {
      provider: { stage },
      package: {},
      custom: {
        'serverless-offline': {},
        esbuild: {},
        mailFunction: 'auth-dev-mail',
      },
      functions: {},
      resources: { Resources: {} },
      ...service,
    },
  } as unknown as Serverless
  const write = (...texts: unknown[]) => void (said += `${texts.join(' ')}\n`)
  const tools = { writeText: write, log: { error: write, warning: write } }
  const plugin = new AuthPlugin(serverless, options, tools)
  return { plugin, serverless, said: () => said }
}

/**
 * Lets the plugin complete the functions and the template of serverless.yml, without what the framework adds.
 * @param change changes the functions before that
 */
export async function completeTemplate({
  stage = 'dev',
  environment = {},
  subcommand,
  provider = {},
  change = () => undefined,
}: {
  stage?: string
  environment?: NodeJS.ProcessEnv
  subcommand?: string
  provider?: object
  change?: (functions: Record<string, FunctionConfig>) => void
} = {}): Promise<{ functions: Record<string, FunctionConfig>; resources: Record<string, Resource> }> {
  const functions = readFunctions()
  change(functions)
  const resources: Record<string, Resource> = {
    Deployment: {
      Type: 'AWS::ApiGateway::Deployment',
      Properties: { RestApiId: { Ref: 'ApiGatewayRestApi' }, StageName: stage },
    },
  }
  const before = process.env
  process.env = cleanEnvironment(environment)
  const { plugin, serverless } = loadPlugin(process.cwd(), 'deploy', {
    stage,
    subcommand,
    service: {
      provider: { stage, timeout: 10, compiledCloudFormationTemplate: { Resources: resources }, ...provider },
      custom: {
        settings: Object.fromEntries(Object.keys(schema).map((name) => [name, `value of ${name}`])),
        cors: { origin: 'https://app.example.com' },
        throttle: readThrottles(),
      },
      functions,
    },
  })
  plugin.load = (files) =>
    files.map(
      (file) => createRequire(__filename)(join(process.cwd(), `${file}.ts`)) as Record<string, unknown>,
    )
  try {
    await plugin.hooks.initialize()
    Object.assign(resources, serverless.service.resources?.Resources)
    plugin.hooks['after:aws:package:finalize:mergeCustomProviderResources']()
  } finally {
    process.env = before
  }
  return { functions, resources }
}

/**
 * Lets the plugin check the settings of a command.
 * @param environment of somebody who has set nothing else
 * @returns what it prints, and the sentence with which it stops the command
 */
export async function checkSettings(
  folder: string,
  command: keyof typeof HOOKS,
  environment: NodeJS.ProcessEnv = {},
  options: Record<string, unknown> = {},
): Promise<{ said: string; refusal: string | undefined }> {
  const before = process.env
  process.env = cleanEnvironment(environment)
  const { plugin, said } = loadPlugin(folder, command, { options })
  try {
    await plugin.hooks[HOOKS[command]]()
    return { said: said(), refusal: undefined }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { said: said(), refusal: error.message }
  } finally {
    process.env = before
  }
}

/**
 * Lets the framework run a deployment, of which the plugin records the keys in the secrets file: it reads that before
 * the deployment and writes it after.
 * @param meanwhile stands in for AWS; the deployment fails with what it throws
 * @returns what the plugin prints
 */
export async function recordDeployed(
  folder: string,
  {
    stage = 'dev',
    options = {},
    meanwhile = () => {},
  }: { stage?: string; options?: Record<string, unknown>; meanwhile?: () => void | Promise<void> } = {},
): Promise<string> {
  const { plugin, serverless, said } = loadPlugin(folder, 'deploy', { stage, options })
  const { resolve } = plugin.configurationVariablesSources.setting
  await resolve({ address: 'DB', resolveVariable: async () => stage })
  const require = createRequire(join(process.cwd(), 'package.json'))
  const Manager = require('serverless/lib/classes/plugin-manager.js') as new (
    serverless: Serverless,
  ) => PluginManager
  const manager = new Manager(serverless)
  manager.addPlugin(
    class {
      commands = { deploy: { lifecycleEvents: ['deploy'] } }
      hooks = { 'deploy:deploy': meanwhile }
    },
  )
  manager.loadHooks(plugin)
  await manager.invoke(['deploy'])
  return said()
}

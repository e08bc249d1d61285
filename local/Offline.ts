/**
 * Everything that `sls offline` needs on a laptop: free ports, a database, a mailbox, functions that share a thread,
 * answers like API Gateway's, and a quiet terminal.
 */
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { SettingName } from '../api/Settings.ts'
import { DATABASE_NAME, LOCAL_FOLDER, startDatabase } from './Database.ts'
import { type Definition, Functions, Throttled } from './Functions.ts'
import {
  gatewayAnswer,
  type GatewayResponse,
  imitateGatewayResponses,
  type Request,
  type Server,
  UNAUTHORIZED,
} from './GatewayResponses.ts'
import { startMailbox } from './Mailbox.ts'
import { freePort, isFree } from './Ports.ts'

/** The API id in the ARNs of serverless-offline's events. */
const OFFLINE_API_ID = 'random-api-id'
const AUTHORIZER = 'verifyToken'
const MAIL_FOLDER = join('.dev', 'mail')

/** The part of the service in serverless.yml that is used here. */
export interface OfflineService {
  provider: { memorySize?: number; timeout?: number; environment?: Record<string, unknown>; region: string }
  custom: {
    'serverless-offline': Record<string, unknown>
    esbuild: Record<string, unknown>
    mailFunction: string
  }
  functions: Record<string, { environment?: Record<string, unknown> }>
  resources?: { Resources: Record<string, { Type: string }> }
}

export type Log = Record<'error' | 'warning', (...text: unknown[]) => void>

interface Laptop {
  service: OfflineService
  folder: string
  /** The options of the command line. */
  options: Record<string, unknown>
  /** Returns a setting as an environment variable has it. */
  setting: (name: SettingName) => string | undefined
  print: (text: string) => void
  log: Log
  /** The local database while it starts; undefined if DB is set. */
  database: ReturnType<typeof startDatabase> | undefined
  /** Called once the API accepts requests. */
  serving: () => void
}

/**
 * Makes the bundles of `sls offline` fast and small. node_modules is not bundled, so that all functions share it. The
 * bundles have their own folder, because packaging empties its folder at its end.
 */
export function bundleForOffline(esbuild: Record<string, unknown>): void {
  Object.assign(esbuild, {
    outputWorkFolder: join('.dev', 'bundles'),
    packages: 'external',
    minify: false,
    splitting: false,
    plugins: [],
    banner: {},
    // A build context for each handler would take hundreds of megabytes to save a tenth of a second.
    skipRebuild: true,
    alias: { ...(esbuild['alias'] as object), mongoose: './local/Mongoose.ts' },
  })
}

/** Ends esbuild's processes. The next build starts new ones. */
export function restUntilNextBuild(): void {
  // The same instance that serverless-esbuild uses.
  const esbuild = createRequire(import.meta.url)('esbuild') as typeof import('esbuild')
  void esbuild.stop()
}

/** Starts the local database in the background: it takes a second, while the rest of the start goes on. */
export function startLocalDatabase(
  folder: string,
  print: (text: string) => void,
): ReturnType<typeof startDatabase> {
  const database = startDatabase(print, join(folder, LOCAL_FOLDER))
  database.catch(() => undefined) // it is awaited later
  return database
}

/**
 * Prepares everything for `sls offline` to start, before the bundles are made.
 * @returns a function that waits for the rest, after the bundles are made
 * @throws Error with a message for the user; so does the returned function
 */
export async function prepareOffline(laptop: Laptop): Promise<() => Promise<void>> {
  const { service, folder, options, setting, print, database } = laptop
  if (process.env['npm_lifecycle_event'] === 'start') endWithParent()
  const offline = service.custom['serverless-offline']
  const host = (options['host'] ?? offline['host'] ?? 'localhost') as string
  const port = Number(options['httpPort'] ?? offline['httpPort'])
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error(`--httpPort must be a whole number from 1 to 65535.`)
  }
  if (!(await isFree(host, port))) {
    throw new Error(
      `Port ${port} is taken. Stop what uses it, or choose another: npm start -- --httpPort 4000`,
    )
  }
  // Nobody calls this port by hand, so any free port will do, and a second copy of the API finds one as well.
  const lambdaPort = Number(options['lambdaPort'] ?? (offline['lambdaPort'] = await freePort(host)))
  const url = `http://${host}:${port}`
  const mailbox = setting('SMTP_URL') ? undefined : await startMailbox(join(folder, MAIL_FOLDER), print)
  const give = (settings: Partial<Record<SettingName, string>>) => {
    for (const { environment = {} } of Object.values(service.functions)) {
      for (const [name, value] of Object.entries(settings)) if (name in environment) environment[name] = value
    }
  }
  give({
    API_ID: OFFLINE_API_ID,
    MAIL_FUNCTION_URL: `http://${host}:${lambdaPort}/2015-03-31/functions/${service.custom.mailFunction}/invocations`,
    ...(!setting('APP_URL') && !setting('ISSUER') && { APP_URL: url }),
    ...(!setting('ISSUER') && { ISSUER: url }),
    ...(!setting('ISSUER') && !setting('AUDIENCE') && { AUDIENCE: url }),
    ...(mailbox && { SMTP_URL: mailbox }),
    ...(mailbox && !setting('MAIL_FROM') && { MAIL_FROM: 'Auth <no-reply@localhost.localdomain>' }),
  })
  const inFolder = (path: string) => relative(process.cwd(), join(folder, path))
  const where = [
    'The database is the one in DB.',
    mailbox
      ? `Mails are kept in ${inFolder(MAIL_FOLDER)}, and their links are printed here.`
      : 'Mails go to the server in SMTP_URL.',
  ]
  await takeOver(laptop, url, () => print(tour(url, where)))
  return async () => {
    if (!database) return
    const { uri } = await database.catch((error: unknown) => {
      // The source watcher would keep the process alive after the framework has printed the error.
      setTimeout(() => process.exit(1), 500)
      throw error
    })
    give({ DB: `${uri}/${DATABASE_NAME}` })
    where[0] = `The database is at ${uri}, its data in ${inFolder(LOCAL_FOLDER)}.`
  }
}

/** Replaces methods of serverless-offline, which has no other way to change its parts. */
async function takeOver(laptop: Laptop, url: string, welcome: () => void): Promise<void> {
  const { service, folder, options, setting, print, log, serving } = laptop
  const isVerbose = Boolean(options['verbose'])
  const main = pathToFileURL(createRequire(import.meta.url).resolve('serverless-offline'))
  const load = async (file: string): Promise<unknown> => import(new URL(file, main).href)
  const { setLogUtils } = (await load('./utils/log.js')) as { setLogUtils: (utils: object) => void }
  const { default: HttpServer } = (await load('./events/http/HttpServer.js')) as {
    default: {
      prototype: {
        createServer: () => Promise<void>
        getServer: () => Server
        writeRoutesTerminal: () => void
      }
    }
  }
  const { default: LambdaFunctionPool } = (await load('./lambda/LambdaFunctionPool.js')) as {
    default: { prototype: object }
  }

  if (!isVerbose) {
    setLogUtils({ log: onlyProblems(log) })
    HttpServer.prototype.writeRoutesTerminal = () => undefined
  }

  const responses = Object.values(service.resources?.Resources ?? {}).filter(
    (resource): resource is GatewayResponse => resource.Type === 'AWS::ApiGateway::GatewayResponse',
  )
  const functions = new Functions(service.provider, isVerbose ? print : printer(print))
  functions.preload('http', [
    'mongoose',
    'zod/mini',
    '@aws-lambda-powertools/logger',
    'bcryptjs',
    'jsonwebtoken',
  ])
  Object.assign(LambdaFunctionPool.prototype, {
    start: () => undefined,
    cleanup: () => functions.renew(),
    get: (key: string, definition: Definition) => {
      let event: unknown
      return {
        setEvent: (given: unknown) => (event = given),
        setClientContext: () => undefined,
        runHandler: async () => {
          const isMail = definition.name === service.custom.mailFunction
          const bundles = join(folder, service.custom['serverless-offline']['location'] as string)
          try {
            // Sending mail must not delay the next answer.
            return await functions.invoke(definition, bundles, event, isMail ? 'mail' : 'http')
          } catch (error) {
            return settle(error, key === AUTHORIZER ? 'authorizer' : isMail ? 'mail' : 'http')
          }
        },
      }
    },
  })

  /** Turns the failure of a function into what serverless-offline expects. */
  function settle(error: unknown, kind: 'authorizer' | 'mail' | 'http'): unknown {
    if (kind === 'authorizer' && String(error).includes(UNAUTHORIZED)) return UNAUTHORIZED
    if (kind === 'http' && error instanceof Throttled) {
      return gatewayAnswer('THROTTLED', responses, randomBytes(8).toString('hex'))
    }
    if (isVerbose || kind !== 'http') log.error(isVerbose ? error : `${kind}: ${String(error)}`)
    // Nobody waits for a mail. For the authorizer, an answer that is not a policy means a fault.
    if (kind !== 'http') return {}
    throw error
  }

  const { createServer: createOriginal } = HttpServer.prototype
  HttpServer.prototype.createServer = async function (this: { getServer: () => Server }) {
    await createOriginal.call(this as never)
    const server = this.getServer()
    imitateGatewayResponses(server, responses, setting('CORS_ORIGIN') ?? '*')
    server.events.on('response', (request) => print(requestLine(request)))
    server.events.on('start', () =>
      setImmediate(() => {
        restUntilNextBuild()
        serving()
        welcome()
      }),
    )
  }
}

function requestLine({ method, path, info, response }: Request): string {
  const status = response.isBoom ? response.output.statusCode : response.statusCode
  return `${method.toUpperCase()} ${path} ${status} ${info.responded - info.received} ms`
}

/** What serverless-offline reports as an error for every request without a valid token: the line of the request says 401. */
const REFUSED = /^Identity Source is null/

const onlyProblems = ({ error, warning }: Log) => {
  const nothing = () => undefined
  return {
    error: (...text: unknown[]) => REFUSED.test(String(text[0])) || error(...text),
    warning,
    notice: nothing,
    info: nothing,
    verbose: nothing,
    debug: nothing,
  }
}

/** Prints a developer's own output, and the errors of the structured log as one line each. */
const printer = (print: (line: string) => void) => (line: string) => {
  const entry = parseEntry(line)
  if (!entry) print(line)
  else if (entry.level === 'ERROR') {
    const reason = entry.error?.message ? `: ${entry.error.message.split('\n')[0]}` : ''
    print(`ERROR ${entry.service}: ${entry.message}${reason} (requestId ${entry.requestId})`)
  }
}

interface LogEntry {
  level: string
  message: string
  service: string
  requestId?: string
  error?: { message?: string }
}

function parseEntry(line: string): LogEntry | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const entry = JSON.parse(line) as Partial<LogEntry>
    return entry.level && entry.message && entry.service ? (entry as LogEntry) : undefined
  } catch {
    return undefined
  }
}

/** npm does not forward SIGTERM. It only ends its shell, and this process would keep the port and the data. */
function endWithParent(): void {
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) process.kill(process.pid, 'SIGTERM')
  }, 500).unref()
}

/** Three lines to paste. The email is new each time, because the data survives a restart. */
function tour(url: string, where: string[]): string {
  const account = `"email":"ann-${randomBytes(3).toString('hex')}@example.com","password":"a horse on the moon"`
  const json = `-H 'Content-Type: application/json'`
  const login = `curl -s ${url}/login ${json} -d '{${account}}'`
  return `${where.join('\n')}
The API is at ${url}. Everything it logs: npm start -- --verbose
Three lines to paste in another terminal (register, me, users):

  curl ${url}/register ${json} -d '{"name":"Ann",${account}}'
  curl ${url}/me -H "Authorization: Bearer $(${login} | sed 's/.*"token":"\\([^"]*\\).*/\\1/')"
  curl ${url}/users
`
}

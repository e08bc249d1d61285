/**
 * Copies of the project, and the commands of a user in them.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../local/Ports.ts'
import { until } from './until.ts'

const ROOT = process.cwd()
const TSX = join(ROOT, 'node_modules', 'tsx', 'dist', 'cli.mjs')
const SERVERLESS = join(ROOT, 'node_modules', '.bin', 'serverless')
/** What a copy leaves out: secrets and data, what is installed or built, and what no command needs. */
const LEFT_OUT =
  /^(\..*|node_modules|coverage|test|support|bench|docs|examples|secrets.*\.json|.*\.md|.*lock\.json)$/

/** A copy without secrets and data, in a folder of its own. */
export function copyProject(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'auth-test-'))
  for (const part of readdirSync(ROOT)) {
    if (!LEFT_OUT.test(part)) cpSync(join(ROOT, part), join(folder, part), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'junction')
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }) }
}

/** Removes all functions but some from a copy, because bundling all of them takes long. */
export function keepFunctions(folder: string, names: string[]): void {
  writeFileSync(
    join(folder, 'few.mjs'),
    `export default class Few {
  constructor({ service: { functions } }) {
    const kept = ${JSON.stringify(names)}
    this.hooks = {
      initialize: () => {
        for (const name of Object.keys(functions)) if (!kept.includes(name)) delete functions[name]
      },
    }
  }
}
`,
  )
  addPlugin(folder, './few.mjs')
}

/** Adds a plugin to the end of the list in serverless.yml of a copy. */
export function addPlugin(folder: string, file: string): void {
  const yaml = join(folder, 'serverless.yml')
  const text = readFileSync(yaml, 'utf8')
  writeFileSync(yaml, text.replace(/^plugins:\n( +[-#].*\n)+/m, `$&  - ${file}\n`))
}

/** The environment of somebody who has set nothing. */
export function cleanEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const settings =
    /^(DB|SIGNING_KEYS|VERIFICATION_KEYS|PEPPER|REFRESH_TOKEN_KEY|ISSUER|AUDIENCE|API_ID|CORS_ORIGIN|BCRYPT_COST|PASSWORD_MIN_LENGTH|SMTP_URL|MAIL_FROM|PRODUCT_NAME|APP_URL|MAIL_FUNCTION_URL|REGISTRATION|EMAIL_VERIFICATION|LIMITS|WAF|ACCESS_LOGS|POWERTOOLS_.*|JEST_.*|NODE_ENV)$/
  return {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !settings.test(name))),
    ...more,
  }
}

export interface Run {
  process: ChildProcess
  /** What it has printed so far, both streams. */
  output: () => string
  exit: Promise<number | null>
  /** Ends it, and its group if it is detached, and waits for the end. */
  end: () => Promise<void>
}

/** How long something may take to end before it is killed, in milliseconds. */
const PATIENCE = 5_000

/** Runs `sls` with arguments. */
export const sls = (folder: string, args: string[], environment?: NodeJS.ProcessEnv): Run =>
  run(folder, [process.execPath, SERVERLESS, ...args], environment)

/** Runs TypeScript, as the scripts of package.json do. */
export const tsx = (folder: string, args: string[], environment?: NodeJS.ProcessEnv): Run =>
  run(folder, [process.execPath, TSX, ...args], environment)

/** What runs now. */
const running = new Set<Run>()

/** Ends whatever still runs, so that nothing is left behind by a test that has failed. */
export async function endProcesses(): Promise<void> {
  await Promise.all([...running].map((each) => each.end()))
}

/**
 * Runs a command. It stays in the process group of the tests, so that Ctrl-C ends it with them.
 * @param detached gives it a group of its own, to be killed as a whole
 */
export function run(
  folder: string,
  command: string[],
  environment: NodeJS.ProcessEnv = {},
  detached = false,
): Run {
  // Packaging leaves folders in the temporary folder; here they go with the copy.
  const temporary = join(folder, '.tmp')
  mkdirSync(temporary, { recursive: true })
  const child = spawn(command[0]!, command.slice(1), {
    cwd: folder,
    env: cleanEnvironment({ TMPDIR: temporary, ...environment }),
    detached,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
  const exit = new Promise<number | null>((done) => child.once('close', done))
  const kill = (signal: NodeJS.Signals) => {
    try {
      process.kill(detached ? -child.pid! : child.pid!, signal)
    } catch {
      // It has ended already.
    }
  }
  const started = {
    process: child,
    output: () => output,
    exit,
    end: async () => {
      kill('SIGTERM')
      const late = setTimeout(kill, PATIENCE, 'SIGKILL')
      await exit
      clearTimeout(late)
    },
  }
  running.add(started)
  void exit.then(() => running.delete(started))
  return started
}

export interface Api extends Run {
  url: string
  /** Ends it as Ctrl-C would, and waits for the end. */
  stop: () => Promise<void>
}

interface Start {
  environment?: NodeJS.ProcessEnv
  npm?: boolean
  quiet?: boolean
  detached?: boolean
}

/** Another process has taken a port between the moment that it was found free and its use, seconds later. */
const PORT_TAKEN = /EADDRINUSE|Port \d+ is taken/

/**
 * Runs `sls offline` (or `npm start`) on a free port and waits until it serves.
 * @param quiet prints what somebody sees who does not ask for the log with --verbose
 * @throws Error with its exit code and what it printed when it ends before that
 */
export async function startApi(folder: string, options: Start = {}): Promise<Api> {
  const { environment, npm = false, quiet = false, detached = false } = options
  const port = await freePort('localhost')
  const command = npm ? ['npm', 'start', '--'] : [process.execPath, SERVERLESS, 'offline']
  const flags = ['--httpPort', String(port), ...(quiet ? [] : ['--verbose'])]
  const api = run(folder, [...command, ...flags], environment, detached)
  let code: number | null | undefined
  void api.exit.then((exit) => (code = exit))
  try {
    await until(() => {
      if (code !== undefined) throw new Error(`sls offline ended with ${code}:\n${api.output()}`)
      return api.output().includes('/users\n')
    }, 'an API that serves')
  } catch (error) {
    if (code === undefined) await api.end()
    else if (PORT_TAKEN.test(api.output())) return startApi(folder, options)
    throw error
  }
  return {
    ...api,
    url: `http://localhost:${port}`,
    stop: async () => {
      api.process.kill('SIGINT')
      await api.exit
    },
  }
}

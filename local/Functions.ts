/**
 * Runs the functions of `sls offline`. serverless-offline starts a thread for each function, and another one for each
 * concurrent request, with its own copy of every library: 20 MB each. Here, all functions share one thread. As on
 * Lambda, a container serves one request at a time, keeps the state of its modules between requests, and has its own
 * environment.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'

/** The part of a function's definition in serverless.yml that is used here. */
export interface Definition {
  name: string
  handler: string
  memorySize?: number
  timeout?: number
  environment?: Record<string, unknown>
}

/** A call that the thread (thread.mjs) makes. */
export interface Call {
  id: string
  /** Calls with the same container share their modules. */
  container: string
  file: string
  handler: string
  environment: Record<string, string>
  event: unknown
  context: object
  /** Milliseconds since the epoch. */
  deadline: number
}

const THREAD = join(process.cwd(), 'local', 'thread.mjs')

/** How many requests a function serves at the same time. More would only slow each other down on a laptop. */
const CONTAINERS = 6
/** How long a request waits for a container, in milliseconds. API Gateway gives up after 29 s. */
const PATIENCE = 20_000

/** All containers stayed busy. Lambda answers the same when its concurrency is used up. */
export class Throttled extends Error {}

interface Pool {
  free: number[]
  waiting: ((container: number) => void)[]
}

export class Functions {
  readonly #pools = new Map<string, Pool>()
  readonly #threads = new Map<string, Thread>()
  readonly #provider: Pick<Definition, 'memorySize' | 'timeout' | 'environment'> & { region: string }
  readonly #print: (line: string) => void

  /**
   * @param provider the settings of all functions
   * @param print receives every line that a function writes
   */
  constructor(
    provider: Pick<Definition, 'memorySize' | 'timeout' | 'environment'> & { region: string },
    print: (line: string) => void,
  ) {
    this.#provider = provider
    this.#print = print
  }

  /** Loads what most functions import before the first request needs it. */
  preload(threadName: string, modules: string[]): void {
    this.#threadOf(threadName).preload(modules)
  }

  /**
   * Runs a function once.
   * @param folder the folder of the bundles
   * @param thread the name of the thread to run in
   * @throws Throttled, or what the function throws
   */
  async invoke(definition: Definition, folder: string, event: unknown, thread: string): Promise<unknown> {
    const pool = this.#poolOf(definition.name)
    const container = await freeContainer(pool)
    try {
      return await this.#run(definition, folder, event, thread, container)
    } finally {
      const next = pool.waiting.shift()
      if (next) next(container)
      else pool.free.push(container)
    }
  }

  /** Starts new containers, with the current bundles, for all later calls. The old ones finish their calls and end. */
  renew(): void {
    for (const thread of this.#threads.values()) thread.retire()
    this.#threads.clear()
  }

  #threadOf(name: string): Thread {
    let thread = this.#threads.get(name)
    if (!thread || thread.hasEnded) {
      thread = new Thread(this.#print)
      this.#threads.set(name, thread)
    }
    return thread
  }

  #poolOf(name: string): Pool {
    let pool = this.#pools.get(name)
    if (!pool) {
      // Used as a stack, so that a second container starts only while the first is busy.
      pool = { free: Array.from({ length: CONTAINERS }, (_, index) => CONTAINERS - index), waiting: [] }
      this.#pools.set(name, pool)
    }
    return pool
  }

  async #run(
    definition: Definition,
    folder: string,
    event: unknown,
    threadName: string,
    container: number,
  ): Promise<unknown> {
    const thread = this.#threadOf(threadName)
    const { name, handler } = definition
    const memory = definition.memorySize ?? this.#provider.memorySize ?? 1024
    const timeout = (definition.timeout ?? this.#provider.timeout ?? 6) * 1000
    const dot = handler.lastIndexOf('.')
    const id = randomUUID()
    const ended = new AbortController()
    const answer = thread.call({
      id,
      container: `${name}-${container}`,
      file: pathToFileURL(join(folder, `${handler.slice(0, dot)}.mjs`)).href,
      handler: handler.slice(dot + 1),
      environment: this.#environmentOf(definition, memory),
      event,
      context: {
        awsRequestId: id,
        functionName: name,
        functionVersion: '$LATEST',
        invokedFunctionArn: `arn:aws:lambda:${this.#provider.region}:000000000000:function:${name}`,
        memoryLimitInMB: String(memory),
        logGroupName: `/aws/lambda/${name}`,
        logStreamName: `offline/${container}`,
        callbackWaitsForEmptyEventLoop: true,
      },
      deadline: Date.now() + timeout,
    })
    const expiry = setTimeout(timeout, undefined, { signal: ended.signal }).then(() => {
      // A handler that does not return cannot be stopped on its own.
      thread.stop()
      throw new Error('[504] - Lambda timeout.')
    })
    expiry.catch(() => undefined)
    try {
      return await Promise.race([answer, expiry])
    } finally {
      ended.abort()
    }
  }

  #environmentOf({ name, handler, environment }: Definition, memory: number): Record<string, string> {
    const { region } = this.#provider
    const all = {
      // The developer's own credentials.
      ...Object.fromEntries(Object.entries(process.env).filter(([key]) => key.startsWith('AWS_'))),
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      AWS_LAMBDA_FUNCTION_NAME: name,
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: memory,
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      _HANDLER: handler,
      ...this.#provider.environment,
      ...environment,
    }
    return Object.fromEntries(Object.entries(all).map(([key, value]) => [key, String(value)]))
  }
}

async function freeContainer({ free, waiting }: Pool): Promise<number> {
  const container = free.pop()
  if (container !== undefined) return container
  return new Promise((resolve, reject) => {
    const take = (found: number) => {
      clearTimeout(timer)
      resolve(found)
    }
    const timer = globalThis.setTimeout(() => {
      waiting.splice(waiting.indexOf(take), 1)
      reject(new Throttled('All containers of this function are busy.'))
    }, PATIENCE)
    waiting.push(take)
  })
}

class Thread {
  readonly #worker: Worker
  readonly #calls = new Map<
    string,
    { resolve: (result: unknown) => void; reject: (error: unknown) => void }
  >()
  #isRetired = false
  hasEnded = false

  constructor(print: (line: string) => void) {
    this.#worker = new Worker(THREAD, {
      env: {},
      stdout: true,
      stderr: true,
      // By default, V8 fills 48 MB with garbage before it collects any.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    for (const stream of [this.#worker.stdout, this.#worker.stderr]) byLine(stream, print)
    this.#worker.on('message', ({ id, ...outcome }: { id: string; result?: unknown; error?: unknown }) => {
      const call = this.#calls.get(id)
      this.#calls.delete(id)
      if ('error' in outcome) call?.reject(outcome.error)
      else call?.resolve(outcome.result)
      if (this.#isRetired) this.retire()
    })
    this.#worker.on('error', (error) => this.#end(error))
    this.#worker.on('exit', () => this.#end(new Error('The thread of this function has ended.')))
  }

  preload(modules: string[]): void {
    this.#worker.postMessage({ modules })
  }

  call(call: Call): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#calls.set(call.id, { resolve, reject })
      this.#worker.postMessage(call)
    })
  }

  /** Ends the thread once no call is running. */
  retire(): void {
    this.#isRetired = true
    if (this.#calls.size === 0) this.stop()
  }

  stop(): void {
    this.hasEnded = true
    void this.#worker.terminate()
  }

  #end(error: Error): void {
    this.hasEnded = true
    for (const { reject } of this.#calls.values()) reject(error)
    this.#calls.clear()
  }
}

function byLine(stream: NodeJS.ReadableStream, print: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) print(line)
  })
}

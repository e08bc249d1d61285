/**
 * The worker thread that runs functions (Functions.ts). Every container has its own instance of its bundle and its own
 * environment. node_modules is loaded once for all of them.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { parentPort } from 'node:worker_threads'

/** @type {AsyncLocalStorage<NodeJS.ProcessEnv>} */
const environments = new AsyncLocalStorage()
const own = process.env
const environment = () => environments.getStore() ?? own

// Makes a function read its own environment, both while it loads and later.
process.env = new Proxy(own, {
  get: (_, name) => Reflect.get(environment(), name),
  set: (_, name, value) => Reflect.set(environment(), name, String(value)),
  has: (_, name) => Reflect.has(environment(), name),
  deleteProperty: (_, name) => Reflect.deleteProperty(environment(), name),
  ownKeys: () => Reflect.ownKeys(environment()),
  getOwnPropertyDescriptor: (_, name) => Reflect.getOwnPropertyDescriptor(environment(), name),
})

/** @param {import('./Functions.ts').Call} call */
async function run({ container, file, handler, event, context, deadline }) {
  // The query gives each container its own instance.
  const module = await import(`${file}?${container}`)
  return module[handler](event, { ...context, getRemainingTimeInMillis: () => deadline - Date.now() })
}

/** @type {Map<string, NodeJS.ProcessEnv>} */
const containers = new Map()

parentPort?.on('message', (/** @type {import('./Functions.ts').Call & { modules?: string[] }} */ call) => {
  if (call.modules) {
    void Promise.allSettled(call.modules.map((name) => import(name)))
    return
  }
  const { id, container } = call
  if (!containers.has(container)) containers.set(container, call.environment)
  environments
    .run(/** @type {NodeJS.ProcessEnv} */ (containers.get(container)), () => run(call))
    .then((result) => parentPort?.postMessage({ id, result }))
    .catch((error) => {
      try {
        parentPort?.postMessage({ id, error })
      } catch {
        // Not everything that can be thrown can be cloned.
        parentPort?.postMessage({ id, error: new Error(String(error)) })
      }
    })
})

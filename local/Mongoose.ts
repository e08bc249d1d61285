/**
 * Replaces `mongoose` in the bundles of `sls offline` (Offline.ts). All functions share one copy of its code, and each
 * container has its own instance, with its own models and connection.
 */
const { createRequire } = process.getBuiltinModule('node:module')
const { Mongoose } = createRequire(import.meta.url)('mongoose') as typeof import('mongoose')

export default new Mongoose()

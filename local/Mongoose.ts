/**
 * Stands in for `mongoose` in the bundles of `sls offline` (Offline.ts): all functions share one copy of its code,
 * and each has a Mongoose of its own with its own models and connection, as in a container of its own.
 */
const { createRequire } = process.getBuiltinModule('node:module')
const { Mongoose } = createRequire(import.meta.url)('mongoose') as typeof import('mongoose')

export default new Mongoose()

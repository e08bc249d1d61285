/**
 * An esbuild plugin: names the chunks of a handler after it (`VerifyToken.Revocations-ABCDEFGH.mjs`), by which
 * serverless-esbuild knows whose they are. Otherwise every chunk would be in every function's package.
 */
import { parse } from 'node:path'

/** @type {import('esbuild').Plugin[]} */
export default [
  {
    name: 'chunks',
    setup({ initialOptions: options }) {
      const [entry] = /** @type {[string]} */ (options.entryPoints)
      options.chunkNames = `${parse(entry).name}.[name]-[hash]`
    },
  },
]

/**
 * An esbuild plugin that names chunks after their handler (`VerifyToken.Revocations-ABCDEFGH.mjs`).
 * serverless-esbuild uses the name to find the chunks of a function. Otherwise, every package would contain
 * every chunk.
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

import { readFileSync } from 'node:fs'

/** What the MongoDB driver can do without and serverless.yml leaves out of the bundles (esbuild.exclude). */
export const optionalPackages = [
  .../^    exclude:\n((?: {6}- .+\n)+)/m
    .exec(readFileSync('serverless.yml', 'utf8'))![1]!
    .matchAll(/- '?([^'\n]+)/g),
].map(([, name]) => name!)

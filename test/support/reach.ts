/**
 * What of our code a single function can reach: a handler file holds several functions, and each has settings of its own.
 */
import { readFileSync } from 'node:fs'
import { build } from 'esbuild'

/**
 * @param handler as serverless.yml has it, `auth/AuthHandler.login`
 * @returns the code that it reaches, ours only
 */
export async function reachedBy(handler: string): Promise<string> {
  const [file, member] = handler.split('.') as [string, string]
  const { outputFiles } = await build({
    stdin: { contents: `export { ${member} } from './${file}.ts'`, resolveDir: process.cwd() },
    bundle: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    write: false,
    plugins: [
      {
        name: 'routes on demand',
        // A call could have effects, so a bundler keeps it, and with it what it is given; a function goes unless it is used.
        setup: (bundle) =>
          bundle.onLoad({ filter: /Handler\.ts$/ }, ({ path }) => ({
            loader: 'ts',
            contents: readFileSync(path, 'utf8').replaceAll('= route(', '= () => route('),
          })),
      },
    ],
  })
  return outputFiles[0]!.text
}

/** The settings that a function asks for. */
export const settingsOf = async (handler: string): Promise<string[]> => [
  ...new Set([...(await reachedBy(handler)).matchAll(/\bsetting\d*\("(\w+)"\)/g)].map(([, name]) => name!)),
]

/**
 * The commands of `npm run`, compiled once: tsx would compile them for each of many runs.
 */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { build } from 'esbuild'

/**
 * Compiles a command.
 * @param name of its file in commands/, `Keys`
 * @returns the words to run it with, before its arguments
 */
export async function compileCommand(name: string): Promise<{ command: string[]; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'auth-command-'))
  symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'), 'junction')
  const outfile = join(folder, `${name}.mjs`)
  await build({
    entryPoints: [`commands/${name}.ts`],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outfile,
  })
  return { command: [process.execPath, outfile], remove: () => rmSync(folder, { recursive: true }) }
}
